"""`normlab sync`: run directories replayed into wandb, for runs made offline or without wandb.

What wandb has of a run is on note in the run's `wandb/` folder, so that the same again sends nothing, and of
a run that went on only its new rows.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from normlab.config import TrackerConfig
from normlab.disk.strict_json import document
from normlab.disk.untrusted import open_file
from normlab.disk.whole_files import replace_file
from normlab.errors import ConfigError, UserError, shown
from normlab.figures import pictures
from normlab.rundir.opening import Opening
from normlab.rundir.writer import CONFIG, EVENTS, ROWS, SUMMARY, hold, is_held
from normlab.runs.reader import Run, find, read
from normlab.sinks.wandb.mirror import note_of, read_note, server_has
from normlab.sinks.wandb.start import RunStarter, has_key
from normlab.sinks.wandb.wandb_sink import WandbSink


@dataclasses.dataclass(frozen=True, kw_only=True)
class SyncTarget:
    """Where runs go: a project and an entity, else each run's own; or with `offline` to this disk alone."""

    project: str | None = None
    entity: str | None = None
    offline: bool = False

    def tracker(self, run: Run) -> TrackerConfig:
        given = run.config.get("tracker")
        known = {field.name for field in dataclasses.fields(TrackerConfig)}
        own = TrackerConfig(**{key: value for key, value in (given or {}).items() if key in known})
        return dataclasses.replace(
            own,
            mode="offline" if self.offline else "online",
            project=self.project or own.project,
            entity=self.entity or own.entity,
        )


class SyncError(Exception):
    """A run that did not get there."""


def sync(paths: Sequence[Path], target: SyncTarget) -> int:
    """Send the runs in `paths` to `target`, a line each; returns how many did not get there.

    Raises:
        UserError: no run is there, or there is no API key to send them with.
    """
    runs = [read(directory) for path in paths for directory in _runs(path)]
    if not target.offline and not has_key():
        raise UserError(
            "wandb has no API key; wandb login sets one, or --offline makes folders that wandb sync uploads"
        )
    failed = 0
    for run in runs:
        try:
            told = _send(run, target)
        except SyncError as error:
            failed += 1
            told = f"not sent: {error}"
        print(shown(f"{run.path}: {told}"), flush=True)
        if RunStarter.unreachable:
            break
    return failed


def _runs(path: Path) -> Iterator[Path]:
    found = list(find(path))
    if not found:
        raise UserError(f"{path} holds no run; normlab runs lists the runs there are")
    yield from found


def _send(run: Run, target: SyncTarget) -> str:
    """Replay one run; returns what was done, as text."""
    if not run.config or run.status == "damaged":
        raise SyncError("; ".join(run.notes))
    if is_held(run.path):
        raise SyncError("it is being trained")
    try:
        tracker = target.tracker(run)
    except ConfigError as error:
        raise SyncError(f"{CONFIG}: {error}") from None
    with hold(run.path):
        note, content = note_of(run.path), _content(run, tracker)
        known = read_note(note)
        there = known.get("mode") == "online" or any(run.path.glob("wandb/offline-run-*"))
        if known.get("content") == content and there:
            return f"nothing new{_where(known)}"
        if not target.offline:
            _adopt(run.path, note, known)
        sink = WandbSink(tracker, pictures, _ignore, _ignore, replay=True)
        sink.open(_opening(run))
        sink.close({**run.summary, "status": run.status})
        if sink.problem is not None and "no pictures" not in sink.problem:
            raise SyncError(sink.problem)
        known = {**read_note(note), "content": content, "url": sink.url or ""}
        replace_file(note, json.dumps(known).encode())
        replace_file(run.path / SUMMARY, document({**run.summary, "wandb": sink.record()}))
    upload = f"; to upload: {sink.sync_hint}" if target.offline else ""
    return f"{sink.sent} rows{_where(known)}{upload}"


def _adopt(directory: Path, note: Path, known: dict[str, str]) -> None:
    """An offline folder that `wandb sync` uploaded is a run on the server, which goes on."""
    if known.get("mode") != "online" and (identity := server_has(directory)):
        replace_file(note, json.dumps({"id": identity, "mode": "online"}).encode())


def _content(run: Run, tracker: TrackerConfig) -> str:
    """A hash of what a run has to send, and of where it goes."""
    found = hashlib.sha256(json.dumps(dataclasses.asdict(tracker)).encode())
    for name in (ROWS, EVENTS):
        with suppress(OSError), open_file(run.path / name) as file:
            found.update(file.read())
    return found.hexdigest()


def _where(known: dict[str, str]) -> str:
    return f" at {known['url']}" if known.get("url") else ""


def _opening(run: Run) -> Opening:
    summary = run.summary
    return Opening(
        directory=run.path,
        config=run.config,
        name=str(summary.get("name") or run.path.name),
        sweep=summary.get("sweep"),
        floors=run.floors,
        parameters=int(summary.get("parameters") or 0),
        first_step=int(summary.get("steps") or 0),
        resumed=True,
        events=run.events,
    )


def _ignore(line: str) -> None:
    """Each run has one line, and its problem is in it."""

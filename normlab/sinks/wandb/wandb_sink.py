"""The wandb sink: a mirror of the run directory, in which everything that matters is already.

So wandb may fail: whatever it raises costs one warning, and the run goes on without it. Each row is one `log`
call, made when the next row comes (the last at the end, with the pictures), so that the history has the steps
of `metrics.jsonl`, and of each what is within the budget (`budget.py`). wandb's own step is the row's `step`.

A resumed run: an offline run of wandb cannot be continued, so the rows before the checkpoint are logged again
from `metrics.jsonl` into a new offline run, which replaces the folders of earlier ones (but one that was
synced stays, and wandb will show both). An online run is continued under its id, and rows that the server has
are not sent again.
"""

import json
import logging
import math
import secrets
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normlab.config import TrackerConfig
from normlab.disk.whole_files import replace_file
from normlab.rundir.opening import Opening, Row, event_key
from normlab.rundir.writer import read_rows
from normlab.sinks.wandb.budget import coarse
from normlab.sinks.wandb.mirror import cell, flat, note_of, read_note, remove_replaced, words
from normlab.sinks.wandb.start import GRACE, RunStarter, teardown, within
from normlab.terminal import shell

if TYPE_CHECKING:
    from PIL.Image import Image

#: Seconds to hand over the pictures.
MEDIA_TIMEOUT = 30.0
#: What wandb allows for titles of alerts, in characters.
_TITLE = 63
#: 255 is what wandb itself reports for an interrupted script.
_EXIT_CODES = {"finished": 0, "interrupted": 255}
#: Kept in the summary by their lowest value: what the last one says of a run that diverged is little.
_LOWEST = ("loss", "val/loss")
#: Families of few keys, whose last (or lowest) value is worth a column in the table of runs.
_SUMMARISED = ("val", "time")
#: Columns of the table of events: what is known at once, and later.
_EVENT = ("step", "kind", "metric", "value", "threshold", "layers", "order", "message")
_LATER = ("end", "recovered", "recovery_steps", "peak", "peak_step")

_log = logging.getLogger(__name__)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class WandbSink:
    """Mirrors a run in wandb.

    `pictures(run directory)` gives the images for the last row, by key; `warn` takes the one warning, `tell`
    the line before a wait; `kind` is wandb's job type. `replay`: nothing trains meanwhile, so an upload may
    take long, and no offline folder stands in for a server. After `open`, `mode` is online, offline or
    disabled, `directory` the folder in `RUN/wandb/`, `url` the page.
    """

    def __init__(
        self,
        tracker: TrackerConfig,
        pictures: Callable[[Path], Mapping[str, "Image"]] | None = None,
        warn: Callable[[str], None] = _log.warning,
        tell: Callable[[str], None] = _say,
        kind: str = "train",
        *,
        replay: bool = False,
    ) -> None:
        self.mode = "disabled"
        self.directory: Path | None = None
        self.url: str | None = None
        self.problem: str | None = None
        #: Rows that wandb was given, or will be at the end.
        self.sent = 0
        self._start = RunStarter(tracker, kind, self._complain, tell, replay=replay)
        self._consequence = "" if replay else ", so the run goes on without it"
        self._pictures = pictures
        self._warn = warn
        self._run: Any = None
        self._lost = False
        self._run_directory = Path()
        self._resumed = False
        self._held: dict[str, Any] | None = None
        self._next_step = 0
        self._lowest: dict[str, float] = {}
        self._seen: set[str] = set()
        self._families: set[str] = set()
        self._events: dict[tuple[int, str, str], Mapping[str, Any]] = {}

    @property
    def sync_hint(self) -> str | None:
        """The command that uploads what is only on this disk, or None if nothing is."""
        if self.directory is None or (self.mode == "online" and not self._lost):
            return None
        directory = self.directory
        with suppress(ValueError):
            directory = directory.resolve().relative_to(Path.cwd())
        return f"wandb sync {shell.path(directory)}"

    def record(self) -> dict[str, str]:
        """For the run's summary: the mode, and the folder, page, command and problem that there are."""
        directory = self.directory
        with suppress(ValueError):  # a run directory may be moved
            directory = directory and directory.resolve().relative_to(self._run_directory.resolve())
        facts = {
            "mode": self.mode,
            "directory": directory,
            "url": self.url,
            "sync": self.sync_hint,
            "problem": self.problem,
            "unreachable": True if self.mode == "offline" and RunStarter.unreachable else None,
        }
        return {name: str(fact) for name, fact in facts.items() if fact is not None}

    def open(self, opening: Opening) -> None:
        asked = self._start.asked()
        if asked == "disabled":
            return  # without importing wandb
        self._run_directory = opening.directory
        try:
            self._begin(asked, opening)
        except Exception as error:
            self._lose(f"wandb did not start{self._consequence}", error)

    def row(self, row: Row) -> None:
        self._note_lowest(row)
        if self._run is None or row["step"] < self._next_step:  # type: ignore[operator]
            return
        held = self._held
        self._held = {key: value for key, value in coarse(row).items() if not isinstance(value, str)}
        self.sent += 1
        if held is not None:
            self._log(held)

    def event(self, event: Mapping[str, Any]) -> None:
        key = event_key(event)
        known = key in self._events
        self._events[key] = dict(event)
        if self._run is not None and self.mode == "online" and not known:
            title = f"{event['kind']} at step {event['step']}"
            try:
                self._run.alert(title=title[:_TITLE], text=str(event["message"]), level="WARN")
            except Exception as error:
                self._lose(f"wandb failed{self._consequence}", error)

    def close(self, summary: Mapping[str, Any]) -> None:
        if self._run is None:
            return
        if self._held is not None:
            self._log(self._held, self._media())
        if self._run is None:
            return
        run, self._run = self._run, None
        # wandb's own minimum is NaN once a value was.
        lowest = {key: {"min": value} for key, value in self._lowest.items()}
        code = _EXIT_CODES.get(str(summary.get("status")), 1)
        try:
            run.summary.update(flat({**summary, "wandb": None, "sizes": None}) | lowest)
            within(self._start.finish_timeout + 5, lambda: run.finish(exit_code=code))
        except Exception as error:
            self._lose("wandb did not finish", error)
            return
        if self._resumed and self.directory is not None:
            remove_replaced(self.directory)

    def _begin(self, asked: str, opening: Opening) -> None:
        self._resumed = opening.resumed
        note = note_of(opening.directory)
        known = read_note(note) if opening.resumed else {}
        go_on = known.get("mode") == "online"
        identity = known["id"] if go_on else secrets.token_hex(4)
        self._run, self.mode = self._start.run(asked, identity, opening)
        self.directory = Path(self._run.dir).parent
        self.url = self._run.url if self.mode == "online" else None
        note.parent.mkdir(exist_ok=True)
        mode = "online" if go_on else self.mode
        replace_file(note, json.dumps({"id": self._run.id, "mode": mode}).encode())
        self._run.summary.update(flat({"floors": dict(opening.floors), "parameters": opening.parameters}))
        self._events = {event_key(event): event for event in opening.events}
        if go_on:
            # wandb itself may report step 0 here, though the server has rows.
            self._next_step = max(self._run.step, int(self._run.summary.get("step", -1)) + 1)
        if opening.resumed:
            for row in read_rows(opening.directory):
                self.row(row)
            if self.mode == "offline" and self._run is not None:
                remove_replaced(self.directory)

    def _note_lowest(self, row: Row) -> None:
        for key in _LOWEST:
            value = row.get(key)
            if isinstance(value, float) and math.isfinite(value):
                self._lowest[key] = min(value, self._lowest.get(key, value))

    def _log(self, data: dict[str, Any], media: Mapping[str, Any] | None = None) -> None:
        try:
            if not data.keys() <= self._seen:
                self._define(data.keys() - self._seen)
            if media:
                run, last = self._run, {**data, **media}
                try:
                    within(MEDIA_TIMEOUT, lambda: run.log(last, step=data["step"], commit=True))
                    return
                except Exception as error:
                    self._complain(f"no pictures in wandb ({words(error)})")
            self._run.log(data, step=data["step"], commit=True)
        except Exception as error:
            self._lose(f"wandb failed{self._consequence}", error)

    def _define(self, keys: Iterable[str]) -> None:
        """Give new keys `step` as their axis, and say what of them is kept in the summary.

        wandb has globs as a suffix only and resolves overlapping ones at random, so a family gets just one.
        A dot means nesting to it: such a key needs a definition of its own, with the dot escaped.
        """
        for key in sorted(keys):
            self._seen.add(key)
            family, slash, _ = key.partition("/")
            if key == "step":
                self._run.define_metric(key, hidden=True)
            elif not slash or family in _SUMMARISED:
                self._run.define_metric(key, step_metric="step", summary="min" if key in _LOWEST else None)
            elif "." in key:
                self._run.define_metric(key.replace(".", r"\."), step_metric="step", summary="none")
            elif family not in (*self._families, "figures"):
                self._families.add(family)
                self._run.define_metric(f"{family}/*", step_metric="step", summary="none")

    def _media(self) -> dict[str, Any]:
        """The pictures and the table of events, for the last row."""
        import wandb

        try:
            pictures = self._pictures(self._run_directory) if self._pictures else {}
            media: dict[str, Any] = {key: wandb.Image(picture) for key, picture in pictures.items()}
            names = _EVENT + _LATER
            table = [[cell(event.get(name)) for name in names] for event in self._events.values()]
            media["figures/events"] = wandb.Table(columns=[*names], data=table, allow_mixed_types=True)
        except Exception as error:
            self._complain(f"no pictures in wandb ({words(error)})")
            return {}
        return media

    def _lose(self, what: str, error: Exception) -> None:
        """Go on without wandb."""
        run, self._run, self._lost = self._run, None, True
        if self.directory is None:
            self.mode = "disabled"
        self._complain(f"{what} ({words(error)})")
        try:
            if run is not None:
                within(GRACE, lambda: run.finish(exit_code=1))
                return
        except Exception:
            pass
        # Its process may be gone or stuck. Forget it, else the next run and wandb's clean-up at exit are too.
        teardown()

    def _complain(self, message: str) -> None:
        if self.problem is None:
            self.problem = message
            self._warn(message)

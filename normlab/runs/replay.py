"""`normlab replay`: the detectors once more over the rows of a run, with its own thresholds or others."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normlab.catalogue import groups
from normlab.catalogue.naming import flat
from normlab.catalogue.optimizers import OPTIMIZERS
from normlab.config import RunConfig
from normlab.disk.strict_json import plain
from normlab.divergence import Event, RunFacts, Watch, known_floors
from normlab.divergence.nonfinite import DERIVED, PREFIX
from normlab.errors import ConfigError, RunDirectoryError, nearest
from normlab.rundir.opening import event_key
from normlab.rundir.reading import replace_events
from normlab.rundir.summary import event_figures
from normlab.rundir.writer import CONFIG, EVENTS, ROWS, SUMMARY, hold, read_summary
from normlab.runs.recorded import Recorded, read_recorded, run_directory

GROUP = "divergence."
#: Settings of that group that are no thresholds.
_NO_THRESHOLDS = ("name", "action")


@dataclass(frozen=True, kw_only=True)
class ReplayedEvent:
    """An event of the replay beside the run's own record of it."""

    #: `same`, `new`, `changed`, or `gone` for one that only the record has.
    mark: str
    event: Mapping[str, Any]
    #: The fields in which the two differ.
    differs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What a replay found."""

    directory: Path
    #: The run's status, `unknown` where it has no summary.
    status: str
    rows: int
    first_step: int
    last_step: int
    #: Steps that the run had, and whether the rows end before.
    steps: int
    cut: bool
    #: The thresholds that are not the run's own: key -> (its own, the replay's).
    changed: Mapping[str, tuple[Any, Any]]
    events: Sequence[Event]
    #: All events of replay and record, by step.
    found: Sequence[ReplayedEvent]
    outcome: str
    #: As in the summary; None where it has none yet.
    recorded_outcome: str | None
    #: What to know of the rows and of this replay.
    notes: Sequence[str]
    #: Where the old files are, if this replay was written.
    kept: Path | None = None

    def record(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values: dict[str, Any] = {
            "run": str(self.directory),
            "status": self.status,
            "rows": self.rows,
            "first_step": self.first_step,
            "last_step": self.last_step,
            "steps": self.steps,
            "thresholds": {key: {"was": was, "is": now} for key, (was, now) in self.changed.items()},
            "outcome": self.outcome,
            "recorded_outcome": self.recorded_outcome,
            "events": [
                {"mark": found.mark, "differs": list(found.differs), **found.event} for found in self.found
            ],
            "notes": list(self.notes),
            "written": None if self.kept is None else {"kept": str(self.kept)},
        }
        result: dict[str, Any] = plain(values)
        return result


def replay(directory: Path, overrides: Sequence[str] = (), *, write: bool = False) -> Replay:
    """Fold the detectors over the rows of the run in `directory`.

    Args:
        overrides: thresholds such as `divergence.spike.z=6` in the place of the run's own.
        write: replace the run's events, and what its summary says of them; the old files are kept beside.
    Raises:
        RunDirectoryError: there is no run, or none of its rows can be read; with `write`, it is in training,
            or its rows end before it did.
        ConfigError: an override that is no threshold, or out of range.
    """
    directory = run_directory(directory)
    check_thresholds(overrides)
    if not write:
        return _replay(directory, overrides)
    with hold(directory):
        done = _replay(directory, overrides)
        return dataclasses.replace(done, kept=_write(done))


def check_thresholds(overrides: Iterable[str]) -> None:
    """Refuse what is not a threshold: a replay trains nothing, so nothing else could matter."""
    known = thresholds()
    for word in overrides:
        key, equals, _ = word.partition("=")
        if not equals or not key:
            raise ConfigError(word, "is not KEY=VALUE")
        if key not in known:
            only = "there is no such threshold; a replay takes divergence.DETECTOR.KEY and nothing else"
            raise ConfigError(key, f"{only}.{_suggest(key, known)}")


def thresholds() -> list[str]:
    """Every key that a replay takes."""
    keys = (key for key in groups.known_keys() if key.startswith(GROUP))
    return [key for key in keys if key.removeprefix(GROUP) not in _NO_THRESHOLDS]


def _suggest(key: str, known: Sequence[str]) -> str:
    """The key without its group, or those of its last word, or the nearest."""
    leaf = key.rpartition(".")[2]
    same = [name for name in known if name.rpartition(".")[2] == leaf]
    close = [f"{GROUP}{key}"] if f"{GROUP}{key}" in known else same[:3]
    return (
        " Did you mean " + " or ".join(f"'{name}'" for name in close) + "?" if close else nearest(key, known)
    )


def _replay(directory: Path, overrides: Sequence[str]) -> Replay:
    from normlab.compose.saved_config import load_config

    known = read_recorded(directory)
    own = known.config
    config = load_config(directory / CONFIG, overrides) if overrides else own
    notes = list(known.notes)
    if known.events is None:
        notes.append(f"there is no {EVENTS}, so every event is new")
    if known.gap:
        saw = "the detectors saw every step when it ran, so a replay can differ from its record"
        notes.append(f"{known.gap}, and {saw}")
    watch = fold(config, known)
    events = watch.events
    return Replay(
        directory=known.directory,
        status=known.status,
        rows=len(known.rows),
        first_step=known.rows[0]["step"],
        last_step=known.last_step,
        steps=known.steps,
        cut=known.cut,
        changed=_changed(own, config),
        events=events,
        found=beside([event.record() for event in events], known.events or []),
        outcome=watch.outcome,
        recorded_outcome=known.summary.get("outcome"),
        notes=notes,
    )


def fold(config: RunConfig, known: Recorded) -> Watch:
    """The detectors, under the thresholds of `config`, after the run's rows."""
    watch = Watch(config.divergence, facts(config, known.summary, known.rows))
    for row in known.rows:
        watch.update(row)
    return watch


def facts(config: RunConfig, summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> RunFacts:
    """What the detectors were told of the run, from its files.

    Without a summary no floors are known, and of the places only the names, from the rows.
    """
    sizes = _numbers(summary.get("sizes"))
    if not sizes:
        names = [key.removeprefix(PREFIX) for key in rows[-1] if key.startswith(PREFIX)]
        sizes = {name: 0 for name in names if "/" not in name and name not in DERIVED}
    return RunFacts(
        floors=known_floors(summary),
        warmup=config.warmup,
        steps=config.train.steps,
        least=OPTIMIZERS[config.optimizer.name].least(config.optimizer),
        sizes=sizes,
    )


def _numbers(values: Any) -> dict[str, Any]:
    pairs = values.items() if isinstance(values, Mapping) else ()
    return {key: value for key, value in pairs if isinstance(value, int | float) and value >= 0}


def beside(events: Sequence[Mapping[str, Any]], recorded: Sequence[Mapping[str, Any]]) -> list[ReplayedEvent]:
    """`events` and `recorded`, matched by (step, kind, metric), by step."""
    olds = {event_key(event): event for event in recorded}
    found = []
    for event in events:
        old = olds.pop(event_key(event), None)
        differs = () if old is None else _differs(event, old)
        mark = "new" if old is None else "changed" if differs else "same"
        found.append(ReplayedEvent(mark=mark, event=event, differs=differs))
    found += [ReplayedEvent(mark="gone", event=old) for old in olds.values()]
    return sorted(found, key=lambda each: each.event["step"])


def _differs(event: Mapping[str, Any], old: Mapping[str, Any]) -> tuple[str, ...]:
    """By value, where NaN is NaN. A record of an earlier version says nothing of the fields that it lacks,
    and its message in other words."""
    now, then = plain(event), plain(old)
    return tuple(name for name in then if name != "message" and now.get(name) != then[name])


def _changed(own: RunConfig, config: RunConfig) -> dict[str, tuple[Any, Any]]:
    was = dict(flat(dataclasses.asdict(own.divergence), GROUP))
    now = dict(flat(dataclasses.asdict(config.divergence), GROUP))
    return {key: (was[key], now[key]) for key in was if was[key] != now[key]}


def _write(done: Replay) -> Path:
    """Replace events and summary; returns where the old ones are."""
    if done.cut:
        raise RunDirectoryError(
            f"{done.directory / ROWS} ends at step {done.last_step} and the run had {done.steps} steps: a "
            "replay knows nothing of what came later, so nothing was written; without --write it shows what "
            "there is"
        )
    try:
        summary = read_summary(done.directory / SUMMARY)
    except RunDirectoryError:
        raise RunDirectoryError(
            f"{done.directory / SUMMARY} cannot be read, so nothing can be written into it"
        ) from None
    figures = event_figures(done.status, done.events, done.outcome)
    made = {key: now for key, (_, now) in done.changed.items()}
    replayed = {"replayed": {"rows": done.rows, "thresholds": made}}
    return replace_events(
        done.directory, [event.record() for event in done.events], summary | figures | replayed
    )

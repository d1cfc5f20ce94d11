"""The end of a sweep: one table over its jobs, and `sweep.json`, both from what the jobs left on disk."""

import json
import math
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from normlab import naming
from normlab.errors import RunDirectoryError
from normlab.sinks.run_directory import plain, read_rows, read_summary

FILE = "sweep.json"
#: How many jobs that were not started are named.
_SHOWN = 3
#: The table from the fullest layout to the barest: whether with borders and whole keys, and the columns.
_LAYOUTS = (
    (True, ("outcome", "best loss", "final loss", "first event", "time")),
    (False, ("outcome", "best", "final", "first event", "time")),
    (False, ("outcome", "best", "final", "first event")),
    (False, ("outcome", "final", "first event")),
    (False, ("outcome", "final")),
)
STYLES = {
    "stable": "green",
    "spiked": "yellow",
    "stuck": "yellow",
    "exploded": "red",
    "nonfinite": "red",
    "interrupted": "magenta",
    "not started": "dim",
}
#: What `sweep.json` has of each job's summary.
_FIGURES = (
    "outcome",
    "steps",
    "loss/best",
    "loss/final",
    "val/best",
    "val/final",
    "floors",
    "events",
    "first_event",
    "parameters",
    "seconds",
)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A job that a sweep is to run."""

    directory: Path
    overrides: tuple[str, ...]


@dataclass(kw_only=True)
class Job:
    """A job as its folder tells it. `status` is finished, interrupted, failed, lost or not started."""

    directory: Path
    status: str
    overrides: list[str]
    error: str | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def bad(self) -> bool:
        return self.status in ("failed", "lost")


def finish(directory: Path, planned: Sequence[Planned], failures: Mapping[Path, str]) -> int:
    """Print the table and write `sweep.json`; returns how many of the planned jobs failed or were lost.

    Args:
        planned: the jobs this command was to run; where that is not known, all that the folder holds count.
        failures: errors of jobs, which may have left no summary.
    """
    jobs = read_jobs(directory, planned, failures)
    if not jobs or not directory.is_dir():
        return len(planned)
    _print(directory, jobs)
    try:
        print(write(directory, jobs))
    except OSError as error:
        print(f"error: {directory / FILE} could not be written: {error.strerror}", file=sys.stderr)
    ours = {job.directory.absolute() for job in planned}
    return sum(job.bad for job in jobs if not ours or job.directory.absolute() in ours)


def read_jobs(
    directory: Path, planned: Sequence[Planned] = (), failures: Mapping[Path, str] | None = None
) -> list[Job]:
    """The planned jobs in their order, then every other run in the sweep's folder, whoever ran it."""
    errors = {path.absolute(): text for path, text in (failures or {}).items()}
    words = {job.directory.absolute(): list(job.overrides) for job in planned}
    found = sorted(path.parent.absolute() for path in directory.glob("*/summary.json"))
    return [
        _read(path, words.get(path), errors.get(path)) for path in dict.fromkeys([*words, *errors, *found])
    ]


def _read(directory: Path, overrides: list[str] | None, error: str | None) -> Job:
    try:
        summary = read_summary(directory)
        status = {"running": "lost"}.get(summary["status"], summary["status"])
    except RunDirectoryError:
        summary, status = {}, "not started"
    if status == "lost":
        summary = {**summary, **_last_words(directory)}
    if error is not None and status in ("not started", "lost"):
        status = "failed"
    return Job(
        directory=directory,
        status=status,
        overrides=overrides or list(_yaml(directory / ".hydra" / "overrides.yaml") or []),
        error=error or summary.get("error"),
        summary=summary,
        config=dict(_yaml(directory / "config.yaml") or {}),
    )


def _last_words(directory: Path) -> dict[str, Any]:
    """How far a run came that did not get to write its summary."""
    try:
        rows = read_rows(directory)
    except RunDirectoryError:
        return {}
    return {"steps": rows[-1]["step"] + 1, "seconds": rows[-1].get("time/seconds")} if rows else {}


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return None


def write(directory: Path, jobs: Sequence[Job]) -> Path:
    """`sweep.json`: the swept knobs and every job, as strict JSON; replaced as a whole."""
    knobs = _knobs(jobs)
    records = [_record(directory, job, knobs) for job in jobs]
    content = {"sweep": directory.name, "knobs": knobs, "jobs": records}
    path = directory / FILE
    part = path.with_name(f"{FILE}.part")
    part.write_text(json.dumps(plain(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    part.replace(path)
    return path


def _record(directory: Path, job: Job, knobs: Sequence[str]) -> dict[str, Any]:
    try:
        place = str(job.directory.relative_to(directory.absolute()))
    except ValueError:
        place = str(job.directory)
    return {
        "dir": place,
        "overrides": job.overrides,
        "knobs": _values(job, knobs),
        "status": job.status,
        "error": job.error,
        **{key: job.summary.get(key) for key in _FIGURES},
        # Of a run that did not end, how it would have ended is not known.
        "outcome": job.summary.get("outcome") if job.status == "finished" else None,
    }


def _knobs(jobs: Sequence[Job]) -> list[str]:
    """What was swept; where a job left no config, what its words say counts too."""
    keys = naming.swept([job.config for job in jobs if job.config])
    bare = [dict(word.split("=", 1) for word in job.overrides if "=" in word) for job in jobs]
    if any(not job.config for job in jobs):
        names = dict.fromkeys(key for words in bare for key in words)
        keys += [key for key in names if key not in keys and len({words.get(key) for words in bare}) > 1]
    return keys


def _values(job: Job, knobs: Sequence[str]) -> dict[str, Any]:
    words = dict(word.split("=", 1) for word in job.overrides if "=" in word)
    return {key: naming.knob(job.config, key) if job.config else words.get(key) for key in knobs}


def _print(directory: Path, jobs: Sequence[Job]) -> None:
    console = Console()
    counts = Counter(job.status for job in jobs)
    console.print(Text(f"\nsweep {directory.name}: ", style="bold"), end="")
    console.print(", ".join(f"{count} {status}" for status, count in counts.items()), highlight=False)
    console.print(table(jobs, console.width))
    for job in jobs:
        if job.bad:
            why = job.error or "it ended without a word"
            console.print(Text(f"{job.status}: {job.directory.name}: {why}", style="red"))
        elif job.status == "interrupted":
            console.print(
                Text(f"to continue: normlab resume {directory / job.directory.name}"), soft_wrap=True
            )
    if counts["not started"]:
        console.print(Text(_again(jobs)), soft_wrap=True)


def _again(jobs: Sequence[Job]) -> str:
    """One line on the jobs that were not started: what to type for the first of them."""
    left = [shlex.join(job.overrides) for job in jobs if job.status == "not started"]
    more = f" (and {len(left) - _SHOWN} more, see {FILE})" if len(left) > _SHOWN else ""
    commands = "; ".join(f"normlab train {words}" for words in left[:_SHOWN])
    return f"{len(left)} not started; run again: {commands}{more}"


def table(jobs: Sequence[Job], width: int = 80) -> Table:
    """One row a job: swept knobs, outcome, losses, first event, time; the fullest layout that fits."""
    ruler = Console(width=10_000)
    for bordered, columns in _LAYOUTS:
        result = _table(jobs, bordered, columns)
        if ruler.measure(result).maximum <= width:
            break
    return result


def _table(jobs: Sequence[Job], bordered: bool, columns: Sequence[str]) -> Table:
    knobs = _knobs(jobs)
    leaves = Counter(knob.rpartition(".")[2] for knob in knobs)
    result = Table(header_style="bold")
    if not bordered:
        result.box, result.padding = box.SIMPLE_HEAD, (0, 1, 0, 0)
    for knob in knobs:
        leaf = knob.rpartition(".")[2]
        result.add_column(knob if bordered or leaves[leaf] > 1 else leaf, overflow="fold")
    for column in columns:
        result.add_column(
            column, justify="left" if column in ("outcome", "first event") else "right", no_wrap=True
        )
    for job in jobs:
        cells = _cells(job)
        result.add_row(*map(_cell, _values(job, knobs).values()), *(cells[column] for column in columns))
    return result


def _cells(job: Job) -> dict[str, str | Text]:
    word = str(job.summary.get("outcome") if job.status == "finished" else job.status)
    best, final = (_cell(job.summary.get(f"loss/{name}"), 3) for name in ("best", "final"))
    return {
        "outcome": Text(word, style=STYLES.get(word, "bold red")),
        "best loss": best,
        "best": best,
        "final loss": final,
        "final": final,
        "first event": first_event(job.summary.get("first_event")),
        "time": _time(job.summary.get("seconds")),
    }


def _cell(value: Any, digits: int | None = None) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.{digits}f}" if digits is not None else f"{value:.6g}"
    return str(value)


def first_event(event: Any) -> str:
    if not isinstance(event, Mapping):
        return "-"
    return f"{event.get('kind')} @ {event.get('step')}"


def _time(seconds: Any) -> str:
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return "-"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} m {rest:02d} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} m"

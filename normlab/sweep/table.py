"""One table over the jobs of a sweep."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from normlab.catalogue import naming
from normlab.divergence.outcome import TOLERANCE, recorded_outcome
from normlab.sweep.jobs import SweepJob
from normlab.sweep.record import swept, values
from normlab.terminal import wording
from normlab.terminal.wording import printable

#: Letters of a value in a table at most.
_LONGEST = 200
#: The columns from the fullest table to the barest; `val`, which `runs` and `compare` show, stays longest.
_LAYOUTS: tuple[tuple[str, ...], ...] = (
    ("outcome", "val", "loss", "first event", "time"),
    ("outcome", "val", "loss", "first event"),
    ("outcome", "val", "first event"),
    ("outcome", "val"),
)
#: Means of a run's last values: of the validation, of the training.
_LOSSES = {"val": "val/final", "loss": "loss/final"}
STYLES = {
    "stable": "green",
    "spiked": "yellow",
    "stuck": "yellow",
    "untrained": "yellow",
    "exploded": "red",
    "nonfinite": "red",
    "interrupted": "magenta",
    "running": "cyan",
    "not started": "dim",
}


def table(jobs: Sequence[SweepJob], width: int = 80) -> Table:
    """One row a job: swept knobs, outcome, losses, first event, time; as many columns as fit."""
    ruler = Console(width=10_000)
    layouts = _LAYOUTS
    if all(job.summary.get("val/final") is None for job in jobs):  # train.eval_every=0
        layouts = tuple(_without_validation(columns) for columns in _LAYOUTS)
    for columns in layouts:
        result = _table(jobs, columns)
        if ruler.measure(result).maximum <= width:
            break
    if left_out := [column for column in layouts[0] if column not in columns]:
        result.caption, result.caption_justify = f"no room for: {', '.join(left_out)}", "left"
    return result


def _without_validation(columns: Sequence[str]) -> tuple[str, ...]:
    rest = tuple(column for column in columns if column != "val")
    return rest if "loss" in rest else (rest[0], "loss", *rest[1:])


def _table(jobs: Sequence[SweepJob], columns: Sequence[str]) -> Table:
    knobs = swept(jobs)
    leaves = Counter(knob.rpartition(".")[2] for knob in knobs)
    result = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
    for knob in knobs:
        leaf = knob.rpartition(".")[2]
        result.add_column(Text(printable(knob if leaves[leaf] > 1 else leaf)), overflow="fold")
    for column in columns:
        result.add_column(
            column, justify="left" if column in ("outcome", "first event") else "right", no_wrap=True
        )
    for job in jobs:
        cells = _cells(job)
        own = [Text(cell(value)) for value in values(job, knobs).values()]
        result.add_row(*own, *(cells[column] for column in columns))
    return result


def outcome(job: SweepJob) -> str:
    """A finished job's outcome, another one's status."""
    if job.status != "finished":
        return printable(job.status)
    return printable(recorded_outcome(job.summary, naming.knob(job.config, TOLERANCE)))


def _cells(job: SweepJob) -> dict[str, str | Text]:
    word = outcome(job)
    return {
        **{name: _loss(job.summary.get(key)) for name, key in _LOSSES.items()},
        "outcome": Text(word, style=STYLES.get(word, "bold red")),
        "first event": Text(first_event(job.summary.get("first_event"))),
        "time": duration(job.summary.get("seconds")),
    }


def _loss(value: Any) -> str:
    return wording.fixed(value, 3) if isinstance(value, int | float) else "-"


def cell(value: Any) -> str:
    """A value in a table."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return printable(str(value))[:_LONGEST]


def first_event(event: Any) -> str:
    """A record of an event in few words."""
    if not isinstance(event, Mapping):
        return "-"
    return printable(f"{event.get('kind')} @ {event.get('step')}")


def duration(seconds: Any) -> str:
    """`27.4 s`, `2 m 05 s`, `25 h 00 m`."""
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return "-"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} m {rest:02d} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} m"

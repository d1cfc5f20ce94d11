"""`normlab sweep plan`: the jobs of a sweep, what there is to do for each and what it will cost."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from normlab.catalogue import naming
from normlab.errors import UserError
from normlab.sweep.jobs import TO_TRAIN, Planned
from normlab.sweep.table import cell, duration
from normlab.terminal.wording import counted

#: What a forecast does not depend on, or is multiplied by afterwards.
_SAME = ("seed", "warmup", "optimizer.lr", "schedule", "divergence", "tracker", "sweep")
_TODO = {
    "finished": "done",
    "failed": "left",
    "running": "running",
    "begun": "go on",
    "again": "try again",
    "new": "train",
}
#: Seconds that a sweep takes to start, whatever its jobs: it and its server import torch and Hydra.
_START = 6.0
_UNITS = ("B", "kB", "MB", "GB", "TB")


class JobForecast(Protocol):
    """What `normlab.training.forecast` says of a run."""

    @property
    def parameters(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def size(self) -> int: ...


def print_plan(
    planned: Sequence[Planned], standings: Sequence[str], forecast: Callable[[Any], JobForecast]
) -> None:
    """Print one row a job, and the sums over those that are to be trained. Times are of this machine, now.

    Raises:
        UserError: a model does not fit in memory.
    """
    known: dict[str, JobForecast] = {}
    knobs = naming.swept([job.config for job in planned])
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
    for knob in knobs:
        table.add_column(knob, overflow="fold")
    table.add_column("to do")
    for column in ("parameters", "steps", "time", "disk"):
        table.add_column(column, justify="right", no_wrap=True)
    seconds, size = 0.0, 0
    for job, standing in zip(planned, standings, strict=True):
        key = _key(job)
        known[key] = known.get(key) or _forecast(job, knobs, forecast)
        cost, todo = known[key], standing in TO_TRAIN
        seconds, size = seconds + todo * cost.seconds, size + todo * cost.size
        table.add_row(
            *(cell(naming.knob(job.config, knob)) for knob in knobs),
            _TODO[standing],
            f"{cost.parameters:,}",
            str(naming.knob(job.config, "train.steps")),
            duration(cost.seconds) if todo else "-",
            _bytes(cost.size) if todo else "-",
        )
    console = Console()
    console.print(table)
    left = sum(standing in TO_TRAIN for standing in standings)
    jobs = f"{counted(len(planned), 'job')}, {left} to train"
    if not left:
        console.print(Text(jobs))
        return
    order = " one after another" if left > 1 else ""
    console.print(
        Text(
            f"{jobs}: about {duration(_START + seconds)}{order} on this machine as busy as it is now, "
            f"up to {_bytes(size)} of disk"
        )
    )


def _forecast(job: Planned, knobs: Sequence[str], forecast: Callable[[Any], JobForecast]) -> JobForecast:
    try:
        return forecast(job.settings)
    except MemoryError:
        which = " ".join(f"{knob}={cell(naming.knob(job.config, knob))}" for knob in knobs)
        raise UserError(
            f"{which or 'the model'}: does not fit in memory here; leave it out or make it smaller"
        ) from None


def _key(job: Planned) -> str:
    """Jobs with one key have one forecast."""
    return str([pair for pair in naming.flat(job.config) if not pair[0].startswith(_SAME)])


def _bytes(size: float) -> str:
    for unit in _UNITS[:-1]:
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} {_UNITS[-1]}"

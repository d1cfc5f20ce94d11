"""`normlab sweep status`: how far a sweep has come, from its folder, whoever runs it."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from normlab.errors import RunDirectoryError
from normlab.sweep.advice import reasons, way_on
from normlab.sweep.jobs import FILE, SweepJob, read_jobs
from normlab.sweep.record import content, recorded_command, swept, values
from normlab.sweep.table import STYLES, cell, duration, outcome
from normlab.terminal import wording
from normlab.terminal.wording import json_text, printable

#: Seconds from one look to the next on a terminal, and how many looks may find no job running before the end.
_EVERY, _IDLE = 2.0, 5
_LEFT = ("running", "interrupted", "lost", "not started")


def print_status(directory: Path, *, as_json: bool = False) -> None:
    """Print counts, the jobs that run, the time left and a grid of outcomes; on a terminal, until the end.

    Raises:
        RunDirectoryError: there is no sweep.
    """
    jobs = _jobs(directory)
    if as_json:
        print(json_text({**content(directory, jobs), "eta": eta(jobs)}))
        return
    console = Console()
    if not console.is_terminal or not any(job.status == "running" for job in jobs):
        console.print(view(directory, jobs, console.width))
        _print_advice(console, directory, jobs)
        return
    idle = 0
    with Live(view(directory, jobs, console.width), console=console, auto_refresh=False) as live:
        while idle < _IDLE and any(job.status in ("running", "not started") for job in jobs):
            time.sleep(_EVERY)
            jobs = _jobs(directory)
            idle = 0 if any(job.status == "running" for job in jobs) else idle + 1
            live.update(view(directory, jobs, console.width), refresh=True)
    _print_advice(console, directory, jobs)


def _print_advice(console: Console, directory: Path, jobs: Sequence[SweepJob]) -> None:
    """Below the view, uncut, so that it can be copied whole; while jobs run there is nothing to do yet."""
    over = not any(job.status == "running" for job in jobs)
    lines = way_on(jobs, recorded_command(directory)) if over else ()
    for line in (*reasons(jobs), *lines):
        console.print(line, soft_wrap=True)


#: Columns and rows of the grid at most.
_ACROSS, _DOWN = 12, 40


def _jobs(directory: Path) -> list[SweepJob]:
    jobs = read_jobs(directory) if directory.is_dir() else []
    if not jobs:
        why = f"there is no {FILE} in it, and no run" if directory.is_dir() else "there is no such folder"
        raise RunDirectoryError(f"{directory} holds no sweep: {why}")
    return jobs


def view(directory: Path, jobs: Sequence[SweepJob], width: int = 80) -> Group:
    """Counts and time left, the jobs that run, the grid."""
    counts = Counter(job.status for job in jobs)
    left = eta(jobs)
    head = Text(f"sweep {printable(directory.name)}: ", style="bold")
    head.append(", ".join(f"{count} {status}" for status, count in counts.items()), style="not bold")
    if left is not None:
        head.append(f"; about {duration(left)} left", style="not bold")
    running = [_running(job, width) for job in jobs if job.status == "running"]
    return Group(head, *running, grid(jobs))


def _running(job: SweepJob, width: int) -> Text:
    done, steps = job.summary.get("steps") or 0, _steps(job)
    pace = _left(job)
    words = f"  step {done}/{steps or '?'}" + (f"  {duration(pace)} left" if pace is not None else "")
    return Text(
        f"  {wording.middle(printable(job.directory.name), width - 2 - len(words))}{words}", style="cyan"
    )


def _steps(job: SweepJob) -> int | None:
    steps = (job.config.get("train") or {}).get("steps")
    return steps if isinstance(steps, int) else None


def _left(job: SweepJob) -> float | None:
    """Seconds that a job has to go, at its own pace."""
    steps, done, seconds = _steps(job), job.summary.get("steps"), job.summary.get("seconds")
    if steps is None or not done or not isinstance(seconds, int | float):
        return None
    return max(steps - int(done), 0) * float(seconds) / int(done)


def eta(jobs: Sequence[SweepJob]) -> float | None:
    """Seconds to the end: what has begun at its own pace, the rest as long as the others take on average.

    None where no job runs or none has a pace yet. As many jobs at a time as there are now.
    """
    running = sum(job.status == "running" for job in jobs)
    seconds = [job.summary.get("seconds") for job in jobs if job.status == "finished"]
    whole = [float(value) for value in seconds if isinstance(value, int | float)]
    lefts = {id(job): _left(job) for job in jobs if job.status in _LEFT}
    whole += [job.summary["seconds"] + left for job in jobs if (left := lefts.get(id(job))) is not None]
    if not running or not whole:
        return None
    mean = sum(whole) / len(whole)
    return sum(mean if left is None else left for left in lefts.values()) / running


def grid(jobs: Sequence[SweepJob]) -> Table:
    """Outcomes over the two knobs with the most values; a cell counts where other knobs vary in it.

    Knobs of more than `_ACROSS` values do not go across; of more than `_DOWN`, the last row has the rest.
    """
    names = swept(jobs)
    found = [{name: _value(job, name) for name in names} for job in jobs]
    options = {name: list(dict.fromkeys(each[name] for each in found)) for name in names}
    by_size = sorted(names, key=lambda name: -len(options[name]))
    down = by_size[0] if by_size else None
    across = next((name for name in by_size[1:] if len(options[name]) <= _ACROSS), None)
    rows, columns = (options[down] if down else [""]), (options[across] if across else [""])
    cells: dict[tuple[str, str], list[SweepJob]] = {}
    for job, each in zip(jobs, found, strict=True):
        cells.setdefault((each[down] if down else "", each[across] if across else ""), []).append(job)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(Text(printable(down or "job")), style="bold")
    for value in columns:
        table.add_column(Text(printable(f"{across}={value}") if across else "outcome"))
    whole, rest = (rows, []) if len(rows) <= _DOWN else (rows[: _DOWN - 1], rows[_DOWN - 1 :])
    for row in whole:
        table.add_row(Text(row), *(_outcomes(cells.get((row, column), [])) for column in columns))
    if rest:
        left = [[job for row in rest for job in cells.get((row, column), [])] for column in columns]
        table.add_row(Text(f"{len(rest)} more"), *map(_outcomes, left))
    return table


def _value(job: SweepJob, name: str) -> str:
    return cell(values(job, [name])[name])


def _outcomes(jobs: Sequence[SweepJob]) -> Text:
    counts: Counter[Any] = Counter(outcome(job) for job in jobs)
    parts = [
        (word if len(counts) == 1 and count == 1 else f"{count} {word}", STYLES.get(word, "bold red"))
        for word, count in counts.items()
    ]
    return (
        Text(", ").join(Text(text, style=style) for text, style in parts) if parts else Text("-", style="dim")
    )

"""The end of a sweep: its table and `sweep.json`, both from what the jobs left on disk."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from normlab.sweep.jobs import FILE, Job, Planned, read_jobs
from normlab.sweep.record import write
from normlab.sweep.table import table

#: How many jobs that are to be gone on with are named.
_SHOWN = 3


def finish(
    directory: Path, planned: Sequence[Planned], failures: Mapping[Path, str], again: str | None = None
) -> int:
    """Print the table and write `sweep.json`; returns how many of the planned jobs have no result.

    Args:
        planned: the jobs this command was to run; where that is not known, all that the folder holds count.
        failures: errors of jobs that could not be noted in their folders.
        again: the command that goes on with the jobs that have not ended.
    """
    jobs = read_jobs(directory, planned, failures)
    if not jobs or not directory.is_dir():
        return len(planned)
    _print(directory, jobs, again)
    try:
        print(write(directory, jobs))
    except OSError as error:
        print(f"error: {directory / FILE} could not be written: {error.strerror}", file=sys.stderr)
    ours = {job.directory.absolute() for job in planned}
    mine = [job for job in jobs if not ours or job.directory.absolute() in ours]
    return sum(job.bad or job.status in ("not started", "interrupted") for job in mine)


def _print(directory: Path, jobs: Sequence[Job], again: str | None) -> None:
    console = Console()
    counts = Counter(job.status for job in jobs)
    console.print(Text(f"\nsweep {directory.name}: ", style="bold"), end="")
    console.print(", ".join(f"{count} {status}" for status, count in counts.items()), highlight=False)
    console.print(table(jobs, console.width))
    for job in jobs:
        if job.bad:
            why = job.error or "it ended without a word"
            console.print(Text(f"{job.status}: {job.directory.name}: {why}", style="red"), soft_wrap=True)
    left = [job for job in jobs if job.status in ("interrupted", "lost", "not started")]
    if left and again:
        console.print(Text(f"to go on with {_named(left)}: {again}"), soft_wrap=True)


def _named(jobs: Sequence[Job]) -> str:
    names = ", ".join(job.directory.name for job in jobs[:_SHOWN])
    return names + (f" and {len(jobs) - _SHOWN} more" if len(jobs) > _SHOWN else "")

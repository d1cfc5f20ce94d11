"""The end of a sweep: its table and `sweep.json`, both from what the jobs left on disk."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from normlab.sweep.advice import LEFT, next_questions, reasons, way_on
from normlab.sweep.jobs import FILE, Planned, SweepJob, read_jobs
from normlab.sweep.record import write
from normlab.sweep.replicates import has_replicates, replicates_table
from normlab.sweep.table import table


def finish(
    directory: Path, planned: Sequence[Planned], failures: Mapping[Path, str], command: str | None = None
) -> int:
    """Print the table and write `sweep.json`; returns how many of the planned jobs have no result.

    Args:
        planned: the jobs this command was to run; where that is not known, all that the folder holds count.
        failures: errors of jobs that could not be noted in their folders.
        command: what goes on with the jobs that have not ended.
    """
    jobs = read_jobs(directory, planned, failures)
    if not jobs or not directory.is_dir():
        return len(planned)
    ours = {job.directory.absolute() for job in planned}
    mine = [job for job in jobs if not ours or job.directory.absolute() in ours]
    console = Console()
    _print(console, directory, jobs)
    try:
        print(write(directory, jobs, command))
    except OSError as error:
        print(f"error: {directory / FILE} could not be written: {error.strerror}", file=sys.stderr)
    for line in [*next_questions(directory, jobs), *way_on(mine, command)]:
        console.print(line, soft_wrap=True)
    return sum(job.bad or job.status in LEFT for job in mine)


def _print(console: Console, directory: Path, jobs: Sequence[SweepJob]) -> None:
    counts = Counter(job.status for job in jobs)
    console.print(Text(f"\nsweep {directory.name}: ", style="bold"), end="")
    console.print(", ".join(f"{count} {status}" for status, count in counts.items()), highlight=False)
    console.print(replicates_table(jobs) if has_replicates(jobs) else table(jobs, console.width))
    for line in reasons(jobs):
        console.print(line, soft_wrap=True)

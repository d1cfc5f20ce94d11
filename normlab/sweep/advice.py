"""What to tell of the jobs of a sweep that have no result: why, and what to type next."""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.text import Text

from normlab.errors import shown
from normlab.sweep.jobs import FILE, SweepJob

#: How many jobs have their reasons told.
_SHOWN = 5
#: Letters of a reason at most.
_LONGEST = 1000
#: Where a job's process leaves the trace of an error.
LOG = "train.log"
#: What the command that goes on does without another word.
LEFT = ("interrupted", "lost", "not started")


def reasons(jobs: Sequence[SweepJob]) -> Iterator[Text]:
    """Why jobs failed or were lost, with the file that holds the trace."""
    bad = [job for job in jobs if job.bad]
    for job in bad[:_SHOWN]:
        why = shown(job.error or "it ended without a message", _LONGEST)
        yield Text(f"{job.status}: {shown(job.directory.name)}: {why}", style="red")
        log = _near(job.directory / LOG)
        if job.status == "failed" and log.is_file():
            yield Text(f"  the trace is in {shown(log)}", style="red")
    if len(bad) > _SHOWN:
        yield Text(f"and {len(bad) - _SHOWN} more, in {FILE}", style="red")


def way_on(jobs: Sequence[SweepJob], command: str | None) -> Iterator[Text]:
    """The command that goes on with what is left, and tries what failed again, on a line of its own."""
    counts = Counter(job.status for job in jobs)
    there = [status for status in ("failed", *LEFT) if counts[status]]
    if not there or not command:
        return
    told = ", ".join(f"{counts[status]} {status}" for status in there)
    if "failed" not in there:
        yield Text(f"{told}; the same command goes on:")
        yield Text(command)
        return
    also = ", and goes on with the rest" if len(there) > 1 else ""
    yield Text(f"{told}; sweep.retry=failed tries again what failed{also}:")
    yield Text(f"{command} sweep.retry=failed")


def next_questions(directory: Path, jobs: Sequence[SweepJob]) -> Iterator[Text]:
    """The commands that compare the runs of a sweep, once there are two."""
    if sum(job.status == "finished" for job in jobs) < 2:
        return
    where = shlex.quote(str(_near(directory)))
    yield Text(f"compare: normlab compare {where}")
    yield Text(f"figures: normlab plot {where}")
    yield Text(f"one page: normlab report {where} -o report.html")


def _near(path: Path) -> Path:
    """`path` as one would type it here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path

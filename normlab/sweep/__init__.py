"""A sweep as its folder tells it: what became of each job, one table of all, `sweep.json`."""

from normlab.sweep.finish import finish
from normlab.sweep.jobs import FILE, TO_TRAIN, Planned, SweepJob, mark, read_jobs, status_of
from normlab.sweep.record import write
from normlab.sweep.table import STYLES, first_event, table

__all__ = [
    "FILE",
    "STYLES",
    "TO_TRAIN",
    "Planned",
    "SweepJob",
    "finish",
    "first_event",
    "mark",
    "read_jobs",
    "status_of",
    "table",
    "write",
]

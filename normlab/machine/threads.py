"""CPU threads of a run: all that trains on a machine at the same time shares its cores."""

import os
from collections.abc import Mapping
from pathlib import Path

#: Where a job finds its threads; what the user says there wins.
WISH = "OMP_NUM_THREADS"
_CPUS = Path("/sys/devices/system/cpu")


def cores() -> int:
    """Cores that this process may use: of the machine, or of what a scheduler or `taskset` left of it.

    Two hyperthreads are one core, as in torch's own count: a second thread there gains nothing.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    return len({_core(cpu) for cpu in os.sched_getaffinity(0)})


def _core(cpu: int) -> str:
    """The CPUs that are one core with this one, as Linux tells."""
    try:
        return (_CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)


def share(there: int, environment: Mapping[str, str], at_once: int = 1) -> int:
    """Threads of each of `at_once` jobs: OMP_NUM_THREADS, else floor(c / at_once), at least 1.

    c is `there`, or less where SLURM gave less (SLURM_CPUS_PER_TASK, else SLURM_CPUS_ON_NODE). Of the
    LOCAL_WORLD_SIZE processes of one run under torchrun each has floor(c / LOCAL_WORLD_SIZE); there
    OMP_NUM_THREADS=1 is torchrun's own caution, not a wish.
    """
    given = _number(environment, "SLURM_CPUS_PER_TASK") or _number(environment, "SLURM_CPUS_ON_NODE") or there
    processes = _number(environment, "LOCAL_WORLD_SIZE") or 1
    wish = _number(environment, WISH)
    if wish and (wish > 1 or processes == 1):
        return wish
    return max(1, min(there, given) // (at_once * processes))


def of(setting: int | str) -> int:
    """What `train.threads` means in this process; `auto` is its `share`."""
    return setting if isinstance(setting, int) else share(cores(), os.environ)


def _number(environment: Mapping[str, str], name: str) -> int | None:
    """A count of 1 or more from the environment; None where it says something else (OMP has lists: `4,2`)."""
    text = environment.get(name, "").partition(",")[0].strip()
    return int(text) if text.isdecimal() and int(text) > 0 else None

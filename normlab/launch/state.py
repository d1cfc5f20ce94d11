"""What there is to do for a job whose folder may hold it already: sweeps can be run again, and enlarged."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from normlab.config import RunConfig
from normlab.launch import stopping
from normlab.rundir.resuming import check_own, check_same
from normlab.rundir.writer import SUMMARY, has_begun
from normlab.sweep import TO_TRAIN, status_of

#: What Hydra writes into a sweep's folder when it begins.
_BEGINNING = "multirun.yaml"
#: In the words of the line before a sweep.
_WORDS = {
    "finished": "{} finished before",
    "failed": "{} failed before (sweep.retry=failed tries again)",
    "running": "{} being trained by another process",
    "again": "{} failed before, tried again",
    "begun": "{} to go on with",
    "new": "{} new",
}


def standing(config: RunConfig, directory: Path) -> str:
    """finished, failed (and left), again (failed, to be tried again), running (elsewhere), begun or new."""
    status = status_of(directory)
    if status == "failed" and config.sweep.retry == "failed":
        return "again"
    if status in ("finished", "running", "failed"):
        return status
    return "begun" if has_begun(directory) else "new"


def check(config: RunConfig, directory: Path) -> str:
    """The job's standing.

    Raises:
        ConfigError: the folder holds another job, or one that cannot be gone on with under this config.
    """
    found = standing(config, directory)
    if found == "finished":
        check_own(config, directory)
    elif found in TO_TRAIN and has_begun(directory):
        check_same(config, directory)
    return found


def words(found: Iterable[str]) -> str:
    """`2 finished before, 1 to go on with, 5 new`."""
    counts = Counter(found)
    return ", ".join(text.format(counts[name]) for name, text in _WORDS.items() if counts[name])


def is_stopped(config: RunConfig, sweep: Path) -> bool:
    """Whether no job is to start: the sweep was told to stop, or one failed and `sweep.fail_fast` is on."""
    if stopping.told(sweep):
        return True
    if not config.sweep.fail_fast:
        return False
    began = (sweep / _BEGINNING).stat().st_mtime if (sweep / _BEGINNING).exists() else 0.0
    late = [path.parent for path in sweep.glob(f"*/{SUMMARY}") if path.stat().st_mtime >= began]
    return any(status_of(job) in ("failed", "lost") for job in late)

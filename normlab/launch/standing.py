"""What there is to do for a job whose folder may hold it already: sweeps can be run again, and enlarged."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from normlab.config import RunConfig
from normlab.disk.strict_json import document
from normlab.disk.untrusted import TABLE, read_json
from normlab.disk.whole_files import replace_file
from normlab.launch import stopping
from normlab.rundir.resuming import check_own, check_same
from normlab.rundir.writer import SUMMARY, has_begun
from normlab.sweep import TO_TRAIN, status_of

#: The summaries that were there when the sweep began, for `sweep.fail_fast`.
BEFORE = ".before"
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
    before = _noted_before(sweep)
    new = [name for name, mark in _summaries(sweep).items() if before.get(name) != mark]
    return any(status_of(sweep / name) in ("failed", "lost") for name in new)


def note_what_was_before(sweep: Path) -> None:
    """So that a job that fails from now on is told from one that failed before, whatever the clock says."""
    replace_file(sweep / BEFORE, document(_summaries(sweep)))


def _noted_before(sweep: Path) -> dict[str, Any]:
    """What `note_what_was_before` wrote; empty where it cannot be read."""
    try:
        before = read_json(sweep / BEFORE, TABLE)
    except (OSError, ValueError):
        return {}
    return before if isinstance(before, dict) else {}


def _summaries(sweep: Path) -> dict[str, str]:
    """Each job's summary by the name of its folder, as something that changes with each that is written."""
    found = ((path.parent.name, path.stat()) for path in sweep.glob(f"*/{SUMMARY}"))
    return {name: f"{stat.st_ino} {stat.st_mtime_ns}" for name, stat in found}

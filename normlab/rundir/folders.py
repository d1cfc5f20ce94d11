"""Folders of runs: whether one can be made, and what is taken back of a run that did not begin."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from normlab.errors import RunDirectoryError
from normlab.rundir.writer import CHECKPOINTS, CONFIG, ENVIRONMENT, EVENTS, LOCK, ROWS, SUMMARY, check_free

#: What a run and Hydra write into its folder before the first step.
_MADE = (CONFIG, ENVIRONMENT, EVENTS, ROWS, LOCK, f"{CONFIG}.part", f"{ENVIRONMENT}.part", "train.log")


def check_directory(directory: Path) -> None:
    """Raise a RunDirectoryError unless a new run can live in `directory`."""
    check_free(directory)
    check_parent(directory)


def check_parent(directory: Path) -> None:
    """The nearest folder that exists must be one that takes new files."""
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not there.is_dir():
        raise RunDirectoryError(f"{directory} cannot be made: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RunDirectoryError(f"{directory} cannot be made: no right to write in {there}")


def remove_unstarted(directory: Path, before: frozenset[Path] = frozenset()) -> bool:
    """Take back what a run that did not begin has made; returns False where it did begin."""
    if (directory / SUMMARY).exists():
        return False
    remove(directory / ".hydra", ("*.yaml",), before)
    remove(directory / CHECKPOINTS, (), before)
    remove(directory, _MADE, before)
    return True


def remove(directory: Path, patterns: Sequence[str], before: frozenset[Path]) -> None:
    """Remove the files in `directory` that match and were not there before, then itself, if it was not."""
    with suppress(OSError):
        for path in [path for pattern in patterns for path in directory.glob(pattern)]:
            if path not in before:
                path.unlink()
        if directory not in before:
            directory.rmdir()

"""Keep a run going when stdout or stderr cannot be written: they mirror what it records, as wandb does."""

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any, TextIO, cast

log = logging.getLogger(__name__)


class Mirror:
    """A text stream whose first failure (a reader that left, a full disk, a closed file) is its end.

    What is written from then on goes nowhere, and nothing is raised.

    Args:
        told: the failures that the log was told of; only the first of a session is.
    """

    def __init__(self, stream: TextIO, name: str, told: list[Exception]) -> None:
        self._stream, self._name, self._told = stream, name, told
        #: Why it is at its end.
        self._lost: Exception | None = None
        if getattr(stream, "closed_before", False):
            self._lost = OSError(errno.EBADF, "closed before the command began")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write what the stream's encoding has; what it lacks as an escape."""
        try:
            if self._lost is None:
                self._stream.write(text)
        except UnicodeEncodeError as error:
            self.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        except (OSError, ValueError) as error:
            self._lose(error)
        self._tell()
        return len(text)

    def flush(self) -> None:
        try:
            if self._lost is None:
                self._stream.flush()
        except (OSError, ValueError) as error:
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        self._lost = error
        with suppress(OSError, ValueError):  # what it still holds is flushed when the process ends
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        self._tell()

    def _tell(self) -> None:
        """Say so in the run's log, as soon as there is one."""
        if self._lost is not None and not self._told and log.hasHandlers():
            self._told.append(self._lost)
            log.warning("%s cannot be written (%s); the run goes on without it", self._name, self._lost)


@contextmanager
def mirrored() -> Iterator[None]:
    """Put a `Mirror` in the place of stdout and of stderr meanwhile; may be nested."""
    out, err, told = sys.stdout, sys.stderr, list[Exception]()
    for name, stream in (("stdout", out), ("stderr", err)):
        if stream is not None and not isinstance(stream, Mirror):
            setattr(sys, name, Mirror(cast(TextIO, stream), name, told))
    raises, logging.raiseExceptions = logging.raiseExceptions, False  # of a log on a full disk
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr, logging.raiseExceptions = out, err, raises


def open_missing() -> None:
    """Open what of stdin, stdout and stderr the process was started without, so that it goes nowhere.

    Else the next file that is opened, a run's rows perhaps, would have its number, and get what C prints.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout = sys.stdout or Missing(1)
    sys.stderr = sys.stderr or Missing(2)


class Missing(TextIOWrapper):
    """Stands for a stream that the process was started without."""

    closed_before = True

    def __init__(self, number: int) -> None:
        super().__init__(os.fdopen(number, "wb", closefd=False), encoding="utf-8")

"""Keep a run going when stdout or stderr cannot be written: they mirror what it records, as wandb does."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
        self._lost = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write what the stream's encoding has; what it lacks as an escape."""
        try:
            if not self._lost:
                self._stream.write(text)
        except UnicodeEncodeError as error:
            self.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        except (OSError, ValueError) as error:
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        try:
            if not self._lost:
                self._stream.flush()
        except (OSError, ValueError) as error:
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        self._lost = True
        with suppress(OSError, ValueError):  # what it still holds is flushed when the process ends
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        if not self._told and log.hasHandlers():  # else there is no run's log
            self._told.append(error)
            log.warning("%s cannot be written (%s); the run goes on without it", self._name, error)


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
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115

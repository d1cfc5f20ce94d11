"""Write `train.log`: what a run warns of, and the trace of what ended it."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from normlab.compose import messages
from normlab.disk.whole_files import is_full
from normlab.errors import UserError

NAME = "train.log"
#: As `conf/hydra/job_logging` has it.
_LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class RunLog(logging.FileHandler):
    """A log that loses what the disk does not take: there is a run to end in order."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            super().emit(record)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()

    def close(self) -> None:
        with suppress(OSError):
            super().close()


@contextmanager
def logged(directory: Path) -> Iterator[None]:
    """Log into the run's folder meanwhile; no file where nothing is logged."""
    handler = RunLog(directory / NAME, delay=True)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter(_LINE))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


def tell(error: Exception, directory: Path) -> None:
    """Say in a line what ended a run; the trace goes to its log, but where the user or a full disk did it."""
    if isinstance(error, UserError):
        line = str(error)
    elif isinstance(error, OSError) and is_full(error):
        line = messages.of_disk(error, directory)
    else:
        logging.getLogger(__name__).error("the run failed", exc_info=error)
        line = f"the run failed: {messages.describe(error)}\n  the trace is in {directory}/{NAME}"
    print(f"error: {line}", file=sys.stderr, flush=True)

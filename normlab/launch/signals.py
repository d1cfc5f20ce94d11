"""Signals outside the training itself, exit codes, and the import of torch, which no signal may cut."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType

from normlab.errors import Interrupted as Interrupted

#: Done (diverged or not), a job failed, not a usable command, and 128 plus the signal.
OK, FAILED, REFUSED, SIGNALLED = 0, 1, 2, 128

Handler = Callable[[int, FrameType | None], None]


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM between jobs ends the command in order, as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    with handled(stop, signal.SIGTERM):
        yield


@contextmanager
def deferred() -> Iterator[None]:
    """A signal is only noted and raised at the end.

    Raises:
        Interrupted: there was one.
    """
    noted: list[int] = []
    with handled(lambda number, frame: noted.append(number), signal.SIGINT, signal.SIGTERM):
        yield
    if noted:
        raise Interrupted(noted[0])


def import_run() -> ModuleType:
    """`normlab.run`, and torch with it: an exception from a handler amid torch's C++ ends the process."""
    with deferred():
        from normlab import run
    return run


def import_workers() -> ModuleType:
    """`normlab.training.workers`, in the same way."""
    with deferred():
        from normlab.training import workers
    return workers


def import_probe() -> ModuleType:
    """`normlab.probe.session`, in the same way."""
    with deferred():
        from normlab.probe import session
    return session


def import_forecast() -> ModuleType:
    """`normlab.training.forecast`, in the same way."""
    with deferred():
        from normlab.training import forecast
    return forecast


@contextmanager
def handled(handler: Handler, *numbers: int) -> Iterator[None]:
    """`handler` for some signals; outside the main thread Python allows none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)

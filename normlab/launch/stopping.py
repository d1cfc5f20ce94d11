"""A signal to a sweep whose jobs run in a launcher's own processes: they save themselves before it ends.

Launchers end what they started at once when they are interrupted. So the first signal only leaves a file in
the sweep's folder, which every job looks for; when none trains any more, the command is interrupted.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from normlab.launch.signals import Interrupted, handled
from normlab.rundir.writer import is_held

FILE = ".stop"
#: Seconds between looks at the jobs.
_GLANCE = 0.1


def told(sweep: Path) -> bool:
    """Whether the sweep was told to stop since it last began."""
    return (sweep / FILE).exists()


def forget(sweep: Path) -> None:
    """The sweep begins anew."""
    (sweep / FILE).unlink(missing_ok=True)


@contextmanager
def patient(sweep: Callable[[], Path | None]) -> Iterator[None]:
    """The first SIGINT or SIGTERM waits for the jobs of `sweep` to save themselves; a second does not.

    Where `sweep` gives None, because the jobs see to that or none has begun, neither does the first.

    Raises:
        Interrupted: there was a signal.
    """
    noted: list[int] = []
    over = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        folder = sweep()
        if noted or folder is None:
            raise Interrupted(number)
        noted.append(number)
        (folder / FILE).touch()
        threading.Thread(target=end, args=(folder, number), daemon=True).start()

    def end(folder: Path, number: int) -> None:
        while any(is_held(job) for job in folder.iterdir() if job.is_dir()):
            if over.wait(_GLANCE):
                return
        if not over.is_set():
            os.kill(os.getpid(), number)

    with handled(stop, signal.SIGINT, signal.SIGTERM):
        try:
            yield
        finally:
            over.set()
    if noted:
        raise Interrupted(noted[0])

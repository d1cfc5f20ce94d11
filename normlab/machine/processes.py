"""Processes that normlab starts: forks of one that has imported everything, which no signal ends."""

import multiprocessing
import os
import signal
import sys
import tempfile
from multiprocessing import forkserver, resource_tracker, util
from typing import Any

from normlab.errors import UserError

#: How processes are made. A fork of one that has imported everything starts in 0.05 s, an interpreter of its
#: own in seconds; on macOS, and where there is no fork, only the latter is safe.
METHOD = "forkserver" if sys.platform == "linux" else "spawn"
#: What a terminal, `kill` or SLURM gives every process of a command; one of them alone decides what it means.
SIGNALS = {signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR2] if hasattr(signal, "SIGUSR2") else [])}

#: Bytes that the name of a socket may have, and those that multiprocessing adds to the folder for such files.
_SOCKET, _ADDED = 107, len("/pymp-xxxxxxxx/listener-xxxxxxxx")
#: Folders for sockets where TMPDIR is too long.
_SHORT = ("/tmp", "/var/tmp", "/dev/shm")


def context(preload: list[str]) -> Any:
    """What makes processes, which call `awake` when they can take signals.

    Args:
        preload: the modules that the server has imported before it forks.
    """
    found = multiprocessing.get_context(METHOD)
    if METHOD == "forkserver":
        found.set_forkserver_preload(preload)
        make_socket_folder()
        resource_tracker.ensure_running()  # which the server starts too, and which ends the blocking
        # The server is its heir, and would else end on a signal, or raise amid its imports.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return found


def make_socket_folder() -> None:
    """Make the folder of multiprocessing's sockets, elsewhere than in TMPDIR where that is too long for them.

    Batch systems give such folders to each job.

    Raises:
        UserError: there is no other folder either.
    """
    given = tempfile.gettempdir()
    if len(os.fsencode(given)) + _ADDED <= _SOCKET:
        return
    try:
        tempfile.tempdir = next(folder for folder in _SHORT if os.access(folder, os.W_OK | os.X_OK))
        util.get_temp_dir()  # makes it, once a process
    except StopIteration:
        raise UserError(
            f"TMPDIR={given} is too long for the socket through which processes are started; set TMPDIR to a "
            f"folder of at most {_SOCKET - _ADDED} characters"
        ) from None
    finally:
        tempfile.tempdir = given


def awake() -> None:
    """Signals reach this process."""
    if METHOD == "forkserver":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

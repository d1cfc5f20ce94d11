"""Processes that normlab starts: forks of one that has imported everything, which no signal ends."""

import multiprocessing
import signal
import sys
from multiprocessing import forkserver, resource_tracker
from typing import Any

#: How processes are made. A fork of one that has imported everything starts in 0.05 s, an interpreter of its
#: own in seconds; on macOS, and where there is no fork, only the latter is safe.
METHOD = "forkserver" if sys.platform == "linux" else "spawn"
#: What a terminal, `kill` or SLURM gives every process of a command; one of them alone decides what it means.
SIGNALS = {signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR2] if hasattr(signal, "SIGUSR2") else [])}


def context(preload: list[str]) -> Any:
    """What makes processes, which call `awake` when they can take signals.

    Args:
        preload: the modules that the server has imported before it forks.
    """
    found = multiprocessing.get_context(METHOD)
    if METHOD == "forkserver":
        found.set_forkserver_preload(preload)
        resource_tracker.ensure_running()  # which the server starts too, and which ends the blocking
        # The server is its heir, and would else end on a signal, or raise amid its imports.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return found


def awake() -> None:
    """Signals reach this process."""
    if METHOD == "forkserver":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

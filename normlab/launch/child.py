"""A job of a sweep in a process of its own: one that is killed takes nothing else with it.

Whatever launcher calls the task, the process is made in it. What a job did is read from its folder; only the
exit code comes back.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from normlab.compose import messages
from normlab.config import RunConfig
from normlab.errors import HeldError, UserError
from normlab.launch import stopping
from normlab.launch.run_log import logged, tell
from normlab.launch.signals import (
    FAILED,
    OK,
    REFUSED,
    SIGNALLED,
    Interrupted,
    handled,
    import_run,
    terminable,
)
from normlab.launch.standing import standing
from normlab.machine import processes
from normlab.rundir.writer import clear, has_begun, hold
from normlab.sweep.jobs import mark, status_of
from normlab.terminal.screen import mirrored

#: What a run imports, some of it late: torch's optimizers, and wandb and its pictures where there are any.
_PRELOAD = ["normlab.run", "normlab.launch.child", "torch._dynamo"]
_PRELOAD_TRACKED = ["wandb.sdk.launch", "normlab.figures.without_backend", "matplotlib.figure"]
#: Seconds between looks for a signal to hand on.
_GLANCE = 0.1


@dataclass(frozen=True, kw_only=True)
class Task:
    """A job: what to train, where, for which sweep, and how it is shown."""

    config: RunConfig
    directory: Path
    sweep: str
    #: No live view, even on a terminal.
    plain: bool
    environment: Mapping[str, str]


def apart(task: Task) -> int:
    """`attempt` in a process of its own; returns its exit code, -n where signal n killed it.

    Raises:
        Interrupted: this process was told to stop; the job was too, and has saved itself.
    """
    tracked = task.config.tracker.mode != "disabled"
    context = processes.context([*_PRELOAD, *(_PRELOAD_TRACKED if tracked else [])])
    process = context.Process(target=_child, args=(task,))
    noted: list[int] = []
    told = 0
    with handled(lambda number, frame: noted.append(number), signal.SIGINT, signal.SIGTERM):
        with _plain_method():
            process.start()
        try:
            while process.is_alive():
                process.join(_GLANCE)
                if task.plain and not noted and stopping.told(task.directory.parent):
                    noted.append(signal.SIGTERM)
                for number in noted[told:]:
                    _send(process.pid, number)
                    told += 1
        except (
            BaseException
        ):  # a launcher that wants this process ended: submitit does so in a signal handler
            _send(process.pid, signal.SIGTERM)
            process.join()
            raise
    if noted:
        raise Interrupted(noted[0])
    return int(process.exitcode)


@contextmanager
def _plain_method() -> Iterator[None]:
    """A new process is told the start method that is usual here; joblib's own it could not find."""
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(processes.METHOD, force=True)
    try:
        yield
    finally:
        multiprocessing.set_start_method(before, force=True)


def settle(directory: Path, code: int) -> None:
    """Once a job's process has ended: raise its interrupt, and note a job that could not say how it ended.

    Raises:
        Interrupted: it was told to stop.
    """
    if code - SIGNALLED in (signal.SIGINT, signal.SIGTERM):
        raise Interrupted(code - SIGNALLED)
    status = status_of(directory)
    if status == "running":
        print(f"{directory.name}: left to another process, which is training it", flush=True)
    elif status in ("lost", "not started") and mark(directory, "lost", why := _reason(code)):
        print(f"lost: {directory.name}: {why}", file=sys.stderr, flush=True)


def _reason(code: int) -> str:
    if code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else "a signal"
    memory = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
    return f"its process was killed by {name} (signal {-code}){memory}"


def _send(pid: int | None, number: int) -> None:
    with suppress(ProcessLookupError):  # it has just ended
        os.kill(pid or 0, number)


@mirrored()
def _child(task: Task) -> None:
    os.environ.update(task.environment)
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # a Ctrl-C comes from the parent alone, and once
        # The notice that submitit has SLURM give goes to every process of a job.
        signal.signal(signal.SIGUSR2, lambda number, frame: _send(os.getpid(), signal.SIGTERM))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with logged(task.directory):
        code = attempt(task)
    sys.exit(code)


def _end_with_parent() -> None:
    """A job whose sweep was killed saves itself and stops, so that the sweep can be started again."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def attempt(task: Task) -> int:
    """Begin the job or go on with it; returns the exit code. Errors are noted in its folder too."""
    directory = task.directory
    try:
        with terminable():
            processes.awake()
            run = import_run()
            with hold(directory):  # what there is to do is decided by the one who holds it
                if standing(task.config, directory) in ("finished", "failed"):
                    return OK
                if has_begun(directory):
                    summary = run.resume(task.config, directory, plain=task.plain)
                else:
                    clear(directory)
                    summary = run.run(task.config, directory, sweep=task.sweep, plain=task.plain)
    except HeldError:
        return OK
    except (Interrupted, KeyboardInterrupt) as stop:
        return SIGNALLED + (stop.signal if isinstance(stop, Interrupted) else signal.SIGINT)
    except Exception as error:
        return _fail(error, directory)
    return SIGNALLED + int(summary["signal"]) if summary.get("signal") else OK


def _fail(error: Exception, directory: Path) -> int:
    """Say what went wrong, once, and in the job's summary."""
    tell(error, directory)
    mark(directory, "failed", messages.describe(error))
    return REFUSED if isinstance(error, UserError) else FAILED

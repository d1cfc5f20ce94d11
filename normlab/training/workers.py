"""Worker processes (rank > 0): train with rank 0, write nothing.

Rank 0 starts and ends `train.processes` of them on its machine; torchrun starts them from outside.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from normlab.config import RunConfig
from normlab.data import load_corpus
from normlab.divergence import Event
from normlab.machine import processes, ranks, threads
from normlab.training import checkpoint
from normlab.training.build import build, pick_device
from normlab.training.interrupt import Interrupt
from normlab.training.job import Job
from normlab.training.loop import train
from normlab.training.sharding import WORLDS
from normlab.training.world import dismiss as dismiss
from normlab.training.world import follow
from normlab.training.world import wait_for_task as wait_for_task

#: Seconds that the others have to end after the training.
_PATIENCE = 20
_HOST = "127.0.0.1"


@contextmanager
def gathered(config: RunConfig, checkpoint: Path | None) -> Iterator[None]:
    """Inside, this process is rank 0 of `train.processes`; the others train the same, from the checkpoint."""
    size = config.train.processes
    if size == 1 or ranks.size() > 1:
        yield
        return
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore(_HOST, 0, is_master=True, wait_for_workers=False, timeout=timedelta(minutes=1))
    told = {
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": _HOST,
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store above serves; no rank has to
        threads.WISH: str(threads.share(threads.cores(), os.environ, size)),
    }
    started = processes.context(["normlab.training.workers"])
    others = [
        started.Process(target=_follow, args=(told | _numbered(rank), config, checkpoint))
        for rank in range(1, size)
    ]
    with _environment(told | _numbered(0)):
        try:
            for other in others:
                other.start()
            yield
            for other in others:
                other.join(_PATIENCE)
        finally:
            for other in others:
                other.kill()
                other.join()


def _numbered(rank: int) -> dict[str, str]:
    return {"RANK": str(rank), "LOCAL_RANK": str(rank)}


@contextmanager
def _environment(words: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(words)
    try:
        yield
    finally:
        for name in words:
            os.environ.pop(name) if name not in before else os.environ.update({name: before[name]})


def _follow(told: Mapping[str, str], config: RunConfig, checkpoint: Path | None) -> None:
    os.environ.update(told)
    for number in processes.SIGNALS:  # all stop when rank 0 says so
        signal.signal(number, signal.SIG_IGN)
    processes.awake()
    threading.Thread(target=_end_with_rank_0, daemon=True).start()

    assist(config, checkpoint, lambda: False)
    os._exit(0)  # without taking the interpreter down, which gloo's threads could abort


def _end_with_rank_0() -> None:
    """Without it there is nothing to wait for."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


class Silent:
    """What the loop tells in a process that writes nothing."""

    def row(self, row: dict[str, Any]) -> None:
        """Rank 0 has the same."""

    def events(self, events: Iterable[Event]) -> None:
        """Rank 0 has the same."""

    def checkpoint(self, job: Job) -> None:
        """The state that rank 0 writes has parts of all processes."""
        job.state_dict()


def help_train(config: RunConfig, start: Path | None) -> int | None:
    """Train with rank 0, from the checkpoint `start` on; returns the signal that stopped it, if one did."""
    with Interrupt() as interrupt:
        assist(config, start, lambda: interrupt.signal is not None)
    return interrupt.signal


def assist(config: RunConfig, start: Path | None, interrupted: Callable[[], bool]) -> None:
    """Train with rank 0, from the checkpoint `start` on."""
    device = pick_device(config.train.device)
    with follow(device, WORLDS[config.train.parallel]) as world:
        job = build(config, load_corpus(config.data, config.model.context), world)
        if start is not None:
            job.load_state_dict(checkpoint.load(start, device))
        with world.train():
            train(job, Silent(), interrupted)

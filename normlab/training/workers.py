"""The other processes of a run on several of one machine, started and ended by rank 0: `train.processes`.

torchrun starts them from outside; then there is nothing to start here.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path

from normlab.config import RunConfig
from normlab.machine import processes, ranks, threads

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
    started = processes.context(["normlab.training.follower"])
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
    from normlab.training import follower

    follower.assist(config, checkpoint, lambda: False)
    os._exit(0)  # without taking the interpreter down, which gloo's threads could abort


def _end_with_rank_0() -> None:
    """Without it there is nothing to wait for."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)

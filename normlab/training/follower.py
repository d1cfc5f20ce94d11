"""The other processes of a run than rank 0: they train what it says, with it, and write nothing."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from normlab.config import RunConfig
from normlab.data import load_corpus
from normlab.divergence import Event
from normlab.training import checkpoint
from normlab.training.build import build, pick_device
from normlab.training.interrupt import Interrupt
from normlab.training.job import Job
from normlab.training.loop import train
from normlab.training.sharding import WORLDS
from normlab.training.world import dismiss as dismiss
from normlab.training.world import follow
from normlab.training.world import wait_for_task as wait_for_task


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

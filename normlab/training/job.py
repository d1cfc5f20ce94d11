"""What a run is while it trains: model, optimizer, instruments, state."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from normlab.config import RunConfig
from normlab.data import Batches
from normlab.divergence import Watch
from normlab.measure.gradients import GradientNorms
from normlab.measure.instrument import Instruments
from normlab.measure.layout import Layout
from normlab.measure.ring import Ring
from normlab.measure.updates import Updates
from normlab.model.gpt import GPT
from normlab.training.fault import Fault
from normlab.training.rng import rng_state, set_rng_state
from normlab.training.world import Alone


class Passes(Protocol):
    """What is measured at evaluations by passes of its own; it leaves the job as it was."""

    def begin(self, job: "Job", *, last: bool) -> None:
        """Before a step with an evaluation after it; `last` is the run's last."""

    def measure(self, job: "Job", rate: float) -> dict[str, float]:
        """After that step, which was taken at the learning rate `rate`."""


@dataclass
class Job:
    """Everything that a step reads or changes."""

    config: RunConfig
    device: torch.device
    batches: Batches
    model: GPT
    world: Alone
    #: The model, with whatever exchanges gradients between processes around it.
    forward: nn.Module
    optimizer: torch.optim.Optimizer
    layout: Layout
    gradients: GradientNorms
    updates: Updates
    instruments: Instruments
    watch: Watch
    fault: Fault
    ring: Ring
    passes: Passes
    #: The state of the random numbers before the latest step.
    step_rng: list[Tensor] = field(default_factory=list)
    #: The next step.
    step: int = 0
    #: What earlier attempts at this run took.
    seconds: float = 0.0
    #: The lowest validation loss, in nats, and the step that came after it.
    best: tuple[float, int] = (math.inf, 0)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on as if nothing had happened."""
        return {
            "step": self.step,
            "best": self.best,
            "config": dataclasses.asdict(self.config),
            "model": self.world.whole(self.model.state_dict()),
            "optimizer": self.world.whole(self.optimizer.state_dict()),
            "watch": self.watch.state_dict(),
            "ring": self.ring.unlogged(self.config.train.log_every),
            # Of each process, in the order of the ranks: of the host and, if that is another, of its device.
            "rng": [self.world.gather(state[None]) for state in rng_state(self.device)],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.best = state["step"], state["best"]
        own, given = self.model.state_dict(), state["model"]
        self.model.load_state_dict(
            {name: self.world.share(value, own.get(name, value)) for name, value in given.items()}
        )
        self.optimizer.load_state_dict(self._shared(state["optimizer"]))
        self.watch.load_state_dict(state["watch"])
        # Copies: torch crashes on a state that begins within another tensor.
        mine = [states[self.world.rank % len(states)].cpu().clone() for states in state["rng"]]
        set_rng_state(self.device, mine)

    def _shared(self, state: dict[str, Any]) -> dict[str, Any]:
        """An optimizer's state with this process's part of what belongs to a parameter's numbers."""
        if "state" not in state:  # of several optimizers, none of which shares out its state
            return state
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        own = {
            number: {
                key: self.world.share(value, parameters[number]) if isinstance(value, Tensor) else value
                for key, value in values.items()
            }
            for number, values in state["state"].items()
        }
        return {**state, "state": own}

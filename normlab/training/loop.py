"""The training loop. It knows no sink, no tracker and no command line."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normlab.config import RunConfig
from normlab.data import Batches
from normlab.divergence import Event, Watch, outcome
from normlab.measure.gradients import GradientNorms
from normlab.measure.instrument import Instruments, due
from normlab.measure.layout import Layout
from normlab.measure.ring import Ring
from normlab.measure.updates import Updates
from normlab.model import GPT
from normlab.training.autopsy import autopsy
from normlab.training.checkpoint import Cadence
from normlab.training.fault import Fault
from normlab.training.schedules import learning_rate
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
    dice: list[Tensor] = field(default_factory=list)
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


class Listener(Protocol):
    """What the loop tells the world."""

    def row(self, row: dict[str, Any]) -> None: ...

    def events(self, events: Iterable[Event]) -> None: ...

    def checkpoint(self, job: Job) -> None: ...


def train(job: Job, listener: Listener, interrupted: Callable[[], bool]) -> None:
    """Train from `job.step` to the last step, an interrupt, non-finite parameters or a stop on divergence."""
    settings, start = job.config.train, time.perf_counter() - job.seconds
    cadence = Cadence(settings.checkpoint)
    while job.step < settings.steps:
        last = job.step + 1 == settings.steps
        if evaluated := last or (job.step + 1) % settings.eval_every == 0:
            job.passes.begin(job, last=last)
        row = take_step(job)
        if evaluated:
            row["val/loss"] = evaluate(job)
            row.update(job.passes.measure(job, row["lr"]))
        if not _finite(row) and (name := job.layout.nonfinite()):
            row["nonfinite/parameter"] = name
        row["time/seconds"] = time.perf_counter() - start
        job.step += 1
        job.best = min(job.best, (row.get("val/loss", math.inf), job.step))
        job.ring.add(row)
        events = job.watch.update(row)
        if last or row["step"] % settings.log_every == 0 or "val/loss" in row or events:
            listener.row(row)
        listener.events(events)
        if job.world.any("nonfinite/parameter" in row or interrupted()):
            break
        if events and job.config.divergence.action == "stop" and outcome(job.watch.events) != "stable":
            break
        if not last and (job.world.any(cadence.due(job.step)) or job.best[1] == job.step):
            listener.checkpoint(job)
    listener.checkpoint(job)


def _finite(row: dict[str, Any]) -> bool:
    return all(math.isfinite(row.get(key, 0.0)) for key in ("loss", "grad_norm/global", "val/loss"))


def take_step(job: Job) -> dict[str, Any]:
    """One batch forward and backward, and the update if all is finite; returns the step's row."""
    began, settings, job.dice = time.perf_counter(), job.config.train, rng_state(job.device)
    rate = job.fault.rate(job.step, learning_rate(job.step, job.config))
    job.model.train()
    job.model.set_step(job.step)
    job.instruments.begin(job.step)
    job.fault.forward(job.step)
    loss = forward_and_backward(job)
    job.instruments.again(loss, lambda: forward(job))
    norms = job.gradients.measure(detail=due(job.config.measure.grad_norm, job.step))
    # The one copy from the device: a step's numbers, of which loss and total also decide whether it is taken.
    seen = [value.to(norms.dtype) for value in (loss.view(1), norms, *job.instruments.values())]
    values = torch.cat(seen).tolist()
    size = settings.batch_size * job.config.model.context
    row = {"step": job.step, "loss": values[0], "lr": rate, "tokens": (job.step + 1) * size}
    names = job.gradients.names[: len(norms)] + job.instruments.names()
    row.update(zip(names, values[1:], strict=True))
    row.update(flags(job, *values[:2]))
    if math.isfinite(values[0]) and math.isfinite(values[1]):
        row.update(clipped(values[1], settings.clip))
        row.update(update(job, rate, norms[0]))
    elif not any(event.kind == "nonfinite" and event.end is None for event in job.watch.events):
        row.update(repeat(job))
    job.fault.over()
    job.optimizer.zero_grad(set_to_none=True)
    row["time/tokens_per_second"] = size / (time.perf_counter() - began)
    return row


def flags(job: Job, loss: float, norm: float) -> dict[str, float]:
    """1 where the loss or the gradients' norm is not finite, else 0: charts leave out what is not a number.

    In a step where the norm is not, also how many numbers of each site's gradients are not; sites without any
    are left out. It takes a pass over the gradients and a copy from the device, in such a step alone.
    """
    found = {"nonfinite/loss": float(not math.isfinite(loss))}
    found["nonfinite/gradient"] = float(not math.isfinite(norm))
    if found["nonfinite/gradient"]:
        counts = job.layout.nonfinite_gradients()
        found |= {f"nonfinite/gradient/{name}": float(count) for name, count in counts.items() if count}
    return found


def clipped(norm: float, clip: float | None) -> dict[str, float]:
    """What clipping makes of a gradient of this norm; nothing where there is none.

    The norm afterwards needs no second pass: the gradients are multiplied by min(1, clip / norm).
    """
    if clip is None:
        return {}
    return {"grad_norm/clipped": min(norm, clip), "grad_clip/clipped": float(norm > clip)}


def update(job: Job, rate: float, norm: Tensor) -> dict[str, float]:
    """Clip, step and constrain; returns what was measured of it. `norm` (0-d) is that of all gradients."""
    clip, measured = job.config.train.clip, due(job.config.measure.update, job.step)
    if clip is not None:
        torch.nn.utils.clip_grads_with_norm_(job.layout.parameters, clip, norm.float())
    for group in job.optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
    if measured:
        job.updates.before()
    job.optimizer.step()
    job.model.constrain()
    job.fault.updated(job.step)
    # A second copy from the device, in these steps alone: the first had to decide on the update.
    return dict(zip(job.updates.names, job.updates.after().tolist(), strict=True)) if measured else {}


def forward_and_backward(job: Job) -> Tensor:
    """The gradients of the step's batch, with any fault; returns the loss (0-d)."""
    loss = backward(job, torch.from_numpy(job.batches.train(job.step)))
    job.fault.gradients(job.step)
    return loss


def rng_state(device: torch.device) -> list[Tensor]:
    """Of the host and, if that is another, of the device."""
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *cuda]


def set_rng_state(device: torch.device, state: list[Tensor]) -> None:
    """As `rng_state` gave it."""
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)


@contextmanager
def same_dice(job: Job) -> Iterator[None]:
    """Inside, the random numbers begin as they did in the step; they and the model's buffers (running
    statistics) are put back afterwards."""
    buffers = [(buffer, buffer.clone()) for buffer in job.model.buffers()]
    with torch.random.fork_rng([job.device] if job.device.type == "cuda" else []):
        set_rng_state(job.device, job.dice)
        yield
    for buffer, kept in buffers:
        buffer.copy_(kept)


def repeat(job: Job) -> dict[str, Any]:
    """Where this step, taken again, is first not finite."""
    job.instruments.rest()
    job.optimizer.zero_grad(set_to_none=True)
    with same_dice(job):
        found = autopsy(job.model, job.layout, lambda: forward_and_backward(job))
    return job.world.first(found)


@torch.no_grad()
def forward(job: Job) -> Tensor:
    """The loss (0-d) of the step's batch, once more."""
    with same_dice(job):
        return batch_loss(job, torch.from_numpy(job.batches.train(job.step)))


def batch_loss(job: Job, ids_BT: Tensor) -> Tensor:
    """The loss (0-d) of a batch."""
    parts = [F.cross_entropy(*predict(job, micro_BT)) for micro_BT in micro_batches(job, ids_BT)]
    return job.world.mean(torch.stack(parts).mean())


def backward(job: Job, ids_BT: Tensor) -> Tensor:
    """Accumulate the gradients over the batch, in micro-batches, z-loss and all; returns the loss (0-d)."""
    total = torch.zeros((), device=job.device)
    micros = micro_batches(job, ids_BT)
    for number, micro_BT in enumerate(micros, start=1):
        with job.world.exchange(job.forward, number == len(micros)):
            total = total + backward_part(job, micro_BT)
    return job.world.mean(total)


def micro_batches(job: Job, ids_BT: Tensor) -> tuple[Tensor, ...]:
    """The parts of a batch that pass the model at once in this process, on its device."""
    parts = job.world.micro(ids_BT, job.config.train.accumulation)
    return tuple(part.to(job.device, non_blocking=True) for part in parts)


def backward_part(job: Job, micro_BT: Tensor) -> Tensor:
    """Add a micro-batch's share of the batch's gradient; returns its share of the loss (0-d)."""
    parts, extra = job.config.train.accumulation, job.config.train.z_loss
    logits_NV, targets_N = predict(job, micro_BT)
    loss = F.cross_entropy(logits_NV, targets_N) / parts
    torch.autograd.backward(loss + extra / parts * z_loss(logits_NV) if extra else loss)
    job.instruments.micro(logits_NV, targets_N)
    return loss.detach()


def predict(job: Job, ids_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, V) for every token given those before it, and the tokens (N,); N = B*T. ids (B, T+1)."""
    with autocast(job):
        logits_BTV = job.forward(ids_BT[:, :-1])
    return paired(logits_BTV, ids_BT)


def autocast(job: Job) -> torch.autocast:
    """The precision that the model computes in."""
    return torch.autocast(job.device.type, torch.bfloat16, enabled=job.config.train.precision == "bf16")


def paired(logits_BTV: Tensor, ids_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, V), float32 or wider, and the tokens (N,) that they are to predict. ids (B, T+1)."""
    if logits_BTV.dtype == torch.bfloat16:
        logits_BTV = logits_BTV.float()
    return logits_BTV.flatten(0, 1), ids_BT[:, 1:].flatten()


def z_loss(logits_NV: Tensor) -> Tensor:
    """mean(log(Z)^2), Z = sum(exp(logits)): pulls the logits' normalizer towards 1 (PaLM, 2204.02311)."""
    return logits_NV.logsumexp(-1).square().mean()


@torch.no_grad()
def evaluate(job: Job) -> float:
    """Mean loss over the validation windows, in nats."""
    job.model.eval()
    batches = job.batches.validation(job.config.train.eval_batches)
    losses = [batch_loss(job, torch.from_numpy(batch)) for batch in batches]
    return float(torch.stack(losses).mean())

"""The training loop. It knows no sink, no tracker and no command line."""

import math
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

from normlab.divergence import Event, outcome
from normlab.measure.instrument import due
from normlab.training.batch import evaluate, forward, forward_and_backward, forward_parts, same_dice
from normlab.training.checkpoint import Cadence
from normlab.training.first_nonfinite import autopsy
from normlab.training.job import Job
from normlab.training.rng import rng_state
from normlab.training.schedules import learning_rate


class Listener(Protocol):
    """What the loop tells the world."""

    def row(self, row: dict[str, Any]) -> None: ...

    def events(self, events: Iterable[Event]) -> None: ...

    def checkpoint(self, job: Job) -> None: ...


def train(job: Job, listener: Listener, interrupted: Callable[[], bool]) -> None:
    """Train from `job.step` to the last step, an interrupt, non-finite parameters or a stop on divergence."""
    settings, start = job.config.train, time.perf_counter() - job.seconds
    cadence = Cadence(settings.checkpoint)
    end = job.step if is_over(job) else settings.steps
    while job.step < end:
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
        if events and _is_stopped(job):
            break
        if not last and (job.world.any(cadence.due(job.step)) or job.best[1] == job.step):
            listener.checkpoint(job)
    listener.checkpoint(job)


def is_over(job: Job) -> bool:
    """Whether a run that goes on had ended: by a stop on divergence, or by parameters that are not finite."""
    return job.step > 0 and (_is_stopped(job) or job.layout.nonfinite() is not None)


def _is_stopped(job: Job) -> bool:
    return job.config.divergence.action == "stop" and outcome(job.watch.events) != "stable"


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
    names, values = (job.updates.names, [job.updates.after()]) if measured else ([], [])
    names = names + job.instruments.later()
    values += job.instruments.updated(lambda: forward_parts(job))
    # A second copy from the device, in these steps alone: the first had to decide on the update.
    return dict(zip(names, torch.cat(values).tolist(), strict=True)) if values else {}


def repeat(job: Job) -> dict[str, Any]:
    """Where this step, taken again, is first not finite."""
    job.instruments.rest()
    job.optimizer.zero_grad(set_to_none=True)
    with same_dice(job):
        found = autopsy(job.model, job.layout, lambda: forward_and_backward(job))
    return job.world.first(found)

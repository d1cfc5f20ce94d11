"""One training step: forward, backward, clip, step, zero; what is measured of it lies around that."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from normlab.measure.instrument import Reading, copied, due
from normlab.training.batch import forward, forward_and_backward, forward_parts, same_rng
from normlab.training.first_nonfinite import find_first_nonfinite
from normlab.training.job import Job
from normlab.training.rng import rng_state
from normlab.training.schedules import learning_rate

Row = dict[str, Any]


def take_step(job: Job) -> Row:
    """One batch forward and backward, and the update if all is finite; returns the step's row.

    The gradients go at the end, so that evaluation and the passes after it find none.
    """
    began, rate = time.perf_counter(), job.fault.rate(job.step, learning_rate(job.step, job.config))
    prepare(job)
    loss = forward_and_backward(job)
    row, norm = measured_gradients(job, loss, rate)
    if math.isfinite(row["loss"]) and math.isfinite(row["grad_norm/global"]):
        clip(job, norm)
        with measured_update(job, row):
            step(job, rate)
    elif not any(event.kind == "nonfinite" and event.end is None for event in job.watch.events):
        row.update(repeat(job))
    job.fault.over()
    job.optimizer.zero_grad(set_to_none=True)
    row["time/tokens_per_second"] = tokens(job) / (time.perf_counter() - began)
    return row


def prepare(job: Job) -> None:
    """The model, the instruments that are due and the fault, ready for the step."""
    job.step_rng = rng_state(job.device)
    if not job.model.training:  # it goes through all modules
        job.model.train()
    job.model.set_step(job.step)
    job.instruments.begin(job.step)
    job.fault.forward(job.step)


def clip(job: Job, norm: Tensor) -> None:
    """Clip the gradients, whose norm (0-d) is known."""
    most = job.config.train.clip
    if most is not None:
        torch.nn.utils.clip_grads_with_norm_(job.layout.parameters, most, norm.float())


def step(job: Job, rate: float) -> None:
    """The optimizer's step at this rate, and what holds the weights in bounds."""
    for group in job.optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
    job.optimizer.step()
    job.model.constrain()
    job.fault.updated(job.step)


def tokens(job: Job) -> int:
    """Of a step."""
    return job.config.train.batch_size * job.config.model.context


def measured_gradients(job: Job, loss: Tensor, rate: float) -> tuple[Row, Tensor]:
    """The row of a step before its update, and the norm (0-d) of all gradients.

    The one copy from the device: of its numbers, loss and norm also decide whether the step is taken.
    """
    job.instruments.rerun(loss, lambda: forward(job))
    norms = job.gradients.measure(detail=due(job.config.measure.grad_norm, job.step))
    seen = copied([Reading("loss", loss.view(1)), *norms, *job.instruments.values()])
    row: Row = {"step": job.step, "loss": seen["loss"], "lr": rate, "tokens": (job.step + 1) * tokens(job)}
    row |= seen | flags(job, seen["loss"], seen["grad_norm/global"])
    if math.isfinite(row["loss"]) and math.isfinite(row["grad_norm/global"]):
        row |= clipped(row["grad_norm/global"], job.config.train.clip)
    return row, norms[0].values[0]


@contextmanager
def measured_update(job: Job, row: Row) -> Iterator[None]:
    """Around an update: adds what was measured of it to `row`.

    A second copy from the device, in these steps alone: the first had to decide on the update.
    """
    measured = due(job.config.measure.update, job.step)
    if measured:
        job.updates.before()
    yield
    readings = job.updates.after() if measured else []
    row |= copied([*readings, *job.instruments.updated(lambda: forward_parts(job))])


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


def clipped(norm: float, most: float | None) -> dict[str, float]:
    """What clipping makes of a gradient of this norm; nothing where there is none.

    The norm afterwards needs no second pass: the gradients are multiplied by min(1, most / norm).
    """
    if most is None:
        return {}
    return {"grad_norm/clipped": min(norm, most), "grad_clip/clipped": float(norm > most)}


def repeat(job: Job) -> Row:
    """Where this step, taken again, is first not finite."""
    job.instruments.rest()
    job.optimizer.zero_grad(set_to_none=True)
    with same_rng(job):
        found = find_first_nonfinite(job.model, job.layout, lambda: forward_and_backward(job))
    return job.world.first(found)

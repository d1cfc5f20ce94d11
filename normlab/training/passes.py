"""What is measured at evaluations by passes of its own, each an opt-in of `measure`.

Parameters, gradients, buffers, random numbers and the mode of the model are afterwards as before.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from normlab.config import PASSES, RunConfig
from normlab.data.objectives import split
from normlab.measure.ablation import changes, variants
from normlab.measure.growth import growth
from normlab.measure.instrument import wide
from normlab.measure.noise_scale import noise_scale
from normlab.measure.sharpness import critical_multiple, figures
from normlab.model.gpt import Block
from normlab.training.batch import autocast, backward_part, batch_loss, micro_batches, paired, same_rng
from normlab.training.job import Job


class OwnPasses:
    """The measures of a run that are due with its evaluations."""

    def __init__(self, config: RunConfig, processes: int = 1) -> None:
        self.when = {name: getattr(config.measure, name) for name in PASSES}
        if config.train.accumulation * processes < 2 or config.data.lengths == "padded":
            self.when["noise_scale"] = "never"
        if processes > 1 and config.train.parallel == "fsdp":
            self.when = dict.fromkeys(PASSES, "never")
        self._due: list[str] = []
        self._before: list[Tensor] = []

    def begin(self, job: Job, *, last: bool) -> None:
        self._due = [name for name, when in self.when.items() if when == "eval" or (when == "end" and last)]
        if "sharpness" in self._due:
            self._before = [parameter.detach().clone() for parameter in job.layout.parameters]

    def measure(self, job: Job, rate: float) -> dict[str, float]:
        if not self._due:
            return {}
        job.instruments.rest()
        found: dict[str, float] = {}
        with unchanged(job):
            job.model.eval()
            if "ablation" in self._due:
                found |= ablation(job)
            if "sharpness" in self._due:
                found |= sharpness(job, self._before, rate)
            if "growth" in self._due:
                found |= stream_growth(job)
            if "noise_scale" in self._due:
                found |= gradient_noise(job)
        self._before = []
        return found


@contextmanager
def unchanged(job: Job) -> Iterator[None]:
    """Put the random numbers, buffers (running statistics), gradients and the mode back afterwards."""
    training = job.model.training
    with same_rng(job), torch.compiler.set_stance("force_eager"):
        yield
    job.optimizer.zero_grad(set_to_none=True)
    job.model.train(training)


@torch.no_grad()
def ablation(job: Job) -> dict[str, float]:
    """`normlab.measure.ablation.changes` of the validation loss; a block left out has branches of 0."""
    layers = [cast(Block, block) for block in job.model.layers]
    losses: dict[str, list[Tensor]] = {}
    for batch_BT in job.batches.validation(job.config.train.eval_batches):
        (ids_BT,) = job.world.micro(torch.from_numpy(batch_BT).to(job.device), 1)
        with autocast(job):
            start = job.model.begin(split(ids_BT)[0])
            for name, streams in variants(start, layers, [layer.without for layer in layers]):
                loss = F.cross_entropy(*paired(job.model.finish(*streams), ids_BT))
                losses.setdefault(name, []).append(loss)
    means = job.world.mean(torch.stack([torch.stack(several).mean() for several in losses.values()])).tolist()
    return changes(dict(zip(losses, means, strict=True)))


@torch.no_grad()
def sharpness(job: Job, before: list[Tensor], rate: float) -> dict[str, float]:
    """Critical sharpness along the step that was just taken, from the weights `before` it to those there are.

    So the direction is that of any optimizer, with clipping, weight decay and what holds the weights in
    bounds, which also acts on every step that is tried. The loss is the cross-entropy of the step's own
    batch, without dropout. NaN where no step was taken.
    """
    parameters, batch_BT = job.layout.parameters, torch.from_numpy(job.batches.train(job.step))
    after = [parameter.detach().clone() for parameter in parameters]
    if all(torch.equal(new, old) for new, old in zip(after, before, strict=True)):
        return figures(torch.nan, False, rate)

    def loss(multiple: float) -> float:
        for parameter, old, new in zip(parameters, before, after, strict=True):
            parameter.copy_(old.lerp(new, multiple))
        job.model.constrain()
        return float(batch_loss(job, batch_BT))

    found = critical_multiple(loss)
    for parameter, new in zip(parameters, after, strict=True):
        parameter.copy_(new)
    return figures(*found, rate)


def stream_growth(job: Job) -> dict[str, float]:
    """`normlab.measure.growth.growth` of the (first) residual stream over the validation batches."""
    squares = torch.zeros(2, len(job.model.layers) + 1, device=job.device, dtype=torch.float32)
    for batch_BT in job.batches.validation(job.config.train.eval_batches):
        for ids_BT in micro_batches(job, torch.from_numpy(batch_BT)):
            with autocast(job):
                streams = [job.model.begin(split(ids_BT)[0])]
                for layer in job.model.layers:
                    streams.append(job.model.pass_through(layer, *streams[-1]))
                logits_BTV = job.model.finish(*streams[-1])
            loss = F.cross_entropy(*paired(logits_BTV, ids_BT))
            xs = [x_BTD for x_BTD, _ in streams]
            # What is cut off from the loss has no gradient; that is a gradient of zero.
            gradients = torch.autograd.grad(loss, xs, allow_unused=True, materialize_grads=True)
            squares += torch.stack([_squares(xs), _squares(gradients)])
    return growth(*job.world.mean(squares).sqrt().cpu())


def _squares(tensors: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    return torch.stack([wide(tensor.detach()).square().sum() for tensor in tensors]).float()


def gradient_noise(job: Job) -> dict[str, float]:
    """`normlab.measure.noise_scale.noise_scale` over the next `train.eval_batches` batches of the training.

    In training mode: the noise of dropout is part of it.
    """
    job.model.train()
    parts, batches = job.config.train.accumulation, job.config.train.eval_batches
    small, large = (torch.zeros((), device=job.device) for _ in range(2))
    for step in range(job.step + 1, job.step + 1 + batches):
        whole = [torch.zeros_like(parameter) for parameter in job.layout.parameters]
        for micro_BT in micro_batches(job, torch.from_numpy(job.batches.train(step))):
            job.optimizer.zero_grad(set_to_none=True)
            with job.world.exchange(job.forward, False):
                backward_part(job, micro_BT)
            shares = [cast(Tensor, parameter.grad) for parameter in job.layout.parameters]
            torch._foreach_add_(whole, shares)
            # A share is 1/parts of the micro-batch's own gradient, and this is the mean over the parts.
            small += parts * _squares(shares).sum() / batches
        large += _squares([job.world.mean(each) for each in whole]).sum() / batches
    return noise_scale(job.world.mean(small), large, parts * job.world.size, job.config.train.batch_size)

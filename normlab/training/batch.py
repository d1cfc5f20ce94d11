"""A batch through the model, forward and backward: micro-batches, precision, losses."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from normlab.data.objectives import IGNORED, split
from normlab.training.job import Job
from normlab.training.rng import set_rng_state


def forward_and_backward(job: Job) -> Tensor:
    """The gradients of the step's batch, with any fault; returns the loss (0-d)."""
    loss = backward(job, torch.from_numpy(job.batches.train(job.step)))
    job.fault.gradients(job.step)
    return loss


def backward(job: Job, ids_BT: Tensor) -> Tensor:
    """Accumulate the gradients over the batch, in micro-batches, z-loss and all; returns the loss (0-d)."""
    total = torch.zeros((), device=job.device)
    micros, weights = micro_batches(job, ids_BT), micro_weights(job, ids_BT)
    for number, (micro_BT, weight) in enumerate(zip(micros, weights, strict=True), start=1):
        with job.world.exchange(job.forward, number == len(micros)):
            total = total + backward_part(job, micro_BT, weight)
    return job.world.mean(total)


def backward_part(job: Job, micro_BT: Tensor, weight: float = 1.0) -> Tensor:
    """Add a micro-batch's share of the batch's gradient; returns its share of the loss (0-d)."""
    parts, extra = job.config.train.accumulation / weight, job.config.train.z_loss
    logits_NV, targets_N = predict(job, micro_BT)
    loss = F.cross_entropy(logits_NV, targets_N) / parts
    torch.autograd.backward(loss + extra / parts * z_loss(logits_NV) if extra else loss)
    job.instruments.micro(logits_NV, targets_N)
    return loss.detach()


@torch.no_grad()
def forward(job: Job) -> Tensor:
    """The loss (0-d) of the step's batch, once more."""
    with same_rng(job):
        return batch_loss(job, torch.from_numpy(job.batches.train(job.step)))


@torch.no_grad()
def forward_parts(job: Job) -> Iterator[None]:
    """The step's batch forward once more, with the weights there are now; stops after each micro-batch."""
    with same_rng(job):
        for micro_BT in micro_batches(job, torch.from_numpy(job.batches.train(job.step))):
            predict(job, micro_BT)
            yield


@contextmanager
def same_rng(job: Job) -> Iterator[None]:
    """Inside, the random numbers begin as they did in the step; they and the model's buffers (running
    statistics) are put back afterwards."""
    buffers = [(buffer, buffer.clone()) for buffer in job.model.buffers()]
    with torch.random.fork_rng([job.device] if job.device.type == "cuda" else []):
        set_rng_state(job.device, job.step_rng)
        yield
    for buffer, kept in buffers:
        buffer.copy_(kept)


@torch.no_grad()
def evaluate(job: Job) -> float:
    """Mean loss over the validation windows, in nats."""
    job.model.eval()
    batches = job.batches.validation(job.config.train.eval_batches)
    losses = [batch_loss(job, torch.from_numpy(batch)) for batch in batches]
    return float(_weighted_mean(losses, weights_of([torch.from_numpy(batch) for batch in batches])))


def batch_loss(job: Job, ids_BT: Tensor) -> Tensor:
    """The loss (0-d) of a batch."""
    parts = [F.cross_entropy(*predict(job, micro_BT)) for micro_BT in micro_batches(job, ids_BT)]
    return job.world.mean(_weighted_mean(parts, micro_weights(job, ids_BT)))


def _weighted_mean(losses: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    return torch.stack([loss * weight for loss, weight in zip(losses, weights, strict=True)]).mean()


def micro_weights(job: Job, ids_BT: Tensor) -> list[float]:
    """Those of this process's micro-batches among all that the batch is divided into."""
    parts = job.config.train.accumulation
    weights = weights_of(ids_BT.chunk(parts * job.world.size))
    return weights[job.world.rank * parts : (job.world.rank + 1) * parts]


def weights_of(batches: Sequence[Tensor]) -> list[float]:
    """Each batch's number of targets over the mean of all: what its mean loss counts; 1 if all are even."""
    counts = [int((split(batch)[1] != IGNORED).sum()) if batch.ndim > 2 else 1 for batch in batches]
    mean = sum(counts) / len(counts)
    return [count / mean for count in counts]


def micro_batches(job: Job, ids_BT: Tensor) -> tuple[Tensor, ...]:
    """The parts of a batch that pass the model at once in this process, on its device."""
    parts = job.world.micro(ids_BT, job.config.train.accumulation)
    return tuple(part.to(job.device, non_blocking=True) for part in parts)


def predict(job: Job, ids_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, V) and the tokens (N,) that they are to predict; N = B*T, in mlm those that are masked."""
    with autocast(job):
        logits_BTV = job.forward(split(ids_BT)[0])
    return paired(logits_BTV, ids_BT)


def autocast(job: Job) -> torch.autocast:
    """The precision that the model computes in."""
    return torch.autocast(job.device.type, torch.bfloat16, enabled=job.config.train.precision == "bf16")


def paired(logits_BTV: Tensor, ids_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, V), float32 or wider, and the tokens (N,) that they are to predict, of a whole batch's."""
    if logits_BTV.dtype == torch.bfloat16:
        logits_BTV = logits_BTV.float()
    logits_NV, targets_N = logits_BTV.flatten(0, 1), split(ids_BT)[1].flatten()
    if ids_BT.ndim == 2:
        return logits_NV, targets_N
    predicted_N = targets_N != IGNORED
    return logits_NV[predicted_N], targets_N[predicted_N]


def z_loss(logits_NV: Tensor) -> Tensor:
    """mean(log(Z)^2), Z = sum(exp(logits)): pulls the logits' normalizer towards 1 (PaLM, 2204.02311)."""
    return logits_NV.logsumexp(-1).square().mean()

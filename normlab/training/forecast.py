"""What a run will cost in time and disk, from a few of its steps."""

import json
import os
import statistics
import time
from dataclasses import dataclass

import torch

from normlab.config import RunConfig
from normlab.data import load_corpus
from normlab.model.gpt import GPT
from normlab.training.build import build, pick_device
from normlab.training.job import Job
from normlab.training.step import take_step

#: Steps that are taken, and how many of the first are not timed.
_STEPS, _COLD = 5, 2
#: A forward pass, in steps.
_FORWARD = 1 / 3
#: Seconds of a job besides its steps, seen on two cores with the default model and with a tiny one: for its
#: process, model and files; and for wandb's start, pictures and end.
_BESIDE, _TRACKED = 1.0, 2.0


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Of one job; `seconds` is all that its process takes, `size` what it leaves on disk, in bytes."""

    parameters: int
    seconds: float
    size: int


def forecast(config: RunConfig) -> Forecast:
    """Build the model of `config` and take a few steps, none of which the instruments look at.

    Raises:
        MemoryError: it does not fit.
    """
    try:
        return _forecast(config)
    except RuntimeError as error:  # torch has a kind of its own for GPUs alone
        if isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error):
            raise MemoryError(str(error)) from error
        raise


def _forecast(config: RunConfig) -> Forecast:
    corpus = load_corpus(config.data, config.model.context)
    _check_room(config, corpus.vocab)
    job = build(config, corpus)
    job.step, times, row = 1, [], {}
    for _ in range(_STEPS):
        began = time.perf_counter()
        row = take_step(job)
        job.step += 1
        times.append(time.perf_counter() - began)
    train = config.train
    each = statistics.median(times[_COLD:])
    forwards = train.steps / train.eval_every * train.eval_batches
    rows = train.steps / train.log_every * len(json.dumps(row))
    tracked = config.tracker.mode != "disabled"
    copies = 2 if tracked else 1
    return Forecast(
        parameters=sum(job.layout.sizes.values()),
        seconds=_BESIDE + tracked * _TRACKED + each * (train.steps + forwards * _FORWARD),
        size=round(train.checkpoint.keep * _state(job) + copies * rows),
    )


def _check_room(config: RunConfig, vocab: int) -> None:
    """Linux promises more memory than there is, and kills the process that takes it."""
    if pick_device(config.train.device).type != "cpu":
        return
    with torch.device("meta"):
        weights = sum(each.nbytes for each in GPT(config, vocab).parameters())
    if 2 * weights > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        raise MemoryError("weights and gradients are more than there is")


def _state(job: Job) -> int:
    """Bytes of a checkpoint: the weights and what the optimizer keeps of each."""
    kept = [value for state in job.optimizer.state.values() for value in state.values()]
    tensors = [
        *job.model.state_dict().values(),
        *(value for value in kept if isinstance(value, torch.Tensor)),
    ]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

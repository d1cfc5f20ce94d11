"""The processes that train one run together, each on its share of every batch.

A step's batch is cut into `train.accumulation` micro-batches a process, in the order of the ranks: N
processes see what one would with N times the accumulation. All compute the same reduced numbers, and from
them the same decisions; rank 0 alone writes.
"""

import ctypes
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from normlab import ranks

#: How long a process waits for the others: one may be reading a text for the first time.
PATIENCE = timedelta(minutes=30)


class ProcessLostError(RuntimeError):
    """Another process of the run is gone, and with it its share of every batch."""


class Alone:
    """One process."""

    rank, size = 0, 1

    def wrap(self, model: nn.Module) -> nn.Module:
        """What passes go through, so that a backward pass leaves the mean of all processes' gradients."""
        return model

    def micro(self, ids_BT: Tensor, parts: int) -> tuple[Tensor, ...]:
        """This process's `parts` micro-batches of a batch."""
        return ids_BT.chunk(parts * self.size)[self.rank * parts : (self.rank + 1) * parts]

    def exchange(self, forward: nn.Module, wanted: bool) -> AbstractContextManager[Any]:
        """Around a forward and backward pass: whether gradients are exchanged in it."""
        return nullcontext()

    def mean(self, x: Tensor) -> Tensor:
        """The mean over the processes."""
        return x

    def gather(self, x: Tensor) -> Tensor:
        """(n, ...) of each process -> (size * n, ...), in the order of the ranks."""
        return x

    def total(self, x: Tensor) -> Tensor:
        """The sum over processes that hold parts of the parameters, of what each has of its own."""
        return x

    def whole(self, state: Any) -> Any:
        """Nested state with whole tensors, in rank 0."""
        return state

    def share(self, x: Tensor, like: Tensor) -> Tensor:
        """This process's part of a whole tensor, shared out as `like` is."""
        return x

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        return flag

    def first(self, found: dict[str, Any]) -> dict[str, Any]:
        """What was found by the lowest rank that found anything."""
        return found

    def train(self) -> AbstractContextManager[Any]:
        """Around the training. Raises ProcessLostError, for whatever torch raises, if another has ended."""
        return nullcontext()


class Group(Alone):
    """This process and others, which all make the same calls in the same order."""

    def __init__(self, device: torch.device) -> None:
        self.rank, self.size, self.device = dist.get_rank(), dist.get_world_size(), device

    def wrap(self, model: nn.Module) -> nn.Module:
        return DistributedDataParallel(model)

    def exchange(self, forward: nn.Module, wanted: bool) -> AbstractContextManager[Any]:
        assert isinstance(forward, DistributedDataParallel)
        context: AbstractContextManager[Any] = nullcontext() if wanted else forward.no_sync()
        return context

    def mean(self, x: Tensor) -> Tensor:
        return self.sum(x) / self.size

    def sum(self, x: Tensor) -> Tensor:
        """The sum over the processes."""
        total = x.clone()
        dist.all_reduce(total)
        return total

    def gather(self, x: Tensor) -> Tensor:
        own = x.to(self.device).contiguous()
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own)
        return torch.cat(parts).to(x.device)

    def any(self, flag: bool) -> bool:
        return bool(self.sum(torch.tensor(float(flag), device=self.device)).item())

    def first(self, found: dict[str, Any]) -> dict[str, Any]:
        everywhere: list[Any] = [None] * self.size
        dist.all_gather_object(everywhere, found)
        return next((each for each in everywhere if each), {})

    @contextmanager
    def train(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            # gloo raises plain errors, in many words, that name its own files.
            if isinstance(error, dist.DistError) or "gloo/transport" in str(error):
                raise ProcessLostError(
                    f"rank {self.rank} has lost another process of this run, which has ended"
                ) from error
            raise


def _store() -> Store:
    """What all processes of the run can read and write."""
    host, port = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    return _store_at(host, port, os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


@cache
def _store_at(host: str, port: str, attempt: str) -> Store:
    """Made once: rank 0 may have to serve it."""
    store, _, _ = next(rendezvous("env://"))
    store.set_timeout(PATIENCE)
    return PrefixStore(f"normlab/{attempt}", store)


@contextmanager
def lead(task: Mapping[str, Any], device: torch.device, kind: type[Group] = Group) -> Iterator[Alone]:
    """The world of rank 0, after it has told the others (if there are any) what they are to train."""
    if ranks.size() == 1:
        yield Alone()
        return
    _store().set("task", json.dumps(task))
    with follow(device, kind) as world:
        yield world


def dismiss() -> None:
    """Tell the others, if they still wait, that there is nothing to train."""
    if ranks.size() > 1 and not _store().check(["task"]):
        _store().set("task", "null")


def wait_for_task() -> dict[str, Any] | None:
    """What rank 0 says that there is to train; None for nothing."""
    task: dict[str, Any] | None = json.loads(_store().get("task"))
    return task


@contextmanager
def follow(device: torch.device, kind: type[Group] = Group) -> Iterator[Alone]:
    """The world of a rank, once all know what there is to train."""
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=_store(),
        rank=ranks.rank(),
        world_size=ranks.size(),
        timeout=PATIENCE,
    )
    # Never freed: the interpreter, while it frees a group, waits for gloo's threads, and one of them may be
    # waiting for the interpreter, to let go of the tensors of the latest exchange. Seen on a busy machine.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(dist.group.WORLD))
    ranks.met = True
    try:
        yield kind(device)
    finally:
        dist.destroy_process_group()

"""The processes that train one run together, each on its share of every batch.

A step's batch is cut into `train.accumulation` micro-batches a process, in the order of the ranks: N
processes see what one would with N times the accumulation. All compute the same reduced numbers, and from
them the same decisions; rank 0 alone writes.
"""

import ctypes
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import TCPStore  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

from normlab.errors import Interrupted, UserError
from normlab.machine import ranks

#: How long a process waits for the others: one may be reading a text for the first time.
PATIENCE = timedelta(minutes=30)
#: How long rank 0 tries to tell the others that there is nothing to train.
FAREWELL = timedelta(seconds=10)
#: Seconds after which it is said for whom a process waits, and between looks whether they are there.
TELL, GLANCE = 5.0, 0.05


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


class ProcessGroup(Alone):
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


#: Stores by what they depend on: each is made once, for rank 0 may have to serve it.
_stores: dict[tuple[str, str], Store] = {}


def _never() -> bool:
    return False


def _store(patience: timedelta = PATIENCE, stop: Callable[[], object] = _never) -> Store:
    """What all processes of the run can read and write."""
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    where = ranks.address(), attempt
    if where not in _stores:
        _stores[where] = PrefixStore(f"normlab/{attempt}", _connected(patience, stop))
    return _stores[where]


def _connected(patience: timedelta, stop: Callable[[], object]) -> Store:
    """The store at the address of the run, served by rank 0 where no agent does.

    In a thread of its own: torch's code, which tries until `patience` is over, lets no signal through.
    """
    host, _, port = ranks.address().rpartition(":")
    serve = ranks.rank() == 0 and not ranks.has_agent()
    found: list[Store | Exception] = []

    def connect() -> None:
        try:
            made = TCPStore(
                host,
                int(port),
                is_master=serve,
                timeout=patience,
                wait_for_workers=False,
                multi_tenant=serve,
            )
            made.set_timeout(PATIENCE)
            found.append(made)
        except Exception as error:
            found.append(error)

    if serve:
        connect()
    else:
        threading.Thread(target=connect, daemon=True).start()
    _wait(lambda: len(found), 1, lambda missing: "rank 0", stop)
    if isinstance(found[0], Exception):
        raise UserError(f"nobody answers at {ranks.address()}: {found[0]}".splitlines()[0])
    return found[0]


def _wait(
    count: Callable[[], int], wanted: int, whom: Callable[[int], str], stop: Callable[[], object] = _never
) -> None:
    """Until `count` is `wanted`; after a while it is said for whom.

    Raises:
        Interrupted: `stop` gave a signal's number.
        UserError: they have not come in the time that there is.
    """
    began, told = time.monotonic(), False
    while (there := count()) < wanted:
        if number := stop():
            raise Interrupted(int(str(number)))
        waited = time.monotonic() - began
        if waited > PATIENCE.total_seconds():
            missing = f"{whom(wanted - there)} of {ranks.size()} processes"
            raise UserError(f"{missing} did not come to {ranks.address()} in {waited / 60:.0f} minutes")
        if waited > TELL and not told:
            told = True
            line = f"waiting for {whom(wanted - there)} of {ranks.size()} processes at {ranks.address()}"
            print(line, file=sys.stderr, flush=True)
        time.sleep(GLANCE)


@contextmanager
def lead(
    task: Mapping[str, Any],
    device: torch.device,
    kind: type[ProcessGroup] = ProcessGroup,
    stop: Callable[[], object] = _never,
) -> Iterator[Alone]:
    """The world of rank 0, after it has told the others (if there are any) what they are to train.

    Args:
        stop: gives the number of a signal that ends the waiting for them.
    """
    if ranks.size() == 1:
        yield Alone()
        return
    store = _store(stop=stop)
    store.set("task", json.dumps(task))
    others = [f"here/{rank}" for rank in range(1, ranks.size())]
    _wait(lambda: sum(store.check([other]) for other in others), len(others), str, stop)
    with follow(device, kind) as world:
        yield world


def dismiss() -> None:
    """Tell the others, if they still wait, that there is nothing to train.

    Where rank 0 itself would have to serve them, and does not yet, they are not waited for.
    """
    if ranks.size() == 1 or not (_stores or ranks.has_agent()):
        return
    with suppress(UserError):  # nobody is there
        store = _store(FAREWELL)
        if not store.check(["task"]):
            store.set("task", "null")


def wait_for_task() -> dict[str, Any] | None:
    """What rank 0 says that there is to train; None for nothing."""
    store = _store()
    _wait(lambda: int(store.check(["task"])), 1, lambda missing: "rank 0")
    task: dict[str, Any] | None = json.loads(store.get("task"))
    return task


@contextmanager
def follow(device: torch.device, kind: type[ProcessGroup] = ProcessGroup) -> Iterator[Alone]:
    """The world of a rank, once all know what there is to train."""
    _store().set(f"here/{ranks.rank()}", "1")
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

"""FSDP2: each process keeps its share of every parameter, of its gradient and of the optimizer's state.

A block's parameters are gathered for its forward and backward pass alone. What leaves the process is whole:
norms are summed over the shares, and a checkpoint holds what that of one process would.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from normlab.catalogue.norms import NORMS
from normlab.config import RunConfig
from normlab.errors import require
from normlab.model.gpt import GPT
from normlab.training.world import ProcessGroup


def check_sharding(config: RunConfig) -> None:
    """Refuse what cannot be had of a model in parts.

    Raises:
        ConfigError: names the setting, and the way out.
    """
    key, way = "train.parallel", "use train.parallel=ddp"
    require(not config.train.compile, key, f"fsdp goes with train.compile=false alone; or {way}")
    require(config.fault.kind == "none", key, f"fsdp cannot put a fault into a part of a tensor; {way}")
    require(
        not NORMS[config.norm.name].running,
        key,
        f"fsdp keeps no statistics in common, as norm={config.norm.name} has to; {way}",
    )
    weights = config.placement.weights
    require(weights == "free", key, f"fsdp holds no weights in bounds, placement.weights={weights}; {way}")
    require(
        config.optimizer.name != "muon", key, f"muon takes whole matrices, and fsdp has parts of them; {way}"
    )
    with torch.device("meta"):
        model = GPT(config, vocab=2)
    single = next((name for name, parameter in model.named_parameters() if parameter.dim() == 0), None)
    require(single is None, key, f"fsdp cannot share out a single number, as {single} is; {way}")


class Sharded(ProcessGroup):
    """This process and others, none of which has the whole model."""

    def wrap(self, model: nn.Module) -> nn.Module:
        mesh = init_device_mesh(self.device.type, (self.size,))
        for block in cast(GPT, model).layers:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
        return model

    def exchange(self, forward: nn.Module, wanted: bool) -> AbstractContextManager[Any]:
        assert isinstance(forward, FSDPModule)
        forward.set_requires_gradient_sync(wanted)
        return nullcontext()

    def total(self, x: Tensor) -> Tensor:
        return self.sum(x)

    def whole(self, state: Any) -> Any:
        if isinstance(state, DTensor):
            full = state.full_tensor()  # all take part, one keeps it
            return full if self.rank == 0 else None
        if isinstance(state, Mapping):
            return {key: self.whole(value) for key, value in state.items()}
        return [self.whole(value) for value in state] if isinstance(state, list) else state

    def share(self, x: Tensor, like: Tensor) -> Tensor:
        if not isinstance(like, DTensor) or x.shape != like.shape:
            return x
        # Each process has read all of it.
        return distribute_tensor(x, like.device_mesh, like.placements, src_data_rank=None)


#: By `train.parallel`.
WORLDS: dict[str, type[ProcessGroup]] = {"ddp": ProcessGroup, "fsdp": Sharded}

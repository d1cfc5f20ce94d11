"""What the forward pass of a micro-batch keeps for its backward pass, as autograd saves it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from normlab.config import RunConfig
from normlab.model.gpt import GPT
from normlab.model.weights import SigmaLinear


def activations(model: GPT, config: RunConfig) -> int:
    """Bytes that the forward pass, loss included, keeps: on the CPU and without storage the same number.

    As torch has it on a CPU, with its fused attention where it has one. What the model itself holds is not
    counted; the tokens and copies of weights in bf16 are.
    """
    device, half = next(model.parameters()).device.type, config.train.precision == "bf16"
    kernels: AbstractContextManager[Any] = (
        _AsOnCPU(half) if device == "meta" else torch.autocast(device, torch.bfloat16, half)
    )
    for module in model.modules():
        if isinstance(module, SigmaLinear):
            module.eval()  # its power iteration keeps nothing, and cannot be done on meta
    held = {id(each.untyped_storage()): each.untyped_storage() for each in _tensors(model)}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in held:
            kept[id(storage)] = storage
        return tensor

    sequences = config.train.batch_size // config.train.accumulation
    ids_BT = torch.zeros((sequences, config.model.context), dtype=torch.long, device=device)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with kernels:
            logits_BTV = model(ids_BT)
        _loss(config, logits_BTV, ids_BT)
    return sum(storage.nbytes() for storage in kept.values())


def _tensors(model: GPT) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _loss(config: RunConfig, logits_BTV: Tensor, ids_BT: Tensor) -> Tensor:
    """As `training.batch` has it."""
    if logits_BTV.dtype == torch.bfloat16:
        logits_BTV = logits_BTV.float()
    logits_NV = logits_BTV.flatten(0, 1)
    loss = F.cross_entropy(logits_NV, ids_BT.flatten())
    weight = config.train.z_loss
    return loss + weight * logits_NV.logsumexp(-1).square().mean() if weight else loss


class _AsOnCPU(TorchFunctionMode):
    """What torch does on a CPU but not on meta: one kernel for attention, and autocast to bf16."""

    def __init__(self, autocast: bool) -> None:
        super().__init__()
        self.autocast = autocast

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if self.autocast and function in _LOWERED:
            args = [_lowered(each) for each in args]
        if function is F.scaled_dot_product_attention and _fuses(args, kwargs):
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*args[:3], 0.0, True)[0]
        return function(*args, **kwargs)


#: Those of autocast's functions that the model uses.
_LOWERED: set[Callable[..., Any]] = {
    F.linear,
    torch.matmul,
    Tensor.matmul,
    Tensor.__matmul__,
    F.scaled_dot_product_attention,
}


def _lowered(value: Any) -> Any:
    return value.bfloat16() if isinstance(value, Tensor) and value.is_floating_point() else value


def _fuses(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    bias = args[3] if len(args) > 3 else kwargs.get("attn_mask")
    return bias is None and not kwargs.get("dropout_p")

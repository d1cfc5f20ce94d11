"""What a config costs, counted on the model itself: parameters, FLOPs, what the backward pass keeps.

The model is built without storage (torch's meta device) and, for the activations, run forward that way, so
that nothing here repeats what `normlab.model` builds. A small one is run on the CPU instead, which is as
exact and quicker: on meta, torch first imports its compiler.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from normlab.components.attention import Attention
from normlab.components.norms import build_norm
from normlab.components.weights import SigmaLinear
from normlab.config import RunConfig
from normlab.model import GPT, matrices, site
from normlab.tables.optimizers import OPTIMIZERS
from normlab.training.optimizers import kind_of

#: Models and activations up to so many bytes, and forward passes up to so many FLOPs, are run on the CPU.
SMALL_BYTES, SMALL_FLOPS = 1 << 28, 1e10


#: In which order parts are told; others come last.
_ORDER = (
    *("embedding", "positions", "embedding norm"),
    *("attn.q", "attn.k", "attn.v", "attn.qkv", "attn.mix", "attn.out", "ffn.in", "ffn.out", "norm", "scale"),
    *("final norm", "head"),
)


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A matrix that is drawn at the start."""

    projection: str
    layer: int
    fan_in: int
    fan_out: int


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Of a whole model."""

    #: Learned numbers by part, tied ones once.
    parameters: dict[str, int]
    #: Of these, each block's; what blocks share is in each.
    blocks: list[dict[str, int]]
    matrices: list[Matrix]
    #: FLOPs a token of the forward pass, by part.
    flops: dict[str, int]
    #: Norm modules a block.
    norms: list[int]
    #: Numbers that the optimizer keeps.
    state: int
    #: Bytes of what the model holds besides its parameters.
    buffers: int
    #: Bytes that the forward pass of one micro-batch keeps for its backward pass.
    activations: int


def count(config: RunConfig, vocab: int) -> Counts:
    """Everything that is counted of `config` with `vocab` tokens.

    Raises:
        ConfigError: the norm cannot have this width.
    """
    model = unfilled(config, vocab)
    flops = _flops(model, config)
    named = dict(model.named_parameters())
    kept = OPTIMIZERS[config.optimizer.name].state
    device = "cpu" if _is_small(config, named, sum(flops.values()), vocab) else "meta"
    return Counts(
        parameters=_sizes(model, named),
        blocks=[
            _sizes(model, dict(block.named_parameters(prefix=f"layers.{index}")))
            for index, block in enumerate(model.layers)
        ],
        matrices=[
            Matrix(projection=projection, layer=layer, fan_in=tensor.shape[1], fan_out=tensor.shape[0])
            for _, tensor, projection, layer in matrices(model)
        ],
        flops=flops,
        norms=norms(model, config),
        state=sum(p.numel() * kept(config.optimizer, kind_of(name, p)) for name, p in named.items()),
        buffers=sum(buffer.nbytes for buffer in model.buffers()),
        activations=activations(config, vocab, device),
    )


def unfilled(config: RunConfig, vocab: int) -> GPT:
    """The model on the meta device: all of its structure, none of its numbers."""
    with torch.device("meta"), _Undrawn():
        return GPT(config, vocab).to(_dtype(config))


def _dtype(config: RunConfig) -> torch.dtype:
    return torch.float64 if config.train.precision == "fp64" else torch.float32


class _Undrawn(TorchFunctionMode):
    """Skips torch's own initial draws: on meta they would do nothing, and take a second to import."""

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(function, "__module__", "") == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return function(*args, **(kwargs or {}))


def _sizes(model: GPT, named: Mapping[str, nn.Parameter]) -> dict[str, int]:
    sizes: Counter[str] = Counter()
    for name, parameter in named.items():
        for part, numbers in _parts(model, name, parameter):
            sizes[part] += numbers
    return _ordered(sizes)


def _ordered(numbers: Mapping[str, int]) -> dict[str, int]:
    return {name: numbers[name] for name in dict.fromkeys((*_ORDER, *numbers)) if name in numbers}


def _parts(model: GPT, name: str, parameter: Tensor) -> Iterator[tuple[str, int]]:
    """The part, or for what makes q, k and v the parts, that a parameter belongs to."""
    place, kind = site(name)
    if place == "embedding":
        yield (
            {"tokens": "embedding", "norm": "embedding norm"}.get(second := name.split(".")[1], second),
            (parameter.numel()),
        )
    elif kind == "attn.qkv" and parameter.ndim:
        attention = model.get_submodule(name.rpartition(".qkv.")[0])
        assert isinstance(attention, Attention)
        for letter, rows in zip("qkv", torch.split(parameter, attention.widths), strict=True):
            yield f"attn.{letter}", rows.numel()
    else:
        yield kind or place.replace("_", " "), parameter.numel()


def _flops(model: GPT, config: RunConfig) -> dict[str, int]:
    """Forward, a token: 2 for each multiplication and addition of a matrix product, over the full context."""
    found: Counter[str] = Counter()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            place, kind = site(f"{name}.weight")
            found[kind or place] += 2 * module.in_features * module.out_features
        elif isinstance(module, Attention):
            # Logits and what they mix: two products of (context, head width) a head.
            found["attn.mix"] += 4 * config.model.context * module.heads * module.head_width
    return _ordered(found)


def norms(model: GPT, config: RunConfig) -> list[int]:
    """Norm modules in each block, those inside attention and the feed-forward layer too."""
    with torch.device("meta"):
        kind = type(build_norm(config.norm, config.model.width, config.model.context))
    return [sum(isinstance(module, kind) for module in layer.modules()) for layer in model.layers]


def _is_small(config: RunConfig, named: Mapping[str, Tensor], flops: int, vocab: int) -> bool:
    tokens = config.train.batch_size // config.train.accumulation * config.model.context
    # About forty numbers a channel of a block; three of the logits' size.
    numbers = tokens * (40 * config.depth * config.model.width + 3 * vocab)
    size = 4 * (numbers + sum(p.numel() for p in named.values()))
    return size <= SMALL_BYTES and tokens * flops <= SMALL_FLOPS


def activations(config: RunConfig, vocab: int, device: str = "meta") -> int:
    """Bytes that a micro-batch's forward pass, loss included, keeps for its backward pass.

    As torch has it on a CPU, with its fused attention where it has one. What the model itself holds is not
    counted; the tokens and copies of weights in bf16 are. On the `cpu` or without storage on `meta`: the
    same number.
    """
    half = config.train.precision == "bf16"
    kernels: AbstractContextManager[Any]
    if device == "meta":
        model, kernels = unfilled(config, vocab), _AsOnCPU(half)
    else:
        model, kernels = GPT(config, vocab).to(_dtype(config)), torch.autocast(device, torch.bfloat16, half)
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
    """As `training.loop` has it."""
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

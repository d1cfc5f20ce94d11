"""What a config costs, counted on the model itself: parameters, FLOPs, what the backward pass keeps.

The counts come from the model that is trained, so that nothing here repeats what it builds. A
small one is built as it is; a large one without storage, on torch's meta device, for which torch first has
to import its compiler.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from normlab.catalogue.optimizers import OPTIMIZERS
from normlab.config import RunConfig
from normlab.describe import saved
from normlab.model.attention import Attention
from normlab.model.gpt import GPT, matrices, site
from normlab.model.norms import build_norm
from normlab.training.optimizers import kind_of

#: Bytes of models and activations, and FLOPs of forward passes, up to which they are run on the CPU.
SMALL_BYTES, SMALL_FLOPS = 1 << 29, 1e10
#: In which order parts are told; others come last.
_ORDER = (
    *("embedding", "positions", "embedding norm"),
    *("attn.q", "attn.k", "attn.v", "attn.qkv", "attn.mix", "attn.out", "ffn.in", "ffn.out", "norm", "scale"),
    *("final norm", "head"),
)
#: What the parts of the place `embedding` are called; others keep their names.
_EMBEDDING = {"tokens": "embedding", "norm": "embedding norm", "first_norm": "embedding norm"}


@dataclass(frozen=True, kw_only=True)
class DrawnMatrix:
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
    matrices: list[DrawnMatrix]
    #: FLOPs a token of the forward pass, by part.
    flops: dict[str, int]
    #: Norm modules a block.
    norms: list[int]
    #: Numbers a block that are learned and belong to no norm, matrix or bias.
    extra: list[int]
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
    model = build(config, vocab, "cpu" if is_small(config, vocab) else "meta")
    named = dict(model.named_parameters())
    kept = OPTIMIZERS[config.optimizer.name].state
    return Counts(
        parameters=_sizes(model, named),
        blocks=[
            _sizes(model, dict(block.named_parameters(prefix=f"layers.{index}")))
            for index, block in enumerate(model.layers)
        ],
        matrices=[
            DrawnMatrix(projection=projection, layer=layer, fan_in=tensor.shape[1], fan_out=tensor.shape[0])
            for _, tensor, projection, layer in matrices(model)
        ],
        flops=_flops(model, config),
        norms=norms(model, config),
        extra=[
            sum(
                parameter.numel()
                for name, parameter in block.named_parameters(prefix=f"layers.{index}")
                if "scale" in (site(name)[1], kind_of(name, parameter))
            )
            for index, block in enumerate(model.layers)
        ],
        state=sum(p.numel() * kept(config.optimizer, kind_of(name, p)) for name, p in named.items()),
        buffers=sum(buffer.nbytes for buffer in model.buffers()),
        activations=saved.activations(model, config),
    )


def is_small(config: RunConfig, vocab: int) -> bool:
    """Whether a forward pass can be afforded, by a rough estimate of its memory and its time."""
    model, tokens = config.model, config.train.batch_size // config.train.accumulation * config.model.context
    weights = config.depth * (4 + 3 * model.ffn.ratio) * model.width**2 + vocab * model.width
    # About forty numbers a channel of a block, three of the logits' size, and ALiBi's or unfused logits.
    kept = tokens * (
        40 * config.depth * model.width + 3 * vocab + 4 * config.depth * model.heads * model.context
    )
    return 4 * (2 * weights + kept) <= SMALL_BYTES and 2 * tokens * weights <= SMALL_FLOPS


def build(config: RunConfig, vocab: int, device: str) -> GPT:
    """The model on the `cpu`, as it is trained; or on `meta`: all of its structure, none of its numbers."""
    dtype = torch.float64 if config.train.precision == "fp64" else torch.float32
    if device == "cpu":
        return GPT(config, vocab).to(dtype)
    with torch.device(device), _Undrawn():
        return GPT(config, vocab).to(dtype)


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
            _EMBEDDING.get(second := name.split(".")[1], second),
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

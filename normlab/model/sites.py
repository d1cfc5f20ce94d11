"""Where in a GPT the instruments look."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

from torch import Tensor, nn

from normlab.model.attention import Attention
from normlab.model.ffn import FeedForward
from normlab.model.gpt import GPT, Block, site
from normlab.model.norms.base import Norm
from normlab.model.norms.batch import RunningNorm
from normlab.model.norms.elementwise import CurveNorm
from normlab.model.residual import Carry, Residual
from normlab.model.site import Site, StreamSite

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Sites:
    """The sites of a model by the names that their metrics end in."""

    #: The residual stream (B, T, D): after the embedding, and after each block with what the block was given.
    stream: dict[str, StreamSite]
    #: In each sub-layer, `layer_03/attn`: skip, branch and their sum after any norm, each (B, T, D).
    residual: dict[str, Site]
    #: What each sub-layer's branch is given (B, T, D).
    inputs: dict[str, Site]
    #: The second stream after each sub-layer, with what it was before and what is added; empty without one.
    second: dict[str, StreamSite]
    #: In each layer: queries and keys (B, H, T, K) as the attention logits are made of them.
    attention: dict[str, Site]
    #: In each layer: what becomes of raw attention logits before the softmax.
    finish: dict[str, Callable[[Tensor, Tensor], Tensor]]
    #: In each layer: what the activation gave and the hidden layer, each (B, T, F).
    hidden: dict[str, Site]
    #: In each place: what each of its norms' curves gives, any shape; empty for norms that are none.
    curves: dict[str, list[Site]]
    #: In each place: its norms with running statistics; empty for norms without.
    running: dict[str, list[RunningNorm]]


def sites(model: GPT) -> Sites:
    """The sites of `model`, layers in order."""
    blocks = {f"layer_{index:02d}": cast(Block, block) for index, block in enumerate(model.layers)}
    parts = {
        f"{layer}/{name}": cast(Residual, getattr(block, name))
        for layer, block in blocks.items()
        for name in ("attn", "ffn")
    }
    attention = {layer: cast(Attention, block.attn.branch) for layer, block in blocks.items()}
    return Sites(
        stream={"embedding": model.embedding.site} | {layer: block.site for layer, block in blocks.items()},
        residual={name: part.site for name, part in parts.items()},
        inputs={name: part.input_site for name, part in parts.items()},
        second={name: part.carry.site for name, part in parts.items() if isinstance(part.carry, Carry)},
        attention={layer: part.site for layer, part in attention.items()},
        finish={layer: part.finish for layer, part in attention.items()},
        hidden={layer: cast(FeedForward, block.ffn.branch).site for layer, block in blocks.items()},
        curves={place: [norm.site for norm in norms] for place, norms in norms_of(model, CurveNorm).items()},
        running=norms_of(model, RunningNorm),
    )


def norms_of(model: GPT, kind: type[N]) -> dict[str, list[N]]:
    """Each place's norms of a kind, in the model's order, a shared one once."""
    found: dict[str, list[N]] = {}
    for name, module in model.named_modules():
        if isinstance(module, kind):
            found.setdefault(site(f"{name}.weight")[0], []).append(module)
    return found


def gains(model: GPT) -> dict[str, list[tuple[nn.Parameter, float]]]:
    """Each place's norm gains: what is learned, and what is added to it before it multiplies."""
    found: dict[str, list[tuple[nn.Parameter, float]]] = {}
    for name, module in model.named_modules():
        weight = dict(module.named_parameters(recurse=False)).get("weight")
        if isinstance(module, Norm | nn.LayerNorm | nn.RMSNorm) and weight is not None:
            place, centre = site(f"{name}.weight")[0], float(getattr(module, "centre", 0.0))
            found.setdefault(place, []).append((weight, centre))
    return found

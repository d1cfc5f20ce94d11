"""The parts wired into a GPT: the only place that knows the residual stream.

Axes in tensor names: B batch, T time, D width, H heads, K head width, F ffn width, V vocabulary.
"""

import re
from collections.abc import Iterator
from typing import cast

from torch import Tensor, nn

from normlab import laws
from normlab.components.attention import Attention
from normlab.components.ffn import FeedForward
from normlab.components.init import normal_
from normlab.components.norms import build_norm
from normlab.components.positions import LearnedPositions, SinusoidalPositions
from normlab.components.residual import Residual, share_scales
from normlab.config import RunConfig
from normlab.tables import inits


class Embedding(nn.Module):
    """Tokens (B, T) -> stream (B, T, D), with positions and, where the placement has one, a norm."""

    def __init__(self, config: RunConfig, vocab: int) -> None:
        super().__init__()
        model = config.model
        self.tokens = nn.Embedding(vocab, model.width)
        kinds: dict[str, type[nn.Module]] = {"learned": LearnedPositions, "sinusoidal": SinusoidalPositions}
        kind = kinds.get(model.positions)  # rotary positions act inside attention
        self.positions = kind(model.context, model.width) if kind else nn.Identity()
        wanted = config.placement.embedding_norm
        self.norm = build_norm(config.norm, model.width, model.context) if wanted else nn.Identity()
        self.dropout = nn.Dropout(model.dropout) if model.dropout else nn.Identity()

    def forward(self, ids_BT: Tensor) -> Tensor:
        return cast(Tensor, self.dropout(self.norm(self.positions(self.tokens(ids_BT)))))


class Block(nn.Module):
    """An attention and a feed-forward sub-layer, each in the residual of the placement."""

    def __init__(self, config: RunConfig, layer: int) -> None:
        super().__init__()
        model, placement = config.model, config.placement
        branches: list[nn.Module] = [Attention(model), FeedForward(model, config.activation)]
        attn, ffn = (
            Residual(
                branch,
                placement,
                config.norm,
                model.width,
                laws.variables(config.depth, model.width, layer, place),
                model.dropout,
                model.context,
            )
            for place, branch in enumerate(branches)
        )
        share_scales([attn, ffn], placement)
        self.attn, self.ffn = attn, ffn

    def forward(self, x_BTD: Tensor) -> Tensor:
        return cast(Tensor, self.ffn(self.attn(x_BTD)))


class GPT(nn.Module):
    """A decoder-only transformer: tokens (B, T) -> logits (B, T, V)."""

    def __init__(self, config: RunConfig, vocab: int) -> None:
        super().__init__()
        self.embedding = Embedding(config, vocab)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(1, config.depth + 1))
        width, wanted = config.model.width, config.placement.final_norm
        self.final_norm = build_norm(config.norm, width, config.model.context) if wanted else nn.Identity()
        self.head = nn.Linear(width, vocab, bias=config.model.bias)
        if config.model.tie:
            self.head.weight = self.embedding.tokens.weight
        initialize(self, config)

    def forward(self, ids_BT: Tensor) -> Tensor:
        x_BTD = self.embedding(ids_BT)
        for layer in self.layers:
            x_BTD = layer(x_BTD)
        return cast(Tensor, self.head(self.final_norm(x_BTD)))


def initialize(model: GPT, config: RunConfig) -> None:
    """Set every matrix from (seed, name); norms keep gain 1 and bias 0, linear biases are 0."""
    gains = inits.selected(config.init, config.placement.gains)
    for name, tensor, projection, layer in _matrices(model):
        place = 1 if projection.startswith("ffn") else 0
        at = laws.variables(config.depth, config.model.width, layer, place)
        at = inits.variables(at, fan_in=tensor.shape[1], fan_out=tensor.shape[0])
        std = inits.std(config.init, gains, projection, at)
        normal_(tensor, std, config.seed, name, config.init.truncate)
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def _matrices(model: GPT) -> Iterator[tuple[str, Tensor, str, int]]:
    """Each matrix to draw (q, k and v one by one): its name, itself, its projection, its layer from 1."""
    for name, parameter in model.named_parameters():
        layer = int(match[1]) + 1 if (match := re.match(r"layers\.(\d+)\.", name)) else 1
        if name.startswith("embedding.tokens"):
            yield name, parameter, "embedding", layer
        elif name.startswith("embedding.positions"):
            yield name, parameter, "positions", layer
        elif name == "head.weight":
            yield name, parameter, "head", layer
        elif name.endswith("qkv.weight"):
            for part, rows in zip("qkv", parameter.chunk(3), strict=True):
                yield f"{name}/{part}", rows, f"attn.{part}", layer
        elif match := re.search(r"(attn|ffn)\.branch\.(?:w_)?(out|in|gate)\.weight$", name):
            yield name, parameter, f"{match[1]}.{match[2]}", layer


def site(parameter: str) -> tuple[str, str]:
    """Where a parameter's gradient is reported: (place, kind), the kind empty outside the blocks.

    Places (`embedding`, `layer_00` ..., `final_norm`, `head`) partition the parameters, and so do the kinds
    of a layer: `attn.qkv`, `attn.out`, `ffn.in` (with its gate), `ffn.out`, `norm`, `scale` (with what an
    activation learns).
    """
    match = re.match(r"layers\.(\d+)\.(attn|ffn)\.(.*)$", parameter)
    if not match:
        return parameter.split(".")[0], ""
    place, rest = f"layer_{int(match[1]):02d}", match[3]
    if rest.startswith("branch.act."):
        return place, "scale"
    if rest.startswith("branch."):
        kind = rest.split(".")[1].removeprefix("w_").replace("gate", "in")
        return place, f"{match[2]}.{kind}"
    return place, "norm" if rest.startswith("norm") else "scale"

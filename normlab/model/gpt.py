"""The parts wired into a GPT: the only place that knows the residual stream.

Axes in tensor names: B batch, T time, D width, H heads, K head width, F ffn width, V vocabulary.
"""

import math
import re
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from normlab.catalogue import inits
from normlab.config import RunConfig, ScaleConfig, laws
from normlab.config.placement import PLACES
from normlab.model.attention import Attention, softcap
from normlab.model.ffn import FeedForward
from normlab.model.init import normal_
from normlab.model.norms import build_norm
from normlab.model.norms.batch import BatchNorm
from normlab.model.padding import PaddedTokens
from normlab.model.positions import LearnedPositions, SinusoidalPositions
from normlab.model.residual import (
    Carry,
    CarryNothing,
    LearnedScale,
    MakeNorm,
    Residual,
    ScheduledScale,
    build_scale,
    share,
    shift,
)
from normlab.model.site import StreamSite
from normlab.model.weights import WEIGHTS


def norm_maker(config: RunConfig, site: str) -> MakeNorm:
    """Makes norms of the run's kind for a site: `attn`, `ffn`, `embedding` or `final`."""
    own = config.norm.at(site)
    return lambda width, gain=1.0: build_norm(own, width, config.model.context, gain)


def _at(config: RunConfig, layer: int = 1, place: int = 0) -> dict[str, float]:
    """What the laws see at a sub-layer."""
    return laws.variables(config.depth, config.model.width, layer, place) | config.placement.parameters


class Embedding(nn.Module):
    """Tokens (B, T) -> stream (B, T, D), with positions and, where the placement has one, a norm."""

    def __init__(self, config: RunConfig, vocab: int) -> None:
        super().__init__()
        model = config.model
        padded = config.data.lengths == "padded"
        self.tokens = (PaddedTokens if padded else nn.Embedding)(vocab, model.width)
        learn = "scalar" if model.embedding_scale_learn else "none"
        scale = ScaleConfig(value=repr(inits.embedding_factor(config)), learn=learn)
        self.scale = build_scale(scale, model.width, _at(config))
        kinds: dict[str, type[nn.Module]] = {"learned": LearnedPositions, "sinusoidal": SinusoidalPositions}
        kind = kinds.get(model.positions)  # the others act inside attention
        self.positions = kind(model.context, model.width) if kind else nn.Identity()
        norm = norm_maker(config, "embedding")
        self.norm = norm(model.width) if config.placement.embedding_norm else nn.Identity()
        self.dropout = nn.Dropout(model.dropout) if model.dropout else nn.Identity()
        self.site = StreamSite()

    def forward(self, ids_BT: Tensor) -> Tensor:
        x_BTD = self.dropout(self.norm(self.positions(self.scale(self.tokens(ids_BT)))))
        return cast(Tensor, self.site(x_BTD))


class Block(nn.Module):
    """An attention and a feed-forward sub-layer, each in the residual of the placement."""

    def __init__(self, config: RunConfig, layer: int) -> None:
        super().__init__()
        model, norms = config.model, [norm_maker(config, place) for place in PLACES]
        here = [_at(config, layer, place) for place in (0, 1)]
        attn, ffn = (config.placement.sublayer_at(at, place) for place, at in enumerate(here))
        branches = [Attention(model, attn, norms[0]), FeedForward(model, config.activation, ffn, norms[1])]
        self.attn, self.ffn = (
            Residual(branch, record, norm, model.width, at, model.dropout, build_carry(config))
            for branch, record, norm, at in zip(branches, (attn, ffn), norms, here, strict=True)
        )
        share(self.attn, self.ffn)
        self.site = StreamSite()

    def forward(self, x_BTD: Tensor, y_BTD: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Both streams after the block; y is None where there is one stream."""
        z_BTD, y_BTD = self.ffn(*self.attn(x_BTD, y_BTD, x_BTD), x_BTD)
        return self.site(z_BTD, x_BTD), y_BTD

    def without(self, x_BTD: Tensor, y_BTD: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Both streams where both branches are 0; the norms and scales on the way act as ever."""
        z_BTD, y_BTD = self.ffn.without(*self.attn.without(x_BTD, y_BTD, x_BTD), x_BTD)
        return self.site(z_BTD, x_BTD), y_BTD


class OneStream(nn.Module):
    """How the streams begin and end where there is one: x_0 = embedding, out = N(x)."""

    def start(self, x_BTD: Tensor) -> tuple[Tensor, Tensor | None]:
        return x_BTD, None

    def end(self, norm: nn.Module, x_BTD: Tensor, y_BTD: Tensor | None) -> Tensor:
        return cast(Tensor, norm(x_BTD))


class TwoStreams(nn.Module):
    """Where there are two: x_0 = N_first(e), y_0 = rho * e, out = N_joint(x + N(y)), e the embedding.

    ResiDual (2304.14802) has neither N_first nor N_joint, SiameseNorm (2602.08064) has both.
    """

    def __init__(self, rho: float, first_norm: nn.Module, joint_norm: nn.Module) -> None:
        super().__init__()
        self.rho, self.first_norm, self.joint_norm = rho, first_norm, joint_norm

    def start(self, x_BTD: Tensor) -> tuple[Tensor, Tensor | None]:
        return cast(Tensor, self.first_norm(x_BTD)), self.rho * x_BTD

    def end(self, norm: nn.Module, x_BTD: Tensor, y_BTD: Tensor | None) -> Tensor:
        return cast(Tensor, self.joint_norm(x_BTD + norm(y_BTD)))


def once(layer: nn.Module, *streams: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The streams after a layer, with all that its backward pass needs kept."""
    return cast(tuple[Tensor, Tensor | None], layer(*streams))


def recompute(layer: nn.Module, *streams: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """As `once`, with only the streams kept: the layer runs again for its backward pass (1604.06174)."""
    passed = checkpoint(layer, *streams, use_reentrant=False)
    return cast(tuple[Tensor, Tensor | None], passed)


def build_streams(config: RunConfig) -> OneStream | TwoStreams:
    """How the streams begin and end."""
    placement, width = config.placement, config.model.width
    if not placement.second_stream:
        return OneStream()
    first, joint = (norm_maker(config, site) for site in ("embedding", "final"))
    return TwoStreams(
        laws.value(placement.second_scale, _at(config)),
        first_norm=first(width) if placement.first_norm else nn.Identity(),
        joint_norm=joint(width) if placement.joint_norm else nn.Identity(),
    )


def build_carry(config: RunConfig) -> nn.Module:
    """How a sub-layer carries the second stream on."""
    placement = config.placement
    rho = laws.value(placement.second_scale, _at(config))
    return Carry(rho) if placement.second_stream else CarryNothing()


class HeadGain(nn.Module):
    """Each token's logit times a learned number, 1 at the start, stored as width^-0.5 (2410.01131)."""

    def __init__(self, vocab: int, width: int) -> None:
        super().__init__()
        self.weight, self.ratio = nn.Parameter(torch.full((vocab,), width**-0.5)), math.sqrt(width)

    def forward(self, logits_BTV: Tensor) -> Tensor:
        return logits_BTV * (self.weight * self.ratio)


class Softcap(nn.Module):
    """Logits within (-cap, cap)."""

    def __init__(self, cap: float) -> None:
        super().__init__()
        self.cap = cap

    def forward(self, x: Tensor) -> Tensor:
        return softcap(x, self.cap)


class GPT(nn.Module):
    """A transformer: tokens (B, T) -> logits (B, T, V). A decoder, or without `model.causal` an encoder."""

    def __init__(self, config: RunConfig, vocab: int) -> None:
        super().__init__()
        self.embedding = Embedding(config, vocab)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(1, config.depth + 1))
        model = config.model
        self.context = model.context
        norm = norm_maker(config, "final")
        self.final_norm = norm(model.width) if config.placement.final_norm else nn.Identity()
        self.head_shift = shift(config.placement.scalar_biases)
        self.streams = build_streams(config)
        self.head = nn.Linear(model.width, vocab, bias=model.head_bias)
        gain = config.placement.head_gain
        self.head_gain = HeadGain(vocab, model.width) if gain else nn.Identity()
        self.logit_scale = build_scale(ScaleConfig(value=model.logit_scale), model.width, _at(config))
        self.logit_softcap = Softcap(model.logit_softcap) if model.logit_softcap else nn.Identity()
        if model.tie:
            self.head.weight = self.embedding.tokens.weight
        self.pass_through = recompute if config.train.activation_checkpointing else once
        self._scheduled = [module for module in self.modules() if isinstance(module, ScheduledScale)]
        self._look_up_padding(config)
        self._weights = WEIGHTS[config.placement.weights]
        self._weights.build(self if config.placement.sigma_head else self.layers)
        initialize(self, config)
        self._weights.settle(self)

    def forward(self, ids_BT: Tensor) -> Tensor:
        streams = self.begin(ids_BT)
        for layer in self.layers:
            streams = self.pass_through(layer, *streams)
        return self.finish(*streams)

    def begin(self, ids_BT: Tensor) -> tuple[Tensor, Tensor | None]:
        """The streams that the first block is given."""
        return self.streams.start(self.embedding(ids_BT))

    def finish(self, x_BTD: Tensor, y_BTD: Tensor | None) -> Tensor:
        """Logits (B, T, V) of the streams after the last block."""
        logits_BTV = self.head(self.head_shift(self.streams.end(self.final_norm, x_BTD, y_BTD)))
        return cast(Tensor, self.logit_softcap(self.logit_scale(self.head_gain(logits_BTV))))

    def _look_up_padding(self, config: RunConfig) -> None:
        """Have attention and norms look up what is padding.

        Causal attention need not: padding comes last, so that no token sees it.
        """
        tokens = self.embedding.tokens
        if not isinstance(tokens, PaddedTokens):
            return
        for module in self.modules():
            if isinstance(module, Attention) and not config.model.causal:
                module.hide = tokens.padding.hide
            elif isinstance(module, BatchNorm) and not config.data.norms_see_padding:
                module.padding = tokens.padding

    def set_step(self, step: int) -> None:
        """Set what follows a schedule of the training step (from 0)."""
        for scale in self._scheduled:
            scale.set_step(step)

    def constrain(self) -> None:
        """Put the weights back where the placement keeps them; after each step of the optimizer."""
        self._weights.constrain(self)

    @torch.no_grad()
    def profile(self, ids_BT: Tensor) -> None:
        """Set each learned skip scale w from a batch (Admin, 2004.08249), one sub-layer after the other.

        w_1 = 1 and w_(s+1)^2 = Var(w_s * skip_s) + Var(branch_s). Without dropout.
        """
        square = torch.ones(())
        handles = []

        def enter(scale: LearnedScale, inputs: object) -> None:
            scale.weight.fill_(square.sqrt())

        def leave_skip(scale: nn.Module, inputs: object, out: Tensor) -> None:
            nonlocal square
            square = out.var(correction=0)

        def leave_branch(scale: nn.Module, inputs: object, out: Tensor) -> None:
            nonlocal square
            square = square + out.var(correction=0)

        for module in self.modules():
            if isinstance(module, Residual) and isinstance(module.skip_scale, LearnedScale):
                handles += [
                    module.skip_scale.register_forward_pre_hook(enter),
                    module.skip_scale.register_forward_hook(leave_skip),
                    module.branch_scale.register_forward_hook(leave_branch),
                ]
        training = self.training
        self.eval()
        self(ids_BT)
        self.train(training)
        for handle in handles:
            handle.remove()


def initialize(model: GPT, config: RunConfig) -> None:
    """Set every matrix from (seed, name); norms keep gain 1 and bias 0, linear biases are 0."""
    gains = inits.selected(config.init, config.placement.gains)
    for name, tensor, projection, layer in matrices(model):
        place = 1 if projection.startswith("ffn") else 0
        at = _at(config, layer, place)
        at = inits.variables(at, fan_in=tensor.shape[1], fan_out=tensor.shape[0])
        std = inits.std(config.init, gains, projection, at)
        normal_(tensor, std, config.seed, name, config.init.truncate)
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def matrices(model: GPT) -> Iterator[tuple[str, Tensor, str, int]]:
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
            attention = cast(Attention, model.get_submodule(name.removesuffix(".qkv.weight")))
            for part, rows in zip("qkv", torch.split(parameter, attention.widths), strict=True):
                yield f"{name}/{part}", rows, f"attn.{part}", layer
        elif match := re.search(r"(attn|ffn)\.branch\.(?:w_)?(out|in|gate)\.weight$", name):
            yield name, parameter, f"{match[1]}.{match[2]}", layer


def fused(model: GPT) -> dict[str, list[int]]:
    """The parameters that hold several matrices, one below the other: the rows of each."""
    modules = model.named_modules()
    return {f"{name}.qkv.weight": module.widths for name, module in modules if isinstance(module, Attention)}


def site(parameter: str) -> tuple[str, str]:
    """Where a parameter's gradient is reported: (place, kind), the kind empty outside the blocks.

    Places (`embedding`, `layer_00` ..., `final_norm`, `head`) partition the parameters, and so do the kinds
    of a layer: `attn.qkv`, `attn.out`, `ffn.in` (with its gate), `ffn.out`, `norm`, `scale` (with scalar
    biases and what an activation learns).
    """
    match = re.match(r"layers\.(\d+)\.(attn|ffn)\.(.*)$", parameter)
    if parameter.startswith("streams."):
        return _ENDS[parameter.split(".")[1]], ""
    if not match:
        return re.sub("_(gain|shift)$", "", parameter.split(".")[0]), ""
    place, rest = f"layer_{int(match[1]):02d}", match[3]
    if rest.startswith("branch.act."):
        return place, "scale"
    if rest.startswith("branch."):
        kind = rest.split(".")[1].removeprefix("w_").replace("gate", "in")
        if kind.endswith(("norm", "scale", "shift")):
            return place, "norm" if kind.endswith("norm") else "scale"
        return place, f"{match[2]}.{kind}"
    return place, "norm" if "norm" in rest else "scale"


#: Where the norms of two streams' ends are reported.
_ENDS = {"first_norm": "embedding", "joint_norm": "final_norm"}

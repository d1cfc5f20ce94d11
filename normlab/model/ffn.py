"""The feed-forward layer, plain or gated."""

import math

import torch
from torch import Tensor, nn

from normlab.catalogue.activations import ACTIVATIONS
from normlab.config import ActivationConfig, ModelConfig, SublayerConfig
from normlab.model.activations import build_activation
from normlab.model.residual import MakeNorm, no_norm, shift
from normlab.model.site import Site


def ffn_width(config: ModelConfig, gated: bool) -> int:
    """Hidden width F: ratio * D; gated, two thirds of it, up to `ffn.multiple_of` (LLaMA, 2302.13971)."""
    hidden = int(config.ffn.ratio * config.width)
    if not gated:
        return hidden
    hidden, multiple = int(2 * config.ffn.ratio * config.width / 3), config.ffn.multiple_of
    return -(-hidden // multiple) * multiple


class HiddenScale(nn.Module):
    """x -> sqrt(D) * weight * x, a learned factor a channel, 1 at the start (nGPT, 2410.01131)."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.weight, self.ratio = nn.Parameter(torch.ones(hidden)), math.sqrt(width)

    def forward(self, x_BTF: Tensor) -> Tensor:
        return x_BTF * (self.weight * self.ratio)


class FeedForward(nn.Module):
    """act(x W_in) W_out, or gated (act(x W_gate) * (x W_in)) W_out (2002.05202). (B, T, D) -> (B, T, D)."""

    def __init__(
        self,
        config: ModelConfig,
        activation: ActivationConfig,
        record: SublayerConfig | None = None,
        norm: MakeNorm = no_norm,
    ) -> None:
        super().__init__()
        record = record or SublayerConfig()

        def scale(hidden: int, wanted: bool) -> nn.Module:
            return HiddenScale(hidden, config.width) if wanted else nn.Identity()

        gated = ACTIVATIONS[activation.name].gated
        hidden = ffn_width(config, gated)
        self.w_in = nn.Linear(config.width, hidden, bias=config.bias)
        self.w_gate = nn.Linear(config.width, hidden, bias=config.bias) if gated else None
        self.in_shift, self.act_shift, self.out_shift = (shift(record.scalar_biases) for _ in range(3))
        self.in_scale = scale(hidden, record.hidden_scale)
        self.gate_scale = scale(hidden, record.hidden_scale and gated)
        self.mid_norm = norm(hidden) if record.mid_norm else nn.Identity()
        self.w_out = nn.Linear(hidden, config.width, bias=config.bias)
        self.act = build_activation(activation)
        self.site = Site()

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = self.in_shift(x_BTD)
        h_BTF = self.in_scale(self.w_in(x_BTD))
        if self.w_gate is None:
            h_BTF = act_BTF = self.act(self.act_shift(h_BTF))
        else:
            act_BTF = self.act(self.act_shift(self.gate_scale(self.w_gate(x_BTD))))
            h_BTF = act_BTF * h_BTF
        self.site(act_BTF, h_BTF)
        out: Tensor = self.w_out(self.out_shift(self.mid_norm(h_BTF)))
        return out

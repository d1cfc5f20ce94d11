"""Multi-head self-attention, causal or over all positions."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normlab.config import ModelConfig, SublayerConfig
from normlab.model.norms.base import wide
from normlab.model.positions import Alibi, NoBias, Rotary
from normlab.model.residual import MakeNorm, no_norm, shift
from normlab.model.site import Site


def softcap(x: Tensor, cap: float) -> Tensor:
    """cap * tanh(x / cap): about x where it is small, within (-cap, cap) everywhere (2408.00118)."""
    return cap * torch.tanh(x / cap)


class Heads(nn.Module):
    """A norm of each head by itself, with one gain for all of them. (B, T, H*K) -> (B, T, H*K)."""

    def __init__(self, norm: nn.Module, heads: int) -> None:
        super().__init__()
        self.norm, self.heads = norm, heads

    def forward(self, x_BTD: Tensor) -> Tensor:
        # (B*H, T, K): a norm over time sees the sequence of one head.
        x_BHTK = x_BTD.view(*x_BTD.shape[:2], self.heads, -1).transpose(1, 2)
        normed: Tensor = self.norm(x_BHTK.flatten(0, 1))
        return normed.view(x_BHTK.shape).transpose(1, 2).flatten(2)


class HeadScale(nn.Module):
    """Each head times a learned number (NormFormer, 2110.09456). (B, H, T, K) -> (B, H, T, K)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(heads))

    def forward(self, x_BHTK: Tensor) -> Tensor:
        return x_BHTK * self.weight[:, None, None]


class QKScale(nn.Module):
    """Queries and keys times a learned factor a channel, 1 at the start; then q.k * sqrt(K) (2410.01131).

    (B, H, T, K) -> (B, H, T, K), queries and keys the same factors.
    """

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        # Stored as width^-0.5, which sets how far a step of the optimizer goes.
        self.weight = nn.Parameter(torch.full((width,), width**-0.5))
        self.ratio, self.head_width = width**0.5, head_width

    def forward(self, q_BHTK: Tensor, k_BHTK: Tensor) -> tuple[Tensor, Tensor]:
        factor_H1K = (self.weight * self.ratio).view(-1, 1, self.head_width)
        # K, because attention itself will divide by sqrt(K).
        return q_BHTK * (factor_H1K * self.head_width), k_BHTK * factor_H1K[: k_BHTK.shape[1]]


class CosineScale(nn.Module):
    """Queries and keys such that q.k / sqrt(K) = tau cos(q, k), tau learned for each head (2111.09883).

    (B, H, T, K) -> (B, H, T, K). tau is exp(weight), 10 at the start and never above 100.
    """

    def __init__(self, heads: int, head_width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((heads,), math.log(10)))
        self.head_width = head_width

    def forward(self, q_BHTK: Tensor, k_BHTK: Tensor) -> tuple[Tensor, Tensor]:
        tau_H11 = self.weight.clamp(max=math.log(100)).exp()[:, None, None]
        # sqrt(K), because attention itself will divide by it.
        q = F.normalize(wide(q_BHTK), dim=-1) * (tau_H11 * math.sqrt(self.head_width))
        return q.to(q_BHTK.dtype), F.normalize(wide(k_BHTK), dim=-1).to(k_BHTK.dtype)


def as_they_are(q_BHTK: Tensor, k_BHTK: Tensor) -> tuple[Tensor, Tensor]:
    return q_BHTK, k_BHTK


#: Bias on the logits (H, T, T) or None -> the same, with -inf where a key is padding.
Hide = Callable[[Tensor | None], Tensor | None]


def nothing_hidden(bias_HTT: Tensor | None) -> Tensor | None:
    return bias_HTT


#: (q, k, v, bias (H, T, T) or None, dropout) -> what the weights mix of v; all (B, H, T, K).
Mix = Callable[[Tensor, Tensor, Tensor, Tensor | None, float], Tensor]


def fused(
    q_BHTK: Tensor, k_BHTK: Tensor, v_BHTK: Tensor, bias_HTT: Tensor | None, dropout: float, *, causal: bool
) -> Tensor:
    """softmax(q k^T / sqrt(K) + bias) v, by torch's own kernel.

    Over earlier positions if `causal`, where a bias is -inf for later ones; else over all.
    """
    bias_HTT = None if bias_HTT is None else bias_HTT.to(q_BHTK.dtype)
    return F.scaled_dot_product_attention(
        q_BHTK, k_BHTK, v_BHTK, bias_HTT, dropout_p=dropout, is_causal=causal and bias_HTT is None
    )


def capped(
    q_BHTK: Tensor,
    k_BHTK: Tensor,
    v_BHTK: Tensor,
    bias_HTT: Tensor | None,
    dropout: float,
    *,
    causal: bool,
    cap: float,
) -> Tensor:
    """softmax(softcap(q k^T / sqrt(K)) + bias) v, over earlier positions if `causal`, else over all."""
    logits_BHTT = softcap(q_BHTK @ k_BHTK.transpose(-1, -2) / math.sqrt(q_BHTK.shape[-1]), cap)
    logits_BHTT = logits_BHTT if bias_HTT is None else logits_BHTT + bias_HTT
    if causal:
        future_TT = torch.ones(logits_BHTT.shape[-2:], dtype=torch.bool, device=q_BHTK.device).triu(1)
        logits_BHTT = logits_BHTT.masked_fill(future_TT, -math.inf)
    weights_BHTT = logits_BHTT.softmax(-1)
    return F.dropout(weights_BHTT, dropout).to(v_BHTK.dtype) @ v_BHTK


class Attention(nn.Module):
    """softmax(q k^T / sqrt(K)) v (1706.03762). (B, T, D) -> (B, T, D).

    Over earlier positions where `model.causal`, else over all.
    """

    def __init__(
        self, config: ModelConfig, record: SublayerConfig | None = None, norm: MakeNorm = no_norm
    ) -> None:
        super().__init__()
        record = record or SublayerConfig()
        self.heads, self.dropout = config.heads, config.dropout
        self.head_width = config.head_width
        self.widths = [config.width, config.kv_width, config.kv_width]
        self.qkv = nn.Linear(config.width, sum(self.widths), bias=config.has_attention_bias)
        self.q_norm, self.k_norm, self.v_norm = (
            self._norm(kind, width, norm)
            for kind, width in zip([record.qk_norm, record.qk_norm, record.v_norm], self.widths, strict=True)
        )
        self.qk_scale = self._scale(record)
        rotary = config.positions == "rope"
        self.turn = Rotary(config.context, config.rotary_width, config.rope_base) if rotary else nn.Identity()
        distance = config.positions == "alibi"
        self.bias = Alibi(config.heads, config.context, config.causal) if distance else NoBias()
        self.in_shift, self.out_shift = shift(record.scalar_biases), shift(record.scalar_biases)
        self.head_scale = HeadScale(config.heads) if record.head_scale else nn.Identity()
        self.mid_norm = norm(config.width) if record.mid_norm else nn.Identity()
        self.out = nn.Linear(config.width, config.width, bias=config.has_attention_bias)
        self.hide: Hide = nothing_hidden
        self.site = Site()
        self.cap = record.softcap
        mix = partial(capped, cap=record.softcap) if record.softcap else fused
        self.mix: Mix = partial(mix, causal=config.causal)

    def _norm(self, kind: str, width: int, norm: MakeNorm) -> nn.Module:
        kinds: dict[str, Callable[[], nn.Module]] = {
            "none": nn.Identity,
            "width": lambda: norm(width),
            "head": lambda: Heads(norm(self.head_width), width // self.head_width),
        }
        return kinds[kind]()

    def _scale(self, record: SublayerConfig) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """What sets the size of queries and keys after their norms."""
        kinds: dict[tuple[bool, bool], Callable[[], Any]] = {
            (False, False): lambda: as_they_are,
            (True, False): lambda: QKScale(self.heads * self.head_width, self.head_width),
            (False, True): lambda: CosineScale(self.heads, self.head_width),
        }
        made: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = kinds[record.qk_scale, record.cosine]()
        return made

    def forward(self, x_BTD: Tensor) -> Tensor:
        q_BTD, k_BTD, v_BTD = torch.split(self.qkv(self.in_shift(x_BTD)), self.widths, dim=-1)
        q_BHTK, k_BHTK = self._split(self.q_norm(q_BTD)), self._split(self.k_norm(k_BTD))
        q_BHTK, k_BHTK = self.qk_scale(self.turn(q_BHTK), self.turn(k_BHTK))
        v_BHTK = self._split(self.v_norm(v_BTD))
        dropout, bias_HTT = self.dropout if self.training else 0.0, self.bias(x_BTD.shape[1])
        k_BHTK = self._repeat(k_BHTK)
        self.site(q_BHTK, k_BHTK)
        mixed_BHTK = self.mix(q_BHTK, k_BHTK, self._repeat(v_BHTK), self.hide(bias_HTT), dropout)
        mixed_BTD = self.mid_norm(self.head_scale(mixed_BHTK).transpose(1, 2).flatten(2))
        out: Tensor = self.out(self.out_shift(mixed_BTD))
        return out

    def finish(self, logits_BHQT: Tensor, rows_Q: Tensor) -> Tensor:
        """What the softmax gets of q.k / sqrt(K), before the mask, for the queries at these positions."""
        capped_BHQT = softcap(logits_BHQT, self.cap) if self.cap else logits_BHQT
        bias_HTT = self.bias(logits_BHQT.shape[-1])
        return capped_BHQT if bias_HTT is None else capped_BHQT + bias_HTT[:, rows_Q]

    def _split(self, x_BTD: Tensor) -> Tensor:
        return x_BTD.view(*x_BTD.shape[:2], -1, self.head_width).transpose(1, 2)

    def _repeat(self, x_BHTK: Tensor) -> Tensor:
        """One head of keys or values for each of queries."""
        each = self.heads // x_BHTK.shape[1]
        return x_BHTK if each == 1 else x_BHTK.repeat_interleave(each, dim=1)

"""Norms of each token by itself: layer norms, RMS norms and lengths. Any leading shape; causal."""

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normlab.catalogue.norm_settings import AdaNormConfig, GroupNormConfig, PartialConfig, WhiteningConfig
from normlab.config import NormConfig
from normlab.model.norms.base import Norm, group_width, grouped, unbiased_needs_two, wide


def rms(x: Tensor) -> Tensor:
    """sqrt(mean(x^2)) over the last axis, kept; its gradient at 0 is 0."""
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return length / math.sqrt(x.shape[-1])


class LayerNorm(nn.LayerNorm):
    """Layer norm with gain and bias, eps inside the root (Ba et al. 2016, 1607.06450)."""

    options: ClassVar[dict[str, Any]] = {}

    def __init__(self, width: int, config: NormConfig, context: int | None = None) -> None:
        super().__init__(width, eps=config.eps, **self.options)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(wide(x)).to(x.dtype)


class LayerNormNoBias(LayerNorm):
    """Layer norm with a gain alone."""

    options: ClassVar[dict[str, Any]] = {"bias": False}


class LayerNormNonParametric(LayerNorm):
    """Layer norm with nothing learned (OLMo, 2402.00838)."""

    options: ClassVar[dict[str, Any]] = {"elementwise_affine": False}


class LayerNorm1p(LayerNorm):
    """Layer norm with the gain 1 + weight (Nemotron-4, 2402.16819)."""

    #: The gain less the weight.
    centre = 1.0

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = F.layer_norm(wide(x), self.normalized_shape, 1 + self.weight, self.bias, self.eps)
        return y.to(x.dtype)


class LayerNormAnnotated(Norm):
    """Layer norm by the unbiased deviation, eps added to it (Rush 2018, The Annotated Transformer)."""

    def __init__(self, width: int, config: NormConfig, context: int | None = None) -> None:
        super().__init__(width, config)
        unbiased_needs_two(config, width)
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def normalize(self, x: Tensor) -> Tensor:
        deviation = x.std(-1, keepdim=True)
        return self.weight * (x - x.mean(-1, keepdim=True)) / (deviation + self.eps) + self.bias


class AdaNorm(Norm):
    """Layer norm y times scale * (1 - k y), the factor constant to autograd (Xu et al. 2019, 1911.07013)."""

    def __init__(self, width: int, config: NormConfig, context: int | None = None) -> None:
        super().__init__(width, config)
        assert isinstance(config, AdaNormConfig)
        unbiased_needs_two(config, width)
        self.k, self.scale = config.k, config.scale

    def normalize(self, x: Tensor) -> Tensor:
        y = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + self.eps)
        return self.scale * (1 - self.k * y.detach()) * y


class GroupNormToken(Norm):
    """Layer norm of each group of channels, with a gain and bias a channel (Wu, He 2018, 1803.08494)."""

    def __init__(self, width: int, config: NormConfig, context: int | None = None) -> None:
        super().__init__(width, config)
        assert isinstance(config, GroupNormConfig)
        self.group_width = group_width(config.groups, width)
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def normalize(self, x: Tensor) -> Tensor:
        groups = grouped(x, self.group_width)
        return self.weight * F.layer_norm(groups, (self.group_width,), eps=self.eps).flatten(-2) + self.bias


class GroupWhitening(Norm):
    """The groups of a token's channels made uncorrelated (Huang et al. 2021, 2009.13333).

    With the token as X (G, K), G groups of K channels, and Mu their means over K,

        S = (X - Mu) (X - Mu)^T / K + eps I,     y = weight * (S^(-1/2) (X - Mu)) + bias

    so that the G rows of y, before gain and bias, have means 0 and the covariance I, where K > G and eps is
    small. One group is layer norm, and a diagonal S would be group norm. S^(-1/2) = P_T / sqrt(tr S), by T
    steps of Newton's method (1904.03441), has a gradient where eigenvalues coincide:

        P_0 = I,    P_k = (3 P_(k-1) - P_(k-1)^3 S / tr S) / 2
    """

    def __init__(self, width: int, config: NormConfig, context: int | None = None) -> None:
        super().__init__(width, config)
        assert isinstance(config, WhiteningConfig)
        self.group_width, self.iterations = group_width(config.groups, width), config.iterations
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def normalize(self, x: Tensor) -> Tensor:
        groups = grouped(x, self.group_width)
        centred = groups - groups.mean(-1, keepdim=True)
        covariance = product(centred, centred.mT) / self.group_width
        eye = torch.eye(covariance.shape[-1], dtype=x.dtype, device=x.device)
        white = product(inverse_root(covariance + self.eps * eye, self.iterations), centred)
        return self.weight * white.flatten(-2) + self.bias


def product(a: Tensor, b: Tensor) -> Tensor:
    """(..., I, J) times (..., J, K), of few numbers, in their own dtype.

    Autocast takes torch's own matrix product, or that of its backward pass, to bf16.
    """
    return (a[..., None] * b[..., None, :, :]).sum(-2)


def inverse_root(s: Tensor, iterations: int) -> Tensor:
    """S^(-1/2) of symmetric, positive (..., G, G) by steps of Newton's method, from below.

    P_k goes along with Q_k = P_k S / tr S: without rounding the same. In float32 the recurrence of P alone is
    off by 2e-5 after 5 steps, where this is by 1e-6, and NaN after 30.
    """
    trace = s.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    eye = torch.eye(s.shape[-1], dtype=s.dtype, device=s.device)
    p, q = eye.expand_as(s), s / trace
    for _ in range(iterations):
        step = 1.5 * eye - 0.5 * product(p, q)
        p, q = product(step, p), product(q, step)
    return p * trace.rsqrt()


class RMSNorm(nn.RMSNorm):
    """RMS norm with a gain, eps inside the root (Zhang, Sennrich 2019, 1910.07467; LLaMA, 2302.13971).

    LLaMA rounds to the input's dtype before the gain; this rounds after it.
    """

    def __init__(self, width: int, config: NormConfig, context: int | None = None) -> None:
        super().__init__(width, eps=config.eps)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(wide(x)).to(x.dtype)


class RMSNormZeroCentred(Norm):
    """RMS norm with the gain 1 + weight, eps inside the root (Gemma, 2403.08295)."""

    #: The gain less the weight.
    centre = 1.0

    def __init__(self, width: int, config: NormConfig, context: int | None = None) -> None:
        super().__init__(width, config)
        self.weight = nn.Parameter(torch.zeros(width))

    def normalize(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (self.width,), 1 + self.weight, self.eps)


class RMSNormOriginal(Norm):
    """RMS norm with eps added to the root mean square, as in its authors' code (1910.07467)."""

    def __init__(self, width: int, config: NormConfig, context: int | None = None) -> None:
        super().__init__(width, config)
        self.weight = nn.Parameter(torch.ones(width))

    def normalize(self, x: Tensor) -> Tensor:
        return self.weight * x / (rms(x) + self.eps)


class PartialRMSNorm(RMSNormOriginal):
    """RMS norm by the root mean square of the first ceil(p * width) channels (pRMSNorm, 1910.07467)."""

    def __init__(self, width: int, config: NormConfig, context: int | None = None) -> None:
        super().__init__(width, config)
        assert isinstance(config, PartialConfig)
        self.channels = math.ceil(config.p * width - 1e-9)  # less rounding: 0.07 * 100 is above 7

    def normalize(self, x: Tensor) -> Tensor:
        return self.weight * x / (rms(x[..., : self.channels]) + self.eps)


class ScaleNorm(Norm):
    """The token at a learned length, sqrt(width) at the start (Nguyen, Salazar 2019, 1910.05895)."""

    def __init__(self, width: int, config: NormConfig, context: int | None = None) -> None:
        super().__init__(width, config)
        self.weight = nn.Parameter(torch.full((), width**0.5))

    def normalize(self, x: Tensor) -> Tensor:
        return self.weight * F.normalize(x, dim=-1, eps=self.eps)


class L2Norm(Norm):
    """The token at length 1, so at RMS width^-0.5 (nGPT, 2410.01131)."""

    def normalize(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1, eps=self.eps)

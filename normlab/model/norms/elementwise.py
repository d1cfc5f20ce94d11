"""Stand-ins for a norm without statistics: a curve for each entry. Any shape; causal; not scale-invariant."""

import torch
from torch import Tensor, nn

from normlab.catalogue.norm_settings import DyTConfig, ShiftedConfig
from normlab.config import NormConfig
from normlab.model.norms.base import Norm
from normlab.model.site import Site


class CurveNorm(Norm):
    """Norms of this kind: the site shows what the curve itself gives, before gain and bias."""

    def __init__(self, width: int, config: NormConfig, context: int | None = None) -> None:
        super().__init__(width, config)
        self.site = Site()


class DyT(CurveNorm):
    """Dynamic tanh: weight * tanh(alpha * x) + bias, alpha one number (Zhu et al. 2025, 2503.10622)."""

    bias: nn.Parameter | None

    def __init__(self, width: int, config: NormConfig, context: int | None = None) -> None:
        super().__init__(width, config)
        assert isinstance(config, DyTConfig)
        self.alpha = nn.Parameter(torch.full((), config.alpha))
        self.weight = nn.Parameter(torch.ones(width))
        self.register_parameter("bias", nn.Parameter(torch.zeros(width)) if config.bias else None)

    def normalize(self, x: Tensor) -> Tensor:
        curve = torch.tanh(self.alpha * x)
        self.site(curve)
        y = self.weight * curve
        return y if self.bias is None else y + self.bias


class ShiftedCurve(CurveNorm):
    """weight * curve(alpha * x + shift) + bias, alpha and shift one number each."""

    def __init__(self, width: int, config: NormConfig, context: int | None = None) -> None:
        super().__init__(width, config)
        assert isinstance(config, ShiftedConfig)
        self.alpha = nn.Parameter(torch.full((), config.alpha))
        self.shift = nn.Parameter(torch.full((), config.shift))
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def normalize(self, x: Tensor) -> Tensor:
        curve = self.curve(self.alpha * x + self.shift)
        self.site(curve)
        return self.weight * curve + self.bias

    def curve(self, u: Tensor) -> Tensor:
        raise NotImplementedError


class Derf(ShiftedCurve):
    """Dynamic erf (Chen et al. 2025, 2512.10938)."""

    def curve(self, u: Tensor) -> Tensor:
        return torch.erf(u)


class ISRU(ShiftedCurve):
    """Inverse square root unit, u / sqrt(u^2 + 1) (2512.10938; Stollenwerk 2025, 2503.21708)."""

    def curve(self, u: Tensor) -> Tensor:
        return u * (u.square() + 1).rsqrt()


class Identity(Norm):
    """No norm."""

    def forward(self, x: Tensor) -> Tensor:
        return x

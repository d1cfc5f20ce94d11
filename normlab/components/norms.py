"""Norm modules: (..., width) -> (..., width). Formulas and sources stand in `normlab.tables.norms`."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normlab.config import NormConfig
from normlab.tables.norms import NORMS, BatchNormConfig


def build_norm(config: NormConfig, width: int) -> nn.Module:
    """The module of `config` for `width` channels."""
    module: nn.Module = globals()[NORMS[config.name].module](width, config)
    return module


class LayerNorm(nn.LayerNorm):
    """Layer norm with gain and bias (Ba et al. 2016, 1607.06450)."""

    def __init__(self, width: int, config: NormConfig) -> None:
        super().__init__(width, eps=config.eps)


class LayerNormNoBias(nn.LayerNorm):
    """Layer norm with a gain alone."""

    def __init__(self, width: int, config: NormConfig) -> None:
        super().__init__(width, eps=config.eps, bias=False)


class RMSNorm(nn.RMSNorm):
    """RMS norm with a gain, eps inside the root (Zhang, Sennrich 2019, 1910.07467)."""

    def __init__(self, width: int, config: NormConfig) -> None:
        super().__init__(width, eps=config.eps)


class BatchNorm(nn.Module):
    """Batch norm over batch and time of (B, T, C); running statistics in evaluation (1502.03167).

    torch's own module would take (B, T, C) for (N, C, L) and normalize each time step: the input is
    flattened to (B*T, C) here.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, config: NormConfig) -> None:
        super().__init__()
        assert isinstance(config, BatchNormConfig)
        self.eps, self.momentum = config.eps, config.momentum
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        flat = F.batch_norm(
            x.flatten(0, -2),
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training,
            momentum=self.momentum,
            eps=self.eps,
        )
        return flat.view_as(x)


class Identity(nn.Identity):
    """No norm."""

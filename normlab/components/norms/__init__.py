"""Norm modules: (..., T, width) -> the same shape and dtype. Formulas and sources: `normlab.tables.norms`.

Those of `token` and `elementwise` take any leading shape. For the others the last axis but one is time, and
each entry of the axes before it a sequence: (B, T, D), or (B, H, T, K) for queries and keys.
"""

import torch
from torch import nn

from normlab.components.norms.base import Norm
from normlab.components.norms.batch import BatchNorm, PowerNorm
from normlab.components.norms.elementwise import ISRU, Derf, DyT, Identity
from normlab.components.norms.sequence import (
    CumulativeInstanceNorm,
    GroupNormTime,
    InstanceNormTime,
    LayerNormTC,
    PBRelaxLayerNorm,
)
from normlab.components.norms.token import (
    AdaNorm,
    GroupNormToken,
    L2Norm,
    LayerNorm,
    LayerNorm1p,
    LayerNormAnnotated,
    LayerNormNoBias,
    LayerNormNonParametric,
    PartialRMSNorm,
    RMSNorm,
    RMSNormOriginal,
    RMSNormZeroCentred,
    ScaleNorm,
)
from normlab.config import NormConfig
from normlab.errors import require_one_of
from normlab.tables.norms import NORMS

__all__ = [
    "ISRU",
    "AdaNorm",
    "BatchNorm",
    "CumulativeInstanceNorm",
    "Derf",
    "DyT",
    "GroupNormTime",
    "GroupNormToken",
    "Identity",
    "InstanceNormTime",
    "L2Norm",
    "LayerNorm",
    "LayerNorm1p",
    "LayerNormAnnotated",
    "LayerNormNoBias",
    "LayerNormNonParametric",
    "LayerNormTC",
    "Norm",
    "PBRelaxLayerNorm",
    "PartialRMSNorm",
    "PowerNorm",
    "RMSNorm",
    "RMSNormOriginal",
    "RMSNormZeroCentred",
    "ScaleNorm",
    "build_norm",
    "check_norm",
]


def build_norm(config: NormConfig, width: int, context: int | None = None) -> nn.Module:
    """The module of `config` for `width` channels; a norm with a gain for each place needs the `context`.

    Raises:
        ConfigError: there is no such norm, or it cannot have this width or context.
    """
    require_one_of(config.name, NORMS, "norm")
    module: nn.Module = globals()[NORMS[config.name].module](width, config, context)
    return module


def check_norm(config: NormConfig, width: int, context: int | None = None) -> None:
    """Raise what `build_norm` would, without taking memory."""
    with torch.device("meta"):
        build_norm(config, width, context)

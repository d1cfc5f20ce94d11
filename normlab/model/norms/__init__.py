"""Build a norm: a module (..., T, width) -> the same shape and dtype, with the formula of `catalogue.norms`.

Those of `token` and `elementwise` take any leading shape. For the others the last axis but one is time, and
each entry of the axes before it a sequence: (B, T, D), or (B, H, T, K) for queries and keys.
"""

from typing import cast

import torch
from torch import Tensor, nn

from normlab.catalogue.norms import NORMS
from normlab.config import NormConfig
from normlab.config.row import implementation
from normlab.errors import require, require_one_of


def build_norm(config: NormConfig, width: int, context: int | None = None, gain: float = 1.0) -> nn.Module:
    """The module of `config` for `width` channels; a norm with a gain for each place needs the `context`.

    Args:
        gain: what the gain starts at where the formula in the table has 1.
    Raises:
        ConfigError: there is no such norm, or it cannot have this width, context or gain.
    """
    require_one_of(config.name, NORMS, "norm")
    module: nn.Module = implementation(__name__, NORMS[config.name].module)(width, config, context)
    if gain != 1:
        _start_at(module, gain, config.name)
    return module


@torch.no_grad()
def _start_at(module: nn.Module, gain: float, name: str) -> None:
    weight = getattr(module, "weight", None)
    require(
        weight is not None,
        "placement.norm_out_gain",
        f"{gain:g} is for a norm with a gain, and norm={name} has none; use norm=layernorm or norm=rmsnorm, "
        "or placement.norm_out_gain=1",
    )
    centre = getattr(module, "centre", 0.0)
    cast(Tensor, weight).add_(centre).mul_(gain).sub_(centre)


def check_norm(config: NormConfig, width: int, context: int | None = None, gain: float = 1.0) -> None:
    """Raise what `build_norm` would, without taking memory."""
    with torch.device("meta"):
        build_norm(config, width, context, gain)

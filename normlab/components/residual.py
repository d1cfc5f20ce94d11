"""The residual sub-layer that every placement is a setting of."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from normlab import laws
from normlab.components.norms import build_norm
from normlab.config import NormConfig, PlacementConfig, ScaleConfig


class Times(nn.Module):
    """x -> factor * x, with a fixed number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor

    def extra_repr(self) -> str:
        return f"{self.factor:.6g}"


class LearnedScale(nn.Module):
    """x -> weight * x, with one learned number or one a channel."""

    def __init__(self, start: float, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full(shape, start))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


def build_scale(config: ScaleConfig, width: int, at: dict[str, float]) -> nn.Module:
    """The factor that `config` gives at the depth and layer of `at`; Identity where it is a fixed 1."""
    start = laws.value(config.value, at)
    if config.learn != "none":
        return LearnedScale(start, (width,) if config.learn == "vector" else ())
    return nn.Identity() if start == 1 else Times(start)


class Residual(nn.Module):
    """x' = N_post(a*skip + b*N_out(f(c*N_in(x)))), skip = x or N_in(x). (B, T, D) -> (B, T, D).

    What a placement leaves out is `nn.Identity`, so there is one path through `forward`.
    """

    def __init__(
        self,
        branch: nn.Module,
        placement: PlacementConfig,
        norm: NormConfig,
        width: int,
        at: dict[str, float],
        dropout: float,
        context: int | None = None,
    ) -> None:
        super().__init__()

        def norm_or_nothing(wanted: bool) -> nn.Module:
            return build_norm(norm, width, context) if wanted else nn.Identity()

        self.norm_in = norm_or_nothing(placement.norm_in)
        self.in_scale = build_scale(placement.in_scale, width, at)
        self.branch = branch
        self.norm_out = norm_or_nothing(placement.norm_out)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.skip_scale = build_scale(placement.skip_scale, width, at)
        self.branch_scale = build_scale(placement.branch_scale, width, at)
        self.norm_post = norm_or_nothing(placement.norm_post)
        self.skip_is_normed = placement.skip == "norm_in"

    def forward(self, x_BTD: Tensor) -> Tensor:
        u_BTD = self.norm_in(x_BTD)
        h_BTD = self.dropout(self.norm_out(self.branch(self.in_scale(u_BTD))))
        skip_BTD = u_BTD if self.skip_is_normed else x_BTD
        return cast(Tensor, self.norm_post(self.skip_scale(skip_BTD) + self.branch_scale(h_BTD)))


def share_scales(sublayers: list[Residual], placement: PlacementConfig) -> None:
    """Give the sub-layers of one block the same learned factors where the placement says `share: block`."""
    for name in ("skip_scale", "branch_scale"):
        config: Any = getattr(placement, name)
        if config.learn != "none" and config.share == "block":
            for sublayer in sublayers[1:]:
                setattr(sublayer, name, getattr(sublayers[0], name))

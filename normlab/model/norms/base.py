"""What the norms share: the dtype rule, and the check that groups fit the width."""

import torch
from torch import Tensor, nn

from normlab.config import NormConfig
from normlab.errors import require


def wide(x: Tensor) -> Tensor:
    """Half precision as float32, anything else as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


class Norm(nn.Module):
    """(..., width) -> the same shape and dtype; a subclass says how in `normalize`.

    The dtype rule, which holds for norms made from torch's own classes too: for a bfloat16 or float16
    input, under autocast or not, statistics, gain and bias are computed in float32, for any other in its own
    dtype; the result is rounded to the input's dtype once, at the end.
    """

    def __init__(self, width: int, config: NormConfig, context: int | None = None) -> None:
        super().__init__()
        self.width, self.eps = width, config.eps

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.width:
            raise ValueError(f"the last axis must hold {self.width} channels, got the shape {tuple(x.shape)}")
        return self.normalize(wide(x)).to(x.dtype)

    def normalize(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"{self.width}, eps={self.eps:g}"


def group_width(groups: int, width: int) -> int:
    """Channels a group.

    Raises:
        ConfigError: the groups do not divide the width; names the nearest number that does.
    """
    fitting = (number for number in range(1, width + 1) if width % number == 0)
    nearest = min(fitting, key=lambda number: abs(number - groups))
    problem = (
        f"{groups} does not divide the norm's {width} channels; the nearest number that does is {nearest}"
    )
    require(groups == nearest, "norm.groups", problem)
    return width // groups


def grouped(x: Tensor, channels: int) -> Tensor:
    """(..., width) -> (..., groups, channels)."""
    return x.reshape(*x.shape[:-1], -1, channels)


def unbiased_needs_two(config: NormConfig, width: int) -> None:
    """Refuse a width whose unbiased deviation is 0/0."""
    problem = f"{config.name} divides by width - 1: it needs 2 channels or more, not {width}"
    require(width >= 2, "norm", problem)

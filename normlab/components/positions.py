"""Positions: learned and sinusoidal ones are added to the embedding, rotary ones turn queries and keys."""

import torch
from torch import Tensor, nn


def sinusoids(context: int, width: int) -> Tensor:
    """(T, D): sin and cos of t / 10000^(2i/D), halves side by side (Vaswani et al. 2017, 1706.03762)."""
    rates = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(context, dtype=torch.float64)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()[:, : width // 2]], dim=1).float()


class LearnedPositions(nn.Module):
    """One vector a position, learned."""

    def __init__(self, context: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(context, width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return x_BTD + self.weight[: x_BTD.shape[1]]


class SinusoidalPositions(nn.Module):
    """One fixed vector a position."""

    table: Tensor

    def __init__(self, context: int, width: int) -> None:
        super().__init__()
        self.register_buffer("table", sinusoids(context, width), persistent=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return x_BTD + self.table[: x_BTD.shape[1]]


class Rotary(nn.Module):
    """Turns the pairs (i, i + K/2) of a head by t * base^(-2i/K) (Su et al. 2021, 2104.09864)."""

    cos: Tensor
    sin: Tensor

    def __init__(self, context: int, head_width: int, base: float) -> None:
        super().__init__()
        rates = base ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
        angles = torch.arange(context, dtype=torch.float64)[:, None] * rates
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, x_BHTK: Tensor) -> Tensor:
        steps = x_BHTK.shape[-2]
        cos, sin = self.cos[:steps].to(x_BHTK.dtype), self.sin[:steps].to(x_BHTK.dtype)
        first, second = x_BHTK.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)

"""Positions: learned and sinusoidal ones are added to the embedding, rotary ones turn queries and keys,
ALiBi adds to the attention logits."""

import math

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


def alibi_slopes(heads: int) -> list[float]:
    """How much each head's logits fall with each token of distance: 2^(-8h/H), h = 1..H (2108.12409).

    Where H is no power of two: those of the power below, then every second of the power above.
    """
    below = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 * h / below) for h in range(1, below + 1)]
    return slopes + [2 ** (-4 * h / below) for h in range(1, 2 * (heads - below), 2)]


def alibi(heads: int, context: int) -> Tensor:
    """(H, T, T): -slope * distance to earlier tokens, -inf for later ones."""
    place = torch.arange(context, dtype=torch.float64)
    distance = place[:, None] - place
    bias = -torch.tensor(alibi_slopes(heads), dtype=torch.float64)[:, None, None] * distance
    return bias.masked_fill(distance < 0, -math.inf).float()


class Rotary(nn.Module):
    """Turns the pairs (i, i + R/2) of a head by t * base^(-2i/R), R its first `turned` (2104.09864)."""

    cos: Tensor
    sin: Tensor

    def __init__(self, context: int, turned: int, base: float) -> None:
        super().__init__()
        rates = base ** (-torch.arange(0, turned, 2, dtype=torch.float64) / turned)
        angles = torch.arange(context, dtype=torch.float64)[:, None] * rates
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, x_BHTK: Tensor) -> Tensor:
        steps = x_BHTK.shape[-2]
        cos, sin = self.cos[:steps].to(x_BHTK.dtype), self.sin[:steps].to(x_BHTK.dtype)
        half = cos.shape[-1]
        first, second, rest = x_BHTK.tensor_split([half, 2 * half], dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], dim=-1)

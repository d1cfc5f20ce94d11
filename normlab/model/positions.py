"""Positions: learned and sinusoidal ones are added to the embedding, rotary ones turn queries and keys,
ALiBi adds to the attention logits."""

import math
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn


class Tables(nn.Module):
    """Holds fixed tensors, rounded once: from float64 to the dtype that the module is moved to.

    Buffers alone would be rounded to float32 when they are made, and stay so rounded in a float64 model.
    """

    def _hold(self, **tables: Callable[[], Tensor]) -> None:
        """Register each as a buffer (not saved); it is made anew, in float64, at every move."""
        self._tables = tables
        for name, table in tables.items():
            self.register_buffer(name, table().to(torch.get_default_dtype()), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, table in self._tables.items():
            moved: Tensor = getattr(self, name)
            # The dtype first: not every device has float64.
            setattr(self, name, table().to(moved.dtype).to(moved.device))
        return self


def angles(context: int, turned: int, base: float) -> Tensor:
    """(T, R/2): t * base^(-2i/R)."""
    rates = base ** (-torch.arange(0, turned, 2, dtype=torch.float64) / turned)
    return torch.arange(context, dtype=torch.float64)[:, None] * rates


def sinusoids(context: int, width: int) -> Tensor:
    """(T, D): sin and cos of t / 10000^(2i/D), halves side by side (Vaswani et al. 2017, 1706.03762)."""
    turns = angles(context, width, 10000.0)
    return torch.cat([turns.sin(), turns.cos()[:, : width // 2]], dim=1)


class LearnedPositions(nn.Module):
    """One vector a position, learned."""

    def __init__(self, context: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(context, width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return x_BTD + self.weight[: x_BTD.shape[1]]


class SinusoidalPositions(Tables):
    """One fixed vector a position."""

    table: Tensor

    def __init__(self, context: int, width: int) -> None:
        super().__init__()
        self._hold(table=lambda: sinusoids(context, width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return x_BTD + self.table[: x_BTD.shape[1]]


def alibi_slopes(heads: int) -> list[float]:
    """How much each head's logits fall with each token of distance: 2^(-8h/H), h = 1..H (2108.12409).

    Where H is no power of two: those of the power below, then every second of the power above.
    """
    below = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 * h / below) for h in range(1, below + 1)]
    return slopes + [2 ** (-4 * h / below) for h in range(1, 2 * (heads - below), 2)]


def alibi(heads: int, context: int, causal: bool = True) -> Tensor:
    """(H, T, T): -slope * distance; -inf for later tokens, or their distance too without `causal`

    (the symmetric form of encoders: Günther et al. 2023, 2310.19923).
    """
    place = torch.arange(context, dtype=torch.float64)
    distance = place[:, None] - place
    bias = -torch.tensor(alibi_slopes(heads), dtype=torch.float64)[:, None, None] * distance.abs()
    return bias.masked_fill(distance < 0, -math.inf) if causal else bias


class Alibi(Tables):
    """The bias on the attention logits of T positions: (H, T, T)."""

    table: Tensor

    def __init__(self, heads: int, context: int, causal: bool = True) -> None:
        super().__init__()
        self._hold(table=lambda: alibi(heads, context, causal))

    def forward(self, time: int) -> Tensor:
        return self.table[:, :time, :time]


class NoBias(nn.Module):
    """No bias on the attention logits."""

    def forward(self, time: int) -> None:
        return None


class Rotary(Tables):
    """Turns the pairs (i, i + R/2) of a head by t * base^(-2i/R), R its first `turned` (2104.09864)."""

    cos: Tensor
    sin: Tensor

    def __init__(self, context: int, turned: int, base: float) -> None:
        super().__init__()
        turns = (context, turned, base)
        self._hold(cos=lambda: angles(*turns).cos(), sin=lambda: angles(*turns).sin())

    def forward(self, x_BHTK: Tensor) -> Tensor:
        steps = x_BHTK.shape[-2]
        cos, sin = self.cos[:steps].to(x_BHTK.dtype), self.sin[:steps].to(x_BHTK.dtype)
        half = cos.shape[-1]
        first, second, rest = x_BHTK.tensor_split([half, 2 * half], dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], dim=-1)

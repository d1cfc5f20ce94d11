"""What an activation does to the size of its input: moments under z ~ N(0, 1), in plain Python.

The formulas stand here a second time, on floats, so that they can be described without torch; a test holds
them to the functions that train.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from normlab.catalogue.activations import ACTIVATIONS
from normlab.config import ActivationConfig


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Of an activation f, or of a gated one's product h = f(g) u with g, u ~ N(0, 1) independent."""

    #: E f, E h.
    mean: float
    #: E f^2, E h^2.
    square: float
    #: E f'^2; gated, E |grad h|^2 = E f'^2 + E f^2. What it multiplies the square of a gradient by.
    chi: float

    @property
    def gain(self) -> float:
        """The factor on the next matrix that keeps the second moment: E f^2 = 1 / gain^2."""
        return 1 / math.sqrt(self.square)


def _logistic(x: float) -> float:
    return (1 + math.tanh(x / 2)) / 2  # exp(-x) would overflow


def _softplus(z: float) -> float:
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


#: By the `function` of a row: (z, config) -> f(z).
FORMULAS: dict[str, Callable[[float, Any], float]] = {
    "identity": lambda z, config: z,
    "sigmoid": lambda z, config: _logistic(z),
    "tanh": lambda z, config: math.tanh(z),
    "relu": lambda z, config: max(z, 0.0),
    "leaky_relu": lambda z, config: z if z > 0 else config.slope * z,
    "elu": lambda z, config: z if z > 0 else config.alpha * math.expm1(z),
    "silu": lambda z, config: z * _logistic(z),
    "Swish": lambda z, config: z * _logistic(config.beta * z),
    "gelu": lambda z, config: z * (1 + math.erf(z / math.sqrt(2))) / 2,
    "gelu_tanh": lambda z, config: z / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))),
    "relu2": lambda z, config: max(z, 0.0) ** 2,
    "erf": lambda z, config: math.erf(z),
    "mish": lambda z, config: z * math.tanh(_softplus(z)),
    "softplus": lambda z, config: _softplus(z),
}


@cache
def moments(config: ActivationConfig) -> Moments:
    """The moments at the settings of `config` (a learned slope's at its start)."""
    row = ACTIVATIONS[config.name]
    formula = FORMULAS[row.function]
    mean = square = chi = 0.0
    step = 1e-5  # central differences are good to about step^2
    for z, weight in _nodes():
        value = formula(z, config)
        slope = (formula(z + step, config) - formula(z - step, config)) / (2 * step)
        mean, square, chi = mean + weight * value, square + weight * value**2, chi + weight * slope**2
    if row.gated:
        return Moments(mean=0.0, square=square, chi=chi + square)
    return Moments(mean=mean, square=square, chi=chi)


@cache
def _nodes(panels: int = 100, reach: float = 12.0) -> tuple[tuple[float, float], ...]:
    """Points and weights of E g(z): Gauss-Legendre, three points a panel, panels meeting at 0."""
    half, found = reach / panels / 2, []
    for panel in range(-panels, panels):
        for at, weight in ((-math.sqrt(0.6), 5 / 9), (0.0, 8 / 9), (math.sqrt(0.6), 5 / 9)):
            z = (2 * panel + 1 + at) * half
            found.append((z, weight * half * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)))
    return tuple(found)

"""Initial weights: a function of (seed, parameter name) alone, times a standard deviation.

Models that differ in norm, placement or depth so share every weight they have in common.
"""

import hashlib
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from normlab import laws
from normlab.config import InitConfig
from normlab.tables.inits import GAINS, INITS, NormalConfig

#: (fan_in, fan_out, config) -> standard deviation of a matrix in the blocks.
StdRule = Callable[[int, int, InitConfig], float]


def fan_in(fan_in: int, fan_out: int, config: InitConfig) -> float:
    return config.gain / math.sqrt(fan_in)


def xavier(fan_in: int, fan_out: int, config: InitConfig) -> float:
    return config.gain * math.sqrt(2 / (fan_in + fan_out))


def normal(fan_in: int, fan_out: int, config: InitConfig) -> float:
    assert isinstance(config, NormalConfig)
    return config.gain * config.std


def matrix_std(config: InitConfig, fan_in: int, fan_out: int) -> float:
    """Standard deviation of a matrix in the blocks, before the gains of `projection_gains`."""
    rule: StdRule = globals()[INITS[config.name].function]
    return rule(fan_in, fan_out, config)


def table_std(config: InitConfig, width: int, override: float | None) -> float:
    """Standard deviation of an embedding, of positions or of the head: width^-0.5, or `normal`'s own."""
    if override is not None:
        return override
    return config.std if isinstance(config, NormalConfig) else width**-0.5


def projection_gains(config: InitConfig, placement: Mapping[str, str]) -> Mapping[str, str]:
    """The laws that `init.gains` selects: the placement's own, none, or a named table."""
    if config.gains == "placement":
        return placement
    return {} if config.gains == "none" else GAINS[config.gains].config.laws


def gain(gains: Mapping[str, str], projection: str, at: Mapping[str, float]) -> float:
    """The factor for one projection at one layer; 1 where no law names it."""
    return laws.value(gains[projection], at) if projection in gains else 1.0


def normal_(tensor: Tensor, std: float, seed: int, name: str) -> None:
    """Fill with N(0, std^2) drawn in fp32 from a generator of its own, seeded by (seed, name)."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    with torch.no_grad():
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * std)

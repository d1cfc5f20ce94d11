"""Learning-rate schedules: (step, warmup, steps, config) -> share of the rate, besides the warm-up.

Steps count from 0, and a decay from its start to `steps`, which is one after the last; so do PyTorch's
`CosineAnnealingLR`, nanoGPT and the code of Haegele et al. 2024 (2405.18392).
"""

import math

from normlab.catalogue.schedules import SCHEDULES, DecayConfig, WSDConfig
from normlab.config import RunConfig, ScheduleConfig
from normlab.config.row import implementation


def learning_rate(step: int, config: RunConfig) -> float:
    """The rate at `step` (from 0): lr * min(1, (step+1)/warmup) * schedule."""
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    schedule = implementation(__name__, SCHEDULES[config.schedule.name].function)
    return float(
        config.optimizer.lr * warm * schedule(step, config.warmup, config.train.steps, config.schedule)
    )


def _progress(step: int, start: float, steps: int) -> float:
    """(step - start) / (steps - start): 0 until `start`, 1 one step after the last.

    So no step is taken at the rate 0 that a decay to 0 ends in.
    """
    return max(0.0, (step - start) / max(1.0, steps - start))


def constant(step: int, warmup: int, steps: int, config: ScheduleConfig) -> float:
    return 1.0


def cosine(step: int, warmup: int, steps: int, config: DecayConfig) -> float:
    wave = (1 + math.cos(math.pi * _progress(step, warmup, steps))) / 2
    return config.final + (1 - config.final) * wave


def linear(step: int, warmup: int, steps: int, config: DecayConfig) -> float:
    return 1 - (1 - config.final) * _progress(step, warmup, steps)


def wsd(step: int, warmup: int, steps: int, config: WSDConfig) -> float:
    """A warm-up that reaches into the decay does not put it off: both factors then act."""
    return 1 - (1 - config.final) * _progress(step, (1 - config.decay) * steps, steps)


def inverse_sqrt(step: int, warmup: int, steps: int, config: ScheduleConfig) -> float:
    return min(1.0, math.sqrt(max(warmup, 1) / (step + 1)))

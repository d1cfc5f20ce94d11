"""Learning-rate schedules: (step, warmup, steps, config) -> share of the rate, besides the warm-up."""

import math

from normlab.config import RunConfig, ScheduleConfig
from normlab.tables.schedules import SCHEDULES, DecayConfig, WSDConfig


def learning_rate(step: int, config: RunConfig) -> float:
    """The rate at `step` (from 0): lr * min(1, (step+1)/warmup) * schedule."""
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    schedule = globals()[SCHEDULES[config.schedule.name].function]
    return float(
        config.optimizer.lr * warm * schedule(step, config.warmup, config.train.steps, config.schedule)
    )


def _progress(step: int, start: float, steps: int) -> float:
    """0 until `start`, 1 at the last step."""
    return min(1.0, max(0.0, (step - start) / max(1.0, steps - 1 - start)))


def constant(step: int, warmup: int, steps: int, config: ScheduleConfig) -> float:
    return 1.0


def cosine(step: int, warmup: int, steps: int, config: DecayConfig) -> float:
    wave = (1 + math.cos(math.pi * _progress(step, warmup, steps))) / 2
    return config.final + (1 - config.final) * wave


def linear(step: int, warmup: int, steps: int, config: DecayConfig) -> float:
    return 1 - (1 - config.final) * _progress(step, warmup, steps)


def wsd(step: int, warmup: int, steps: int, config: WSDConfig) -> float:
    return 1 - (1 - config.final) * _progress(step, max(warmup, (1 - config.decay) * steps), steps)


def inverse_sqrt(step: int, warmup: int, steps: int, config: ScheduleConfig) -> float:
    return min(1.0, math.sqrt(max(warmup, 1) / (step + 1)))

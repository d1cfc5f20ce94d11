"""Checks of a setting's range; each raises a `ConfigError` that names the key."""

import math

from normlab.errors import require


def positive(value: float, key: str) -> None:
    require(math.isfinite(value) and value > 0, key, f"must be a finite number above 0, got {value}")


def not_negative(value: float, key: str) -> None:
    require(math.isfinite(value) and value >= 0, key, f"must be a finite number, 0 or more, got {value}")


def at_least(value: int, least: int, key: str) -> None:
    require(value >= least, key, f"must be {least} or more, got {value}")


def fraction(value: float, key: str) -> None:
    require(0 < value < 1, key, f"must lie between 0 and 1, got {value}")

"""Checks of a setting's range; each raises a `ConfigError` that names the key."""

import math

from normlab.errors import require


def positive(value: float, key: str, most: float = math.inf) -> None:
    require(math.isfinite(value) and value > 0, key, f"must be a finite number above 0, got {value}")
    require(value <= most, key, f"must be {most:g} or less, got {value}")


def not_negative(value: float, key: str) -> None:
    require(math.isfinite(value) and value >= 0, key, f"must be a finite number, 0 or more, got {value}")


#: No count of anything here is more: what is, is a slip of the hand, or would overflow somewhere.
MOST = 10**12


def at_least(value: int, least: int, key: str, most: int = MOST) -> None:
    require(value >= least, key, f"must be {least} or more, got {value}")
    require(value <= most, key, f"must be {most} or less, got {value}")


def fraction(value: float, key: str) -> None:
    require(0 < value < 1, key, f"must lie between 0 and 1, got {value}")

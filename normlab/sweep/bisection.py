"""The search for a variant's critical learning rate: which rate to try next, from those tried."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from normlab.errors import require
from normlab.stability import is_stable

#: More rates than that are a mistake.
_MOST = 1000


@dataclass(frozen=True, kw_only=True)
class CriticalConfig:
    """The settings of a search; `critical.NAME` on the command line."""

    #: The rates are lowest, lowest * factor, ..., up to the highest.
    lowest: float = 1e-4
    highest: float = 1.0
    factor: float = 2.0
    #: So many steps to either side of a border every rate is tried, for what is not monotone.
    check: int = 1

    def __post_init__(self) -> None:
        for key in ("lowest", "highest", "factor"):
            value = getattr(self, key)
            require(0 < value < math.inf, f"critical.{key}", f"must be a finite number above 0, got {value}")
        require(self.factor > 1, "critical.factor", f"must be above 1, got {self.factor}")
        require(
            self.highest >= self.lowest * self.factor,
            "critical.highest",
            f"must be {self.factor:g} times critical.lowest={self.lowest:g} or more, got {self.highest:g}",
        )
        require(self._count <= _MOST, "critical.factor", f"makes {self._count} rates; give a larger one")
        require(self.check >= 0, "critical.check", f"must be 0 or more, got {self.check}")

    @property
    def _count(self) -> int:
        return 1 + int(math.log(self.highest / self.lowest) / math.log(self.factor) + 1e-9)

    def grid(self) -> list[float]:
        """The rates, rising, each to five digits."""
        return [float(f"{self.lowest * self.factor**step:.5g}") for step in range(self._count)]


#: The words of the command line that only a search has, with their types.
WORDS: dict[str, type] = {
    f"critical.{each.name}": type(each.default) for each in dataclasses.fields(CriticalConfig)
}


@dataclass(kw_only=True)
class Variant:
    """A variant, and what became of its runs, one a seed, at each rate tried."""

    #: What is swept besides the rate and the seed.
    knobs: Mapping[str, Any]
    outcomes: dict[float, list[str]] = field(default_factory=dict)
    #: Why the search for it ended before its end.
    stopped: str = ""

    @property
    def stable(self) -> dict[float, bool]:
        """Whether each rate tried is stable."""
        return {rate: is_stable(words) for rate, words in self.outcomes.items()}


def next_rate(grid: Sequence[float], stable: Mapping[float, bool], check: int) -> float | None:
    """The rate to try next; None once the border is found, and looked at on either side.

    The border lies between the lowest unstable rate and the highest stable one below; the middle of the rates
    between is tried; then all that are up to `check` steps beyond. An unstable one below moves the border
    down, and the search goes on there; a stable one above is told, and the border stays.
    """
    known = {place: stable[rate] for place, rate in enumerate(grid) if rate in stable}
    high = min((place for place, trains in known.items() if not trains), default=len(grid))
    low = max((place for place, trains in known.items() if trains and place < high), default=-1)
    if high - low > 1:
        return grid[(low + high) // 2]
    near = [low - 1 - step for step in range(check)] + [high + 1 + step for step in range(check)]
    return next((grid[place] for place in near if 0 <= place < len(grid) and place not in known), None)

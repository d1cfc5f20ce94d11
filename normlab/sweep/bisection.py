"""The search for a variant's critical learning rate: which rate to try next, from those tried."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from normlab.divergence.outcome import trained
from normlab.errors import require

#: More rates than that are a mistake.
_MOST = 1000
#: The ratio of the rates that are tried first.
_COARSE = 8.0
#: How far outward from a border seeds that disagree are followed, in units of critical.check.
_REACH = 3


@dataclass(frozen=True, kw_only=True)
class CriticalConfig:
    """The settings of a search; `critical.NAME` on the command line."""

    #: The rates are lowest, lowest * factor, ..., up to the highest.
    lowest: float = 1e-4
    highest: float = 1.0
    factor: float = 2.0
    #: Rates on either side of the border at which all seeds must agree, for what is not monotone.
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
        require(0 <= self.check <= _MOST, "critical.check", f"must be 0 to {_MOST}, got {self.check}")

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
    """A variant, and what became of its runs at each rate tried, by seed."""

    #: What is swept besides the rate and the seed.
    knobs: Mapping[str, Any]
    outcomes: dict[float, dict[Any, str]] = field(default_factory=dict)
    #: Why the search for it ended before its end.
    stopped: str = ""

    @property
    def shares(self) -> dict[float, float]:
        """The share of the runs that trained, at each rate tried."""
        return {rate: sum(map(trained, words.values())) / len(words) for rate, words in self.outcomes.items()}


def next_rate(grid: Sequence[float], shares: Mapping[float, float], check: int) -> float | None:
    """The rate to try next, from the shares of runs that trained; None once the border is found.

    First a coarse grid from the top down, in steps of `_COARSE`, until at a rate at least half of the runs
    train: rates that do are found wherever they lie, unless their range is narrower than a step. Then the
    middle between the highest that trains and the lowest above, which fails. Then outward from the two,
    until at `check` rates in a row all runs train below, and none does above.
    """
    known: dict[int, float] = {place: shares[rate] for place, rate in enumerate(grid) if rate in shares}
    high = max((place for place, share in known.items() if share >= 0.5), default=None)
    if high is None:
        place = _coarse(grid, known)
    else:
        above = min((place for place in known if place > high), default=len(grid))
        place = (high + above) // 2 if above - high > 1 else _beyond(len(grid), known, high, check)
    return None if place is None else grid[place]


def _coarse(grid: Sequence[float], known: Mapping[int, float]) -> int | None:
    """The next place from the top down while no rate trains: by coarse steps, then by finer ones."""
    ratio = grid[1] / grid[0] if len(grid) > 1 else _COARSE
    for wanted in (_COARSE, _COARSE ** (1 / 3)):
        step = max(1, round(math.log(wanted) / math.log(ratio)))
        places: list[int] = [*range(len(grid) - 1, -1, -step), 0]
        if untried := [place for place in places if place not in known]:
            return untried[0]
    return None


def _beyond(count: int, known: Mapping[int, float], high: int, check: int) -> int | None:
    """The next place outward from a border between `high` and the one above."""
    for first, sign, agreed in ((high + 2, 1, 0.0), (high - 1, -1, 1.0)):
        alike = 0
        for place in (first + sign * step for step in range(_REACH * check)):
            if alike == check or not 0 <= place < count:
                break
            if place not in known:
                return place
            alike = alike + 1 if known[place] == agreed else 0
    return None

"""Mean and standard deviation of the last values of a series, in constant time a value, without cancellation.

Sums of squares with the oldest taken off again lose all digits once a value of 1e30 has passed. Two stacks of
partial moments only ever put moments together, and so forget such a value altogether when it leaves.
"""

import math
from typing import NamedTuple


class RunningMoments(NamedTuple):
    """Of how many values, their mean, and the sum of squared differences from it."""

    size: int
    mean: float
    squares: float

    def __or__(self, other: "RunningMoments") -> "RunningMoments":
        """Of both sets of values together (Chan, Golub, LeVeque 1979)."""
        size, apart = self.size + other.size, other.mean - self.mean
        share = other.size / size
        return RunningMoments(
            size,
            self.mean + apart * share,
            self.squares + other.squares + apart * apart * self.size * share,
        )

    @property
    def deviation(self) -> float:
        """The standard deviation of these values, divided by their number (not by one less)."""
        return math.sqrt(self.squares / self.size)


class Window:
    """The last `size` values of a series."""

    def __init__(self, size: int) -> None:
        self.size = size
        #: The newer values, and their moments together.
        self._new: list[float] = []
        self._newer: RunningMoments | None = None
        #: For each of the older values, the newest of them first, the moments of it and all between it and
        #: the newest of them.
        self._older: list[RunningMoments] = []

    def __len__(self) -> int:
        return len(self._new) + len(self._older)

    def push(self, value: float) -> None:
        """Take `value` in, and the oldest out where there are too many."""
        if len(self) == self.size:
            if not self._older:
                self._turn()
            self._older.pop()
        single = RunningMoments(1, value, 0.0)
        self._new.append(value)
        self._newer = single if self._newer is None else self._newer | single

    def moments(self) -> RunningMoments:
        """Of the values there are, at least one."""
        if self._newer is None:
            return self._older[-1]
        return self._older[-1] | self._newer if self._older else self._newer

    def _turn(self) -> None:
        together: RunningMoments | None = None
        for value in reversed(self._new):
            single = RunningMoments(1, value, 0.0)
            together = single if together is None else single | together
            self._older.append(together)
        self._new, self._newer = [], None

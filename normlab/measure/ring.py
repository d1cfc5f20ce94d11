"""The latest steps, kept in memory for the moment when something happens."""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

#: Bytes that a number takes in a row of Python floats, and how many a ring may take in all.
BYTES_A_NUMBER, MOST_BYTES = 32, 2**30


def ring_bytes(steps: int, depth: int, heads: int) -> int:
    """About what a ring of this many rows holds at most, every instrument on at every step."""
    return steps * BYTES_A_NUMBER * (depth * (52 + heads) + 53)


class Ring:
    """The rows of the last `steps` steps, whether they were logged or not."""

    def __init__(self, steps: int) -> None:
        self._rows: deque[Mapping[str, Any]] = deque(maxlen=steps)

    def add(self, row: Mapping[str, Any]) -> None:
        self._rows.append(row)

    def fill(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Begin with these, the latest last."""
        self._rows.clear()
        self._rows.extend(rows)

    def unlogged(self, log_every: int) -> list[dict[str, Any]]:
        """The rows of steps that are no multiple of `log_every`: they may be in no file."""
        return [dict(row) for row in self._rows if row["step"] % log_every]

    def arrays(self) -> dict[str, npt.NDArray[np.float64]]:
        """Each metric over the steps, (rows,), NaN where a row lacks it; words are left out."""
        names = dict.fromkeys(
            name for row in self._rows for name, value in row.items() if not isinstance(value, str)
        )
        return {
            name: np.array([row.get(name, np.nan) for row in self._rows], dtype=np.float64) for name in names
        }

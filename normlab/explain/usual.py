"""How large a number usually was before a step."""

from statistics import median
from typing import NamedTuple

from normlab.explain.case import Case, Point, digits

#: Rows before a step that say what is usual.
BEFORE = 32


class Usual(NamedTuple):
    """What a number was before a step."""

    last: Point
    #: The median of the `rows` values before the last; of the last itself where there are none.
    middle: float
    rows: int

    @property
    def times(self) -> float:
        """How many times its usual the last one was."""
        return self.last.value / self.middle

    @property
    def words(self) -> str:
        """`12 times its median of the 30 rows before`."""
        return f"{digits(self.times)} times its median of the {self.rows or 1} rows before"


def usual(case: Case, key: str, step: int) -> Usual | None:
    """What `key` was in the rows before `step`; None where it is in none of them, or is usually 0."""
    points = [point for point in case.series(key) if point.step < step][-BEFORE - 1 :]
    if not points:
        return None
    *earlier, last = points
    middle = median([point.value for point in earlier or points])
    return Usual(last=last, middle=middle, rows=len(earlier)) if middle > 0 else None

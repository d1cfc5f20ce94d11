"""How large a number usually was before a step."""

from statistics import median

from normlab.explain.case import Case, Point

#: So many rows before a step say what is usual.
BEFORE = 32


def usual_and_last(case: Case, key: str, step: int) -> tuple[float, Point | None]:
    """The median of the rows before `step` but for the last, and the last."""
    points = [point for point in case.series(key) if point.step < step][-BEFORE - 1 :]
    if not points:
        return 0.0, None
    return median([point.value for point in points[:-1]] or [points[-1].value]), points[-1]

"""How far a value lies above its own past, robustly: the score of the spike detector."""

from statistics import median
from typing import NamedTuple

#: Normal standard deviations in a median absolute deviation.
SIGMA = 1.4826
#: The least relative scatter that is believed; a run of equal values would make any change infinite.
FLOOR = 1e-3
#: Values whose median stands for the present level.
RECENT = 8
#: Beyond this, differences of values could overflow.
HUGE = 1e100


class Score(NamedTuple):
    """Robust standard deviations above what was expected, that expectation, and one standard deviation."""

    z: float
    expected: float
    scale: float


def clip(value: float) -> float:
    """`value`, no larger than can be computed with."""
    return min(max(value, -HUGE), HUGE)


def score(past: list[float], value: float, logarithmic: bool = False) -> Score:
    """Score `value` against `past`, the accepted values before it (at least four, the oldest first).

        line      through the medians of the two halves of `past`
        level     median of past - line, at the next place
        scale     1.4826 * median |past - line - median|, at least 1e-3 of the expectation
        expected  the larger of `level` and the median of the last 8 values
        z         (value - expected) / scale

    The line keeps a falling trend from hiding a jump. It also runs below a curve that bends out of its fall,
    as all losses do early; hence the larger of the two. Places count accepted values, so that a line is never
    drawn far beyond its data, however long an outlier lasts. The differences of logarithms are relative ones,
    so there the floor is absolute.
    """
    count = len(past)
    half = count // 2
    slope = (median(past[-half:]) - median(past[:half])) / (count - half)
    flat = [x - slope * (i - count) for i, x in enumerate(past)]
    level = median(flat)
    expected = max(level, median(past[-RECENT:]))
    scatter = SIGMA * median([abs(x - level) for x in flat])
    scale = max(scatter, FLOOR * (1.0 if logarithmic else abs(expected)), 1e-12)
    return Score((value - expected) / scale, expected, scale)

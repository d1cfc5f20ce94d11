"""How far a value lies above its own past, robustly: the score of the spike detector."""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import NamedTuple

#: Normal standard deviations in a median absolute deviation.
SIGMA = 1.4826
#: The least relative scatter that is believed; a run of equal values would make any change infinite.
FLOOR = 1e-3
#: Values whose median stands for the present level.
RECENT = 8
#: How many times the scatter by differences is believed where that about the line is larger: less, and noise
#: alone would choose between the two.
BEND = 1.25
#: Scores in a tail, at least; and the heaviest that a tail is taken for.
FEWEST, HEAVIEST = 16, 0.9
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
        scale     1.4826 * median |past - line - median|, or 1.25 * 1.4826 / sqrt(2) * the same of the
                  differences of neighbours, where that is less; at least 1e-3 of the expectation
        expected  the larger of `level` and the median of the last 8 values
        z         (value - expected) / scale

    The line keeps a falling trend from hiding a jump. It also runs below a curve that bends out of its fall,
    as all losses do early; hence the larger of the two. Such a bend is no noise either, and differences of
    neighbours hardly see it: about a line, the scatter of a loss that falls from 5.5 to 2.5 in 60 steps is
    0.3 where its noise is 0.03. Places count accepted values, so that a line is never drawn far beyond its
    data, however long an outlier lasts. The differences of logarithms are relative ones, so there the floor
    is absolute.
    """
    count = len(past)
    half = count // 2
    slope = (median(past[-half:]) - median(past[:half])) / (count - half)
    flat = [x - slope * (i - count) for i, x in enumerate(past)]
    level = median(flat)
    expected = max(level, median(past[-RECENT:]))
    steps = [after - before for before, after in pairwise(past)]
    scatter = min(_deviation(flat, level), BEND * _deviation(steps, median(steps)) / math.sqrt(2))
    scale = max(scatter, FLOOR * (1.0 if logarithmic else abs(expected)), 1e-12)
    return Score((value - expected) / scale, expected, scale)


def _deviation(values: Sequence[float], middle: float) -> float:
    return SIGMA * median([abs(x - middle) for x in values])


def tail_limit(scores: Sequence[float], chance: float) -> float:
    """The score that the next value passes with probability `chance`, as far as `scores` show: at least 16.

    The excesses over a high quantile u, here the largest fifth of the scores, follow a generalized Pareto
    distribution (peaks over threshold: Pickands 1975; for streams, Siffer et al. 2017, SPOT). Of n scores, k
    of them above u, with b_0 = mean(excess) and b_1 = mean(excess * (1 - F)) (probability-weighted moments,
    Hosking, Wallis 1987):

        shape  xi = 2 - b_0 / (b_0 - 2 b_1), held to [0, 0.9], times k / (k + 32)
        size   s = b_0 (1 - xi)
        limit  u + s / xi * ((k / (n chance))^xi - 1), for xi = 0 u + s ln(k / (n chance))

    The factor draws the shape of few values towards 0, an exponential tail, which is more than a normal one.
    """
    ordered = sorted(scores)
    above = min(max(FEWEST, len(ordered) // 5), len(ordered) // 2)
    start = ordered[-above - 1]
    excesses = [x - start for x in ordered[-above:]]
    mean = fmean(excesses)
    weighted = fmean([x * (above - 1 - i) / (above - 1) for i, x in enumerate(excesses)])
    if mean <= 0:
        return start
    shape = 2 - mean / (mean - 2 * weighted) if mean > 2 * weighted else HEAVIEST
    shape = min(max(shape, 0.0), HEAVIEST) * above / (above + 2 * FEWEST)
    size, reach = mean * (1 - shape), above / (len(ordered) * chance)
    growth = math.log(reach) if shape < 1e-6 else (reach**shape - 1) / shape
    return start + size * max(growth, 0.0)

"""The statistics of a comparison, by scipy and statsmodels: what is asked of them, and of how few seeds."""

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
#: Pairs below which nothing is tested: of two, Student's interval is 9 standard deviations wide to each side.
LEAST = 3
#: Pairs from which flipping signs can give a p below `ALPHA`: 2 / 2^6.
FLIPS = 6
#: Pairs up to which all 2^n signs are tried; beyond, this many ways are drawn.
EXACT = 14
RESAMPLES = 9999
#: Share of cases in which a number of seeds shall do, and the most that is worth saying.
POWER = 0.8
MOST = 1000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure over `n` runs with its interval; the interval is None where n does not allow one."""

    value: float
    n: int
    low: float | None = None
    high: float | None = None

    @property
    def half(self) -> float | None:
        """Half the interval's width."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    def record(self) -> dict[str, Any]:
        """As it stands in JSON."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


@dataclass(frozen=True, kw_only=True)
class Time:
    """When something happened; or how long it was waited for, where it did not."""

    value: float
    happened: bool


def mean(values: Sequence[float]) -> Estimate | None:
    """The mean with Student's t interval, mean +- t(n-1) s / sqrt(n); of one value only the value."""
    n = len(values)
    if not n:
        return None
    centre = float(np.mean(values))
    if n == 1:
        return Estimate(value=centre, n=1)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * stats.sem(values))
    return Estimate(value=centre, n=n, low=centre - half, high=centre + half)


def median(values: Sequence[float]) -> Estimate | None:
    """The median with the lowest and highest value; infinite where half of the values are."""
    if not values:
        return None
    # Between a number and infinity lies infinity, and the mean of two numbers may be more than a float holds.
    middle = statistics.median_high(values) if math.inf in values else statistics.median(values)
    return Estimate(value=float(middle), n=len(values), low=min(values), high=max(values))


def rate(count: int, n: int) -> Estimate:
    """A share with Wilson's score interval, which holds at 0 and 1 too."""
    low, high = proportion_confint(count, n, alpha=ALPHA, method="wilson")
    return Estimate(value=count / n, n=n, low=float(low), high=float(high))


@dataclass(frozen=True, kw_only=True)
class Difference:
    """This less that, over pairs. Nothing is tested below `LEAST` pairs, nor where all differ by the same."""

    #: Mean with Student's t interval, which is not given where nothing is tested.
    mean: Estimate
    #: Standard deviation of the differences; None for one pair.
    deviation: float | None = None
    #: Standardized: see `effect_size`.
    effect: float | None = None
    #: Of no difference, by the paired t test, two-sided.
    p: float | None = None
    #: The same by flipping signs; None below `FLIPS` pairs.
    p_flip: float | None = None
    #: Of a difference of at least the margin, by two one-sided paired t tests.
    p_parity: float | None = None

    @property
    def spreads(self) -> bool:
        """Whether the differences are not all equal."""
        return bool(self.deviation)


def difference(this: Sequence[float], that: Sequence[float], margin: float) -> Difference | None:
    """Compare pairs: mean difference, interval, effect size, and the tests of difference and of parity."""
    gaps = np.subtract(this, that)
    n = len(gaps)
    if not n:
        return None
    centre = float(gaps.mean())
    if n == 1:
        return Difference(mean=Estimate(value=centre, n=1))
    # Equal but for the last bits, as 2.52 - 2.02 and 2.5 - 2 are, is equal.
    rounding = 1e-12 * max(np.abs(this).max(), np.abs(that).max())
    deviation = float(np.std(gaps, ddof=1)) if np.ptp(gaps) > rounding else 0.0
    if n < LEAST or not deviation:
        return Difference(mean=Estimate(value=centre, n=n), deviation=deviation)
    half = float(special.stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * deviation / math.sqrt(n)
    return Difference(
        mean=Estimate(value=centre, n=n, low=centre - half, high=centre + half),
        deviation=deviation,
        effect=effect_size(gaps),
        p=paired_t(gaps),
        p_flip=sign_flip(gaps) if n >= FLIPS else None,
        p_parity=tost(gaps, margin),
    )


def difference_of_times(this: Sequence[Time], that: Sequence[Time]) -> Difference | None:
    """Compare times over pairs, some of which did not come: the difference of the medians, infinite where
    half of one side's did not come, and the log-rank test."""
    if not this:
        return None
    ours, theirs = _middle(this), _middle(that)
    # Of two that do not come no difference can be named.
    gap = 0.0 if ours == theirs else ours - theirs
    p = log_rank(this, that) if len(this) >= LEAST else None
    return Difference(mean=Estimate(value=gap, n=len(this)), p=p)


def _middle(times: Sequence[Time]) -> float:
    found = median([each.value if each.happened else math.inf for each in times])
    return math.nan if found is None else found.value


def effect_size(gaps: np.ndarray[Any, Any]) -> float:
    """Cohen's d_z, mean over standard deviation of the differences, times Hedges' small-sample factor.

    J = Gamma(f/2) / (sqrt(f/2) Gamma((f-1)/2)), f = n - 1 (Hedges 1981); for three pairs or more with spread.
    """
    freedom = len(gaps) - 1
    log_factor = special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2) - math.log(freedom / 2) / 2
    return float(math.exp(log_factor) * gaps.mean() / np.std(gaps, ddof=1))


def paired_t(gaps: np.ndarray[Any, Any]) -> float:
    """p of the differences having mean 0, by Student's t, two-sided: 2 P(T(n-1) < -|mean| sqrt(n) / s)."""
    return 2 * _below(gaps, -abs(float(gaps.mean())))


def tost(gaps: np.ndarray[Any, Any], margin: float) -> float:
    """p of their mean being `margin` or more away from 0: the larger of two one-sided t tests' (TOST)."""
    return _below(gaps, abs(float(gaps.mean())) - margin)


def _below(gaps: np.ndarray[Any, Any], distance: float) -> float:
    """P(T(n-1) < distance / standard error of the mean)."""
    error = np.std(gaps, ddof=1) / math.sqrt(len(gaps))
    return float(special.stdtr(len(gaps) - 1, distance / error))


def sign_flip(gaps: np.ndarray[Any, Any]) -> float:
    """p of the differences being symmetric about 0: the share of all ways to choose their signs in which the
    mean is as far from 0 (Fisher 1935). All 2^n up to `EXACT` pairs, else `RESAMPLES` with a fixed seed.

    It needs no normal distribution, and is as wrong as t where the differences are skewed.
    """
    n = len(gaps)
    limit = abs(gaps.sum()) - 1e-9 * np.abs(gaps).sum()
    if n <= EXACT:
        # The first sign may stay: flipping all changes nothing but the side.
        bits = np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1
        return float(np.mean(np.abs((1 - 2 * bits) @ gaps) >= limit))
    signs = 1 - 2 * np.random.default_rng(0).integers(0, 2, (RESAMPLES, n))
    # With the signs as they are among those drawn, p is never 0 and the test no larger than it says.
    return float((np.sum(np.abs(signs @ gaps) >= limit) + 1) / (RESAMPLES + 1))


def seeds_for_parity(deviation: float, margin: float, alpha: float = ALPHA) -> int | None:
    """Pairs at which `tost` would find parity in `POWER` of cases, if there is no difference and the
    differences have this standard deviation; None if more than `MOST` would not do."""
    low, high = LEAST - 1, LEAST
    while _parity_power(high, deviation, margin, alpha) < POWER:
        low, high = high, 2 * high
        if low >= MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        enough = _parity_power(middle, deviation, margin, alpha) >= POWER
        low, high = (low, middle) if enough else (middle, high)
    return high


def _parity_power(n: int, deviation: float, margin: float, alpha: float) -> float:
    """P(|mean| < margin - t(n-1) s / sqrt(n)) without a difference: over the quantiles of s, the normal
    probability of the mean."""
    shares = (np.arange(200) + 0.5) / 200
    spread = deviation * np.sqrt(special.chdtri(n - 1, shares) / (n - 1))
    room = margin * math.sqrt(n) - special.stdtrit(n - 1, 1 - alpha) * spread
    return float(np.mean(np.where(room > 0, 2 * special.ndtr(room / deviation) - 1, 0.0)))


def mcnemar(this: int, that: int) -> float:
    """p of two rates over pairs being the same, of the pairs in which only this or only that happened:
    McNemar's exact test, 2 P(B(this + that, 1/2) <= the smaller), at most 1."""
    return min(1.0, 2 * float(special.bdtr(min(this, that), this + that, 0.5)))


def log_rank(this: Sequence[Time], that: Sequence[Time]) -> float | None:
    """p of two sets of times, some only known to be longer, being of one distribution: the log-rank statistic
    among all ways to choose which are whose, or `RESAMPLES` of them with a fixed seed.

    The statistic is the sum over this set of [it happened] - sum over times s up to its own of
    happened(s) / at risk(s), observed less expected (Mantel 1966). Its normal approximation, as in
    scipy.stats.logrank, is too small for few: 5 % are 10 at 3 against 3, and 7 at 5 against 5. None where
    nothing can be tested: nothing happened, or everything at once.
    """
    times = np.array([each.value for each in (*this, *that)])
    happened = np.array([each.happened for each in (*this, *that)], dtype=float)
    at_risk = np.sum(times[None, :] >= times[:, None], axis=1)
    scores = happened - (times[None, :] <= times[:, None]) @ (happened / at_risk)
    if np.ptp(scores) < 1e-12:
        return None
    n, total = len(this), len(times)
    limit = abs(scores[:n].sum()) - 1e-9
    if math.comb(total, n) <= RESAMPLES:
        sums = np.array([scores[list(chosen)].sum() for chosen in itertools.combinations(range(total), n)])
        return float(np.mean(np.abs(sums) >= limit))
    orders = np.random.default_rng(0).permuted(np.tile(scores, (RESAMPLES, 1)), axis=1)
    return float((np.sum(np.abs(orders[:, :n].sum(axis=1)) >= limit) + 1) / (RESAMPLES + 1))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """The p values corrected for all of them (Holm 1979); None stays None and counts for nothing."""
    there = [value for value in values if value is not None]
    corrected = iter(multipletests(there, method="holm")[1] if there else [])
    return [None if value is None else float(next(corrected)) for value in values]


def fisher(count: int, n: int, other: int, m: int) -> float:
    """p of two shares, count of n and other of m, being the same: Fisher's exact test, two-sided."""
    return float(stats.fisher_exact([[count, n - count], [other, m - other]])[1])


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The least-squares slope of y against x."""
    return float(stats.linregress(x, y).slope)

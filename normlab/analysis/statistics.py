"""The statistics of a comparison, by scipy and statsmodels: what is asked of them, and of how few seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import ttost_paired

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
RESAMPLES = 9999
#: Below this many seeds a bootstrap interval is known to be too narrow.
FEW = 5


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
    # Between a number and infinity lies infinity; numpy's mean of the two would be no number between two.
    middle = float(np.quantile(values, 0.5, method="higher" if math.inf in values else "linear"))
    return Estimate(value=middle, n=len(values), low=min(values), high=max(values))


def rate(count: int, n: int) -> Estimate:
    """A share with Wilson's score interval, which holds at 0 and 1 too."""
    low, high = proportion_confint(count, n, alpha=ALPHA, method="wilson")
    return Estimate(value=count / n, n=n, low=float(low), high=float(high))


@dataclass(frozen=True, kw_only=True)
class Difference:
    """This less that, over pairs."""

    #: Mean with the bootstrap interval of the mean.
    mean: Estimate
    #: Standardized: see `effect_size`.
    effect: float | None
    #: Of no difference, by the paired t test, two-sided.
    p: float | None
    #: Of a difference of at least the margin, by two one-sided paired t tests.
    p_parity: float | None


def difference(this: Sequence[float], that: Sequence[float], margin: float) -> Difference | None:
    """Compare pairs: mean difference, interval, effect size, and the tests of difference and of parity."""
    gaps = np.subtract(this, that)
    n = len(gaps)
    if not n:
        return None
    if n == 1:
        return Difference(mean=Estimate(value=float(gaps[0]), n=1), effect=None, p=None, p_parity=None)
    centre = float(gaps.mean())
    low, high = _bootstrap(gaps)
    return Difference(
        mean=Estimate(value=centre, n=n, low=low, high=high),
        effect=effect_size(gaps),
        p=paired_t(gaps),
        p_parity=tost(gaps, margin),
    )


def _bootstrap(gaps: np.ndarray[Any, Any]) -> tuple[float, float]:
    """The bias-corrected and accelerated bootstrap interval of the mean (Efron 1987), with a fixed seed."""
    if np.ptp(gaps) == 0:
        return float(gaps[0]), float(gaps[0])
    interval = stats.bootstrap(
        (gaps,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def effect_size(gaps: np.ndarray[Any, Any]) -> float | None:
    """Cohen's d_z, mean over standard deviation of the differences, times Hedges' small-sample factor.

    J = Gamma(f/2) / (sqrt(f/2) Gamma((f-1)/2)), f = n - 1 (Hedges 1981). None below three pairs, or where all
    differences are equal.
    """
    freedom = len(gaps) - 1
    deviation = float(np.std(gaps, ddof=1)) if freedom else 0.0
    if freedom < 2 or not deviation:
        return None
    log_factor = special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2) - math.log(freedom / 2) / 2
    return float(math.exp(log_factor) * gaps.mean() / deviation)


def paired_t(gaps: np.ndarray[Any, Any]) -> float:
    """p of the differences having mean 0, by Student's t, two-sided."""
    if np.ptp(gaps) == 0:  # no spread: certain either way
        return float(gaps[0] == 0)
    return float(stats.ttest_1samp(gaps, 0.0).pvalue)


def tost(gaps: np.ndarray[Any, Any], margin: float) -> float:
    """p of their mean being `margin` or more away from 0: the larger of two one-sided t tests' (TOST)."""
    if np.ptp(gaps) == 0:
        return float(abs(gaps[0]) >= margin)
    return float(ttost_paired(gaps, np.zeros(len(gaps)), -margin, margin)[0])


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

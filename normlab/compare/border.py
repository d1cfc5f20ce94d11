"""Where training stops along an axis, from runs that trained or did not: a logistic fit with its interval.

The border is the value at which half of the runs train. All trials count, whatever their number at a value,
so that it means the same with one seed and with ten.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from normlab.divergence.outcome import DIVERGED, STUCK, trained
from normlab.statistics import CONFIDENCE

#: Outcomes by the value tried, each by its seed.
Trials = Mapping[float, Mapping[Any, str]]
#: The drop of the log-likelihood that bounds a profile interval: half a quantile of chi-square, 1 degree.
_DROP = float(stats.chi2.ppf(CONFIDENCE, 1)) / 2
#: Widths s that the fit tries, in units of log value: from a step to a fall over many octaves.
_WIDTHS = np.geomspace(0.01, 8.0, 20)
#: Steps between the borders that it tries, and how far beyond the values tried, in the same unit.
_STEP, _BEYOND = 0.02, 6.0
#: Fewer seeds say nothing of how far seeds differ.
_SEEDS = 3


@dataclass(frozen=True, kw_only=True)
class Border:
    """Where training stops along an axis."""

    #: The value at which half of the runs train; None where the values tried do not enclose it.
    value: float | None
    #: The 95 % interval; None is an open end.
    low: float | None
    high: float | None
    #: Runs that the fit rests on, and their seeds.
    runs: int
    seeds: int
    #: The borders that fit equally well: one, or where the trials are parted cleanly all between two values.
    bracket: tuple[float, float]
    #: `trains` is the highest value at which at least half of the runs train, `fails` the next value above it
    #: that was tried. Both are None where no value trains and the runs at the lowest did not diverge, but
    #: only learnt too little.
    trains: float | None
    fails: float | None
    #: Values below `trains` at which more than half fail: the axis is not monotone.
    gaps: tuple[float, ...] = ()
    #: Values below the first that trains, which are left out: too low to learn anything in so few steps.
    slow: tuple[float, ...] = ()

    def record(self) -> dict[str, Any]:
        """As it stands in JSON."""
        names = ("value", "low", "high", "trains", "fails", "runs", "seeds")
        return {name: getattr(self, name) for name in names}


def fit_border(trials: Trials) -> Border:
    """The border of an axis of positive values, from at least one trial.

    p(trains) = 1 / (1 + exp((log value - log border) / s)), s > 0, fitted by maximum likelihood; the interval
    holds every border whose profile likelihood, s being free, is within chi-square of the best. Where the
    trials are parted cleanly all borders between them are alike: their geometric middle is taken, and the
    interval holds them all.

    Trials of one seed are alike, which the likelihood does not know. So from three seeds on the interval is
    widened to Student's interval of the mean of the seeds' own log borders, where that is wider.
    """
    values = sorted(trials)
    shares = {value: share(list(trials[value].values())) for value in values}
    trains = max((value for value in values if shares[value] >= 0.5), default=None)
    fails = min((value for value in values if trains is None or value > trains), default=None)
    slow = _slow(trials, shares)
    kept = {value: trials[value] for value in values if value not in slow}
    seeds = list(dict.fromkeys(seed for words in kept.values() for seed in words))
    fit = _fit(kept)
    low, high = min(fit.low, fit.flat[0]), max(fit.high, fit.flat[1])
    if trains is not None and fails is not None and len(seeds) >= _SEEDS:
        low, high = _widened(kept, seeds, low, high)
    if trains is None and not _breaks(trials[values[0]]):
        # The lowest value has learnt too little: nothing says that it is too high.
        low, high, fails = -math.inf, math.inf, None
    enclosed = trains is not None and fails is not None
    return Border(
        value=math.exp(fit.middle) if enclosed else None,
        low=_end(low),
        high=_end(high),
        runs=sum(map(len, kept.values())),
        seeds=len(seeds),
        bracket=(math.exp(fit.flat[0]), math.exp(fit.flat[1])),
        trains=trains,
        fails=fails,
        gaps=tuple(value for value in kept if trains is not None and value < trains and shares[value] < 0.5),
        slow=slow,
    )


def share(words: Sequence[str]) -> float:
    """The share of runs that trained."""
    return sum(map(trained, words)) / len(words)


def _slow(trials: Trials, shares: Mapping[float, float]) -> tuple[float, ...]:
    """The values below the first that trains at which runs that fail have only learnt too little."""
    first = min((value for value, part in shares.items() if part >= 0.5), default=-math.inf)
    below = [value for value in shares if value < first]
    broken = [value for value in below if _breaks(trials[value])]
    # What breaks is not slow, and so is nothing below it: there the axis is not monotone.
    return tuple(value for value in below if all(value > other for other in broken))


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """A fit of the log border: its interval, with infinite ends where open, and what fits equally well."""

    low: float
    high: float
    flat: tuple[float, float]

    @property
    def middle(self) -> float:
        return sum(self.flat) / 2


def _breaks(words: Mapping[Any, str]) -> bool:
    """Whether a run diverged, rather than learnt too little."""
    return bool(set(words.values()) & ({*DIVERGED} - {STUCK}))


def _fit(trials: Trials) -> _Fit:
    x, k, n = _counts(trials)
    borders = np.arange(x.min() - _BEYOND, x.max() + _BEYOND, _STEP)
    z = (borders[:, None, None] - x) / _WIDTHS[:, None]
    likelihood = -(k * np.logaddexp(0, -z) + (n - k) * np.logaddexp(0, z)).sum(axis=2)
    profile = likelihood.max(axis=1)
    # Infinitely far away the share is the same at every value: at most a half below, at least a half above.
    whole = float(k.sum() / n.sum())
    beyond = [_constant(k, n, min(whole, 0.5)), _constant(k, n, max(whole, 0.5))]
    best = max(float(profile.max()), *beyond)
    inside = borders[profile >= best - _DROP]
    flat = borders[profile >= float(profile.max()) - 1e-6]
    low = -math.inf if beyond[0] >= best - _DROP or not len(inside) else float(inside[0])
    high = math.inf if beyond[1] >= best - _DROP or not len(inside) else float(inside[-1])
    return _Fit(low=low, high=high, flat=_parted(x, k, n) or (float(flat[0]), float(flat[-1])))


def _parted(x: Any, k: Any, n: Any) -> tuple[float, float] | None:
    """The log values between which the trials are parted cleanly: all train below, none above."""
    below, above = x[k == n], x[k == 0]
    if len(below) + len(above) < len(x) or not len(below) or not len(above) or below.max() > above.min():
        return None
    return float(below.max()), float(above.min())


def _counts(trials: Trials) -> tuple[Any, Any, Any]:
    """Log values, and at each the number of runs that trained and of all."""
    n = np.array([len(words) for words in trials.values()], dtype=float)
    k = np.array([sum(map(trained, words.values())) for words in trials.values()], dtype=float)
    return np.log(list(trials)), k, n


def _constant(k: Any, n: Any, p: float) -> float:
    """The log-likelihood of one share p at every value."""
    ones, zeros = float(k.sum()), float((n - k).sum())
    return sum(count * math.log(part) for count, part in ((ones, p), (zeros, 1 - p)) if count)


def _widened(trials: Trials, seeds: Sequence[Any], low: float, high: float) -> tuple[float, float]:
    """The interval widened to Student's of the seeds' own log borders.

    A seed that trained, or failed, at every value is taken to be half a step beyond them.
    """
    values = sorted(trials)
    step = math.log(values[-1] / values[0]) / max(len(values) - 1, 1)
    ends = math.log(values[0]) - step / 2, math.log(values[-1]) + step / 2
    own = []
    for seed in seeds:
        mine = {value: {seed: words[seed]} for value, words in trials.items() if seed in words}
        parted = _parted(*_counts(mine))
        own.append(float(np.clip(sum(parted) / 2 if parted else _fit(mine).middle, *ends)))
    centre = float(np.mean(own))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(own) - 1) * stats.sem(own))
    return min(low, centre - half), max(high, centre + half)


def _end(log: float) -> float | None:
    return math.exp(log) if math.isfinite(log) else None


@dataclass(frozen=True, kw_only=True)
class BorderSlope:
    """A log-log slope of borders against a knob, with its 95 % interval; None is an open end."""

    value: float
    low: float | None
    high: float | None
    n: int

    def record(self) -> dict[str, Any]:
        """As it stands in JSON."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


def slope_of_borders(x: Sequence[float], borders: Sequence[Border]) -> BorderSlope | None:
    """The least-squares slope of log border against log x; None unless every border is enclosed.

    The slope is sum of w_i log(border_i), w_i = (log x_i - mean) / sum (log x - mean)^2. What the steps of
    the grid leave open, the borders' brackets, may be off the same way at each x: it is added up, sum of
    |w_i| times half a bracket. What the intervals reach beyond the brackets is chance, and adds up as
    sqrt(sum (w_i reach_i)^2), each reach being the one that draws the slope that way (MOVER: Zou & Donner
    2008, Statistics in Medicine 27, 1693).
    """
    values = [each.value for each in borders if each.value is not None]
    if len(x) < 2 or len(values) < len(borders):
        return None
    logs = np.log(x)
    weights = (logs - logs.mean()) / np.square(logs - logs.mean()).sum()
    value = float(weights @ np.log(values))
    grid = down = up = 0.0
    for weight, each in zip(weights.tolist(), borders, strict=True):
        if weight:
            below, above = _reaches(each)
            grid += abs(weight) * math.log(each.bracket[1] / each.bracket[0]) / 2
            down += (weight * (below if weight > 0 else above)) ** 2
            up += (weight * (above if weight > 0 else below)) ** 2
    low, high = value - grid - math.sqrt(down), value + grid + math.sqrt(up)
    return BorderSlope(
        value=value,
        low=low if math.isfinite(low) else None,
        high=high if math.isfinite(high) else None,
        n=len(x),
    )


def _reaches(border: Border) -> tuple[float, float]:
    """How far the interval reaches below and above the bracket, in logs; infinite at an open end."""
    low, high = border.bracket
    below = math.inf if border.low is None else max(math.log(low / border.low), 0.0)
    above = math.inf if border.high is None else max(math.log(border.high / high), 0.0)
    return below, above

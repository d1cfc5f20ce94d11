"""Slopes on log-log axes, one a seed, with their mean, spread and confidence interval."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import stdtrit

#: What a row has besides its group and its quantities.
Row = Mapping[str, Any]
#: Blocks below this are left out of a slope against the block: the first few are not yet on the trend.
FIRST_BLOCK = 4
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Slope:
    """A slope over `seeds` seeds; mean, sd and interval are None where there is none: `problem` says why."""

    group: Mapping[str, Any]
    quantity: str
    against: str
    mean: float | None = None
    sd: float | None = None
    ci: tuple[float, float] | None = None
    seeds: int = 0
    problem: str = ""

    def record(self) -> dict[str, Any]:
        """As it stands in JSON."""
        interval = None if self.ci is None else list(self.ci)
        figures = {"mean": self.mean, "sd": self.sd, "ci": interval, "seeds": self.seeds}
        named = {**self.group, "quantity": self.quantity, "against": self.against, **figures}
        return named | ({"problem": self.problem} if self.problem else {})


def slope(group: Mapping[str, Any], quantity: str, rows: Sequence[Row], by_block: str = "") -> Slope:
    """The slope of ln(quantity) against ln(depth) over the seeds of a group's rows.

    With `by_block`, the key of a series, against ln(block) from `FIRST_BLOCK` on at the largest depth.
    """
    against = "block" if by_block else "depth"
    curves = _block_curves(rows, by_block) if by_block else _depth_curves(rows, quantity)
    fitted, problems = [], []
    for curve in curves:
        problem = _unusable(curve, against)
        problems += [problem] if problem else []
        fitted += [] if problem else [log_slope(*zip(*curve, strict=True))]
    why = problems[0] if problems else "" if curves else "no seed is complete"
    found = Slope(group=group, quantity=quantity, against=against, seeds=len(fitted), problem=why)
    if not fitted:
        return found
    if problems:
        why = f"{len(problems)} of {len(curves)} seeds left out: {why}"
    mean, sd, ci = summarize(fitted)
    if sd is None and not why:
        why = "one seed: no spread"
    return replace(found, mean=mean, sd=sd, ci=ci, problem=why)


#: Points of one seed: (depth or block, value).
Curve = list[tuple[int, float]]


def _depth_curves(rows: Sequence[Row], quantity: str) -> list[Curve]:
    """One curve a seed, of those seeds that have every depth."""
    depths = sorted({row["depth"] for row in rows})
    curves: dict[int, dict[int, float]] = {}
    for row in rows:
        curves.setdefault(row["seed"], {})[row["depth"]] = row[quantity]
    return [sorted(curve.items()) for curve in curves.values() if len(curve) == len(depths)]


def _block_curves(rows: Sequence[Row], by_block: str) -> list[Curve]:
    deepest = max((row["depth"] for row in rows), default=0)
    return [
        [(block, value) for block, value in enumerate(row[by_block], start=1) if block >= FIRST_BLOCK]
        for row in rows
        if row["depth"] == deepest
    ]


def _unusable(curve: Curve, against: str) -> str:
    """Why no slope can be fitted to a curve; empty where one can."""
    if len(curve) < 2:
        return {
            "depth": "one depth: a slope needs two or more",
            "block": f"a slope against blocks from {FIRST_BLOCK} on needs depth {FIRST_BLOCK + 1} or more",
        }[against]
    for place, value in curve:
        if not math.isfinite(value):
            return f"not finite at {against} {place}"
        if value <= 0:
            return f"not above 0 at {against} {place}"
    return ""


def log_slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The least-squares slope of ln y against ln x."""
    log_x, log_y = np.log(np.asarray(x, dtype=float)), np.log(np.asarray(y, dtype=float))
    centred = log_x - log_x.mean()
    return float(centred @ log_y / (centred @ centred))


def summarize(values: Sequence[float]) -> tuple[float, float | None, tuple[float, float] | None]:
    """Mean, sample standard deviation and Student's 95 % interval of the mean; of one value only the mean."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None, None
    sd = float(np.std(values, ddof=1))
    half = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * sd / math.sqrt(len(values))
    return mean, sd, (mean - half, mean + half)

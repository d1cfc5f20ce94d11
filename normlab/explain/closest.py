"""Of a stable run: which detector came nearest to its threshold."""

import math
from dataclasses import dataclass
from typing import Any

from normlab.catalogue.optimizers import OPTIMIZERS
from normlab.divergence.robust import score
from normlab.divergence.vanishing import clipping, compared
from normlab.explain.case import Case, Point, digits, largest, smallest


@dataclass(frozen=True, kw_only=True)
class Closest:
    """A detector's nearest miss; `share` of 1 would have been at its threshold."""

    detector: str
    share: float
    point: Point
    threshold: float

    @property
    def text(self) -> str:
        told = (
            f"{self.detector}: {self.point.metric} was {digits(self.point.value)} at step {self.point.step}; "
            f"the threshold is {digits(self.threshold)}"
        )
        if self.share >= 1:
            return f"{told}, which it passed for a shorter time than the detector asks for."
        return f"{told} ({100 * self.share:.0f} % of the way)."

    def record(self) -> dict[str, Any]:
        return {
            "detector": self.detector,
            "share": self.share,
            "metric": self.point.metric,
            "step": self.point.step,
            "place": self.point.place or None,
            "value": self.point.value,
            "threshold": self.threshold,
        }


def closest(case: Case) -> Closest | None:
    """The detector of single numbers, or of spikes of the loss, that came nearest; None without numbers."""
    limits = case.config.divergence
    found: list[Closest] = []
    logit = largest(case.families("attention/max_logit"))
    if logit is not None and logit.value > 0:
        found.append(_high("logit_growth", logit, limits.logit_growth.limit))
    share = smallest(case.families("attention/entropy_share"))
    if share is not None:
        found.append(_low("entropy_collapse", share, limits.entropy_collapse.share))
    found += _vanishing(case)
    spike = _spike(case, limits.spike.window)
    if spike is not None:
        found.append(_high("spike", spike, limits.spike.z))
    return max(found, key=lambda each: each.share, default=None)


def _vanishing(case: Case) -> list[Closest]:
    """Of each way in which the optimizer steps, the layer whose gradient is least beside its limit."""
    factor, found = case.config.divergence.vanishing.factor, []
    shares = {row["step"]: clipping(row) for row in case.rows}
    for least in OPTIMIZERS[case.config.optimizer.name].least(case.config.optimizer):
        points = []
        for each in compared(least, dict.fromkeys(case.layers, 1)).values():
            for point in case.series(each.metric):
                share = shares[point.step] if each.before_clipping else 1.0
                points.append(Point(point.step, point.value * share, each.place, each.metric))
        low = smallest([point for point in points if point.value > 0 and point.step >= case.config.warmup])
        if low is not None:
            found.append(_low("vanishing", low, factor * least.value))
    return found


def _high(detector: str, point: Point, threshold: float) -> Closest:
    return Closest(detector=detector, share=point.value / threshold, point=point, threshold=threshold)


def _low(detector: str, point: Point, threshold: float) -> Closest:
    share = threshold / point.value if point.value > 0 else math.inf
    return Closest(detector=detector, share=share, point=point, threshold=threshold)


def _spike(case: Case, window: int) -> Point | None:
    """The largest robust score of the loss, as the detector `spike` reckons it."""
    points = case.series("loss")
    scored = [
        Point(
            now.step, score([p.value for p in points[i - window : i]], now.value).z, "", "z-score of the loss"
        )
        for i, now in enumerate(points)
        if i >= window
    ]
    return largest(scored)

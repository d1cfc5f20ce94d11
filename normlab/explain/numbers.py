"""What the instruments showed: numbers at the start, around the onset of the trouble and at the end."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from normlab.explain.case import Case, Point, largest, smallest

#: Numbers that never changed by as much as this factor say little.
MOVED = 2.0


@dataclass(frozen=True, kw_only=True)
class Moved:
    """One kind of number, at some of the steps at which it was measured."""

    name: str
    start: Point
    #: The last measurement after the start and before the onset, and that of the onset's own row; None where
    #: there is none.
    before: Point | None
    onset: Point | None
    end: Point
    #: How far it went in the whole run, as a factor of 1 or more; what is not finite is left out.
    factor: float

    def record(self) -> dict[str, Any]:
        points = {"start": self.start, "before": self.before, "onset": self.onset, "end": self.end}
        return {"name": self.name} | {
            when: None
            if point is None
            else {"step": point.step, "value": point.value, "place": point.place or None}
            for when, point in points.items()
        }


#: Which layer's value of a step stands for it.
Pick = Callable[[Sequence[Point]], Point | None]


def _growth(points: Sequence[Point]) -> Point | None:
    """The last layer's over the first one's."""
    if len(points) < 2 or points[0].value <= 0:
        return None
    return Point(points[0].step, points[-1].value / points[0].value)


_SINGLE = {
    "learning rate": "lr",
    "gradient norm": "grad_norm/global",
    "gradient, first / last": "grad_norm/first_to_last",
    "log Z": "output/log_z",
    "token loss, 99th percentile": "output/loss_p99",
}
_LAYERED: dict[str, tuple[str, Pick]] = {
    "gradient RMS, least": ("grad_rms", smallest),
    "update / weights, most": ("update/ratio", largest),
    "stream, last / first": ("stream/rms", _growth),
    "attention logit, most": ("attention/max_logit", largest),
    "attention entropy, least": ("attention/entropy_share", smallest),
}


def numbers(case: Case) -> list[Moved]:
    """All that was measured, in a fixed order."""
    found = [_moved(name, case.readings(key), case.onset) for name, key in _SINGLE.items()]
    found += [_moved(name, _picked(case, *pick), case.onset) for name, pick in _LAYERED.items()]
    return [moved for moved in found if moved is not None]


def _picked(case: Case, family: str, pick: Pick) -> list[Point]:
    """One value a step; one that is not finite, where a layer has such."""
    by_step: dict[int, list[Point]] = {}
    for layer in case.layers:
        for point in case.readings(f"{family}/{layer}"):
            by_step.setdefault(point.step, []).append(point)
    found = []
    for _, points in sorted(by_step.items()):
        broken = next((point for point in points if not math.isfinite(point.value)), None)
        found.append(broken or pick(points))
    return [point for point in found if point is not None]


def _moved(name: str, points: Sequence[Point], onset: int) -> Moved | None:
    sizes = [abs(point.value) for point in points if math.isfinite(point.value)]
    if not sizes:
        return None
    low, high = min(sizes), max(sizes)
    return Moved(
        name=name,
        start=points[0],
        before=next((p for p in reversed(points) if points[0].step < p.step < onset), None),
        onset=next((point for point in points if point.step == onset), None),
        end=points[-1],
        factor=high / low if low > 0 else math.inf if high > 0 else 1.0,
    )

"""What the instruments showed: numbers at the start, at the onset of the trouble and at the end."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from normlab.explain.case import Case, Point, largest, smallest

#: Numbers that changed by less than this factor say little.
MOVED = 2.0


@dataclass(frozen=True, kw_only=True)
class Moved:
    """One kind of number. `before` is the last measurement up to the onset."""

    name: str
    start: Point
    before: Point
    end: Point

    @property
    def factor(self) -> float:
        """How far it went, as a factor of 1 or more."""
        values = [abs(point.value) for point in (self.start, self.before, self.end)]
        low, high = min(values), max(values)
        return high / low if low > 0 else math.inf if high > 0 else 1.0

    def record(self) -> dict[str, Any]:
        points = {"start": self.start, "before": self.before, "end": self.end}
        return {"name": self.name} | {
            when: {"step": point.step, "value": point.value, "place": point.place or None}
            for when, point in points.items()
        }


#: What it is called, the family, and which layer's value of a step stands for it.
Pick = Callable[[list[Point]], Point | None]


def _growth(points: list[Point]) -> Point | None:
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
    found = [_single(case, name, key) for name, key in _SINGLE.items()]
    found += [_layered(case, name, *pick) for name, pick in _LAYERED.items()]
    return [moved for moved in found if moved is not None]


def _single(case: Case, name: str, key: str) -> Moved | None:
    points = case.series(key)
    before = case.at(key, case.onset)
    return None if before is None else Moved(name=name, start=points[0], before=before, end=points[-1])


def _layered(case: Case, name: str, family: str, pick: Pick) -> Moved | None:
    steps = sorted({point.step for point in case.families(family)})
    if not steps:
        return None
    until = max((step for step in steps if step <= case.onset), default=steps[0])
    start, before, end = (pick(case.depth_at(family, step)) for step in (steps[0], until, steps[-1]))
    if start is None or before is None or end is None:
        return None
    return Moved(name=name, start=start, before=before, end=end)

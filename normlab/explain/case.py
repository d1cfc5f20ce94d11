"""The facts of a run that a diagnosis looks at: series of its numbers, its events, when the trouble began."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from statistics import median
from typing import Any, NamedTuple

from normlab.config import laws
from normlab.config.sublayer import SublayerConfig
from normlab.divergence.outcome import OUTCOMES, UNTRAINED, known_floors, recorded_outcome
from normlab.divergence.robust import RECENT
from normlab.divergence.watch import Watch
from normlab.runs.recorded import Recorded
from normlab.runs.replay import fold

#: Logged steps that a loss is averaged over: single batches are noisy.
SPAN = 20
#: Letters of an event's message at most: ours have some hundred, and a foreign one may have millions.
_LONGEST = 2_000
#: Outcomes after which a run is as before, so that each of its events may have a cause of its own.
RETURNS = ("spiked", "stable", UNTRAINED)


class Point(NamedTuple):
    """A number of one row; `place` is empty where it has none."""

    step: int
    value: float
    place: str = ""
    metric: str = ""


class Case:
    """A run, its rows turned into series. Numbers that are not finite are left out of them."""

    def __init__(self, known: Recorded) -> None:
        self.known, self.config = known, known.config
        self.rows: Sequence[Mapping[str, Any]] = known.rows
        found = known.events
        if found is None:
            found = [event.record() for event in self._watch.events]
        self.events = sorted(map(_whole, found), key=lambda event: event["step"])
        self._series: dict[str, list[Point]] = {}

    @cached_property
    def _watch(self) -> Watch:
        """The detectors after all rows."""
        return fold(self.config, self.known)

    @cached_property
    def outcome(self) -> str:
        """As in the summary; from the rows where that has none."""
        if self.known.summary.get("outcome") is None:
            return self._watch.outcome
        return recorded_outcome(self.known.summary, self.config.divergence.plateau.tolerance)

    @cached_property
    def troubled(self) -> bool:
        """Whether any detector saw something, be the loss stable or not."""
        return self.outcome != "stable" or bool(self.events)

    @cached_property
    def visible(self) -> bool:
        """Whether there is trouble of which there are rows."""
        return self.troubled and self.onset <= self.last

    @cached_property
    def decisive(self) -> Mapping[str, Any] | None:
        """The first event that speaks for the outcome; of a stable run, the first."""
        return next((event for event in self.events if self._speaks(event)), None)

    def _speaks(self, event: Mapping[str, Any]) -> bool:
        """Whether `event` speaks for the outcome; any does for one that no event could."""
        speaks = OUTCOMES.get(self.outcome) if self.outcome != UNTRAINED else None
        # To an earlier version a step that was skipped made the whole run nonfinite.
        return speaks is None or event["kind"] == self.outcome or speaks(event, self.level)

    @cached_property
    def level(self) -> float | None:
        """The median of the last losses: where the loss is at the end."""
        last = [point.value for point in self.series("loss")[-RECENT:]]
        return median(last) if last else None

    @cached_property
    def onset(self) -> int:
        """The step at which the trouble began, as far as detectors tell; of a stable run, the last."""
        return self.began(self.decisive) if self.decisive else self.last

    @cached_property
    def latest(self) -> int:
        """No cause shows later: the onset, or where runs come back, that of the last such event."""
        if self.outcome not in RETURNS:
            return self.onset
        return max([self.onset, *(self.began(event) for event in self.events if self._speaks(event))])

    def began(self, event: Mapping[str, Any]) -> int:
        """The first of the consecutive steps that a detector waited for."""
        own = getattr(self.config.divergence, str(event["kind"]), None)
        waited = 1 if event["kind"] == "spike" else getattr(own, "steps", getattr(own, "window", 1))
        return max(int(event["step"]) - waited + 1, int(self.rows[0]["step"]))

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["kind"] == kind]

    @cached_property
    def floors(self) -> dict[str, float]:
        return known_floors(self.known.summary)

    @cached_property
    def layers(self) -> list[str]:
        """`layer_00` and so on, those that any row speaks of."""
        return [f"layer_{index:02d}" for index in range(self.config.depth)]

    def readings(self, key: str) -> list[Point]:
        """All values of `key`, in order, be they finite or not."""
        place = next((part for part in key.split("/") if part.startswith("layer_")), "")
        return [Point(row["step"], float(row[key]), place, key) for row in self.rows if key in row]

    def series(self, key: str) -> list[Point]:
        """The finite values of `key`, in order."""
        if key not in self._series:
            self._series[key] = [point for point in self.readings(key) if math.isfinite(point.value)]
        return self._series[key]

    def families(self, family: str, until: int | None = None) -> Iterator[Point]:
        """Every value of `family/layer_NN`, up to and with step `until`."""
        for layer in self.layers:
            for point in self.series(f"{family}/{layer}"):
                if until is None or point.step <= until:
                    yield point

    def measured(self, family: str) -> bool:
        """Whether some row has a number of `family`, finite or not."""
        keys = (family, *(f"{family}/{layer}" for layer in self.layers))
        return any(key in row for row in self.rows for key in keys)

    def depth_at(self, family: str, step: int) -> list[Point]:
        """One value a layer: those of the last row up to `step` that has them, or of the first that has."""
        every = list(self.families(family))
        steps = {point.step for point in every}
        wanted = max((each for each in steps if each <= step), default=min(steps, default=-1))
        return [point for point in every if point.step == wanted]

    def at(self, key: str, step: int) -> Point | None:
        """The last value up to `step`; the first one where there is none so early."""
        points = self.series(key)
        before = [point for point in points if point.step <= step]
        return before[-1] if before else (points[0] if points else None)

    def before(self, key: str, step: int) -> Point | None:
        """The last finite value before `step`."""
        return next((point for point in reversed(self.series(key)) if point.step < step), None)

    def first(self, key: str) -> Point | None:
        return next(iter(self.series(key)), None)

    def loss(self, step: int) -> float:
        """Mean of the last `SPAN` losses up to `step`."""
        values = [point.value for point in self.series("loss") if point.step <= step][-SPAN:]
        return sum(values) / len(values) if values else math.nan

    @cached_property
    def last(self) -> int:
        return self.known.last_step

    @cached_property
    def end(self) -> str:
        """In words, when the last row is from."""
        return f"at step {self.last}, where the rows end" if self.known.cut else "at the end"

    def sublayer(self, layer: str, place: int) -> SublayerConfig:
        """The record of attention (0) or the feed-forward sub-layer (1) of `layer_NN`."""
        number = int(layer.removeprefix("layer_")) + 1
        at = laws.variables(self.config.depth, self.config.model.width, number, place)
        return self.config.placement.sublayer_at(at, place)


def _whole(event: Mapping[str, Any]) -> dict[str, Any]:
    """A record with every field that is asked for: of a foreign one only step, kind and metric are sure."""
    value, layers, end = event.get("value"), event.get("layers"), event.get("end")
    took, order = event.get("recovery_steps"), event.get("order")
    return {
        **event,
        "value": float(value) if isinstance(value, int | float) else math.nan,
        "layers": [str(layer) for layer in layers] if isinstance(layers, list) else [],
        "message": str(event.get("message") or event["metric"])[:_LONGEST],
        "end": end if isinstance(end, int) else None,
        "recovered": bool(event.get("recovered")) and isinstance(end, int),
        "recovery_steps": took if isinstance(took, int) else None,
        "order": list(filter(_has_left, order)) if isinstance(order, list) else [],
    }


def _has_left(each: Any) -> bool:
    """Whether an entry of an order has the fields that are read."""
    kinds = {"place": str, "metric": str, "step": int, "ratio": int | float}
    return isinstance(each, Mapping) and all(isinstance(each.get(key), kinds[key]) for key in kinds)


def largest(points: Iterator[Point] | Sequence[Point]) -> Point | None:
    return max(points, key=lambda point: point.value, default=None)


def smallest(points: Iterator[Point] | Sequence[Point]) -> Point | None:
    return min(points, key=lambda point: point.value, default=None)


def earliest(points: Iterator[Point] | Sequence[Point]) -> Point | None:
    """The first step; of several places in it, the first in depth."""
    return min(points, key=lambda point: (point.step, point.place), default=None)


def digits(value: float) -> str:
    """Three of them: 0.0028, 1.2e-07, 48,300, 1.0e+30."""
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"

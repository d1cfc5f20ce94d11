"""Spikes of the loss and of the gradient norm: robust, detrended, not blind early or after a spike."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from normlab.config import DivergenceConfig
from normlab.divergence.detector import Detector, Values, number, pack, unpack
from normlab.divergence.event import Event, Facts
from normlab.divergence.robust import Score, clip, score

LOSS, GRADIENT = "loss", "grad_norm/global"
#: Values needed before anything is scored: fewer give no scatter to speak of.
MINIMUM = 16
#: While a spike lasts, values further out than this share of `co_z` still belong to it.
HOLD = 0.5
#: Weight of the newest row in a layer's usual gradient.
WEIGHT = 1 / 16
#: Layers are named from this ratio to their usual gradient on, so many at most.
NAMED, MOST = 1.5, 3


class Point(NamedTuple):
    """A value of the metric, and `x`, what is scored: the loss itself, the logarithm of a gradient."""

    step: int
    value: float
    x: float


@dataclass
class Track:
    """What is remembered of one metric, in the units that it is scored in."""

    accepted: list[float] = field(default_factory=list)
    #: Those since the last accepted value.
    outliers: list[float] = field(default_factory=list)
    #: The last value above `co_z`, and that limit.
    hit: Point | None = None
    hit_limit: float = 0.0
    #: The first of the values on end that are back inside, and how many they are.
    back: int = 0
    inside: int = 0
    event: Event | None = None
    peak: float = 0.0
    peak_step: int = 0

    def __post_init__(self) -> None:
        self.hit = None if self.hit is None else Point(*self.hit)


class Spike(Detector):
    """Scores the loss and the logarithm of the global gradient norm against their own past.

    A value above `z` is a spike; so is a loss above `co_z` with a gradient above it within `co_steps`. For
    either a gradient must also be `grad_ratio` times what was expected: one odd batch raises the loss and the
    gradient of a healthy run together. Flagged values stay out of the baseline. A spike lasts until more than
    `co_steps` values on end are back inside (its end is the first of them), or until `rebaseline` outliers on
    end have become the new baseline.
    """

    def __init__(self, config: DivergenceConfig, facts: Facts) -> None:
        super().__init__(config, facts)
        self.settings = config.spike
        self.tracks = {LOSS: Track(), GRADIENT: Track()}
        #: The usual logarithm of each site's gradient norm.
        self.usual: dict[str, float] = {}

    def update(self, row: Values) -> list[Event]:
        scored = {metric: self._score(row, metric) for metric in self.tracks}
        events = []
        for metric, found in scored.items():
            if found is not None:
                events += self._follow(row, metric, *found)
        if self.tracks[GRADIENT].event is None:
            self._learn_usual(row)
        return events

    def state_dict(self) -> dict[str, Any]:
        return {
            "tracks": {name: pack(track) for name, track in self.tracks.items()},
            "usual": dict(self.usual),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.tracks = {name: unpack(Track, track) for name, track in state["tracks"].items()}
        self.usual = dict(state["usual"])

    def _score(self, row: Values, metric: str) -> tuple[Point, Score] | None:
        """The row's value of `metric` and its score; None if there is none or it cannot be scored yet."""
        track, value = self.tracks[metric], number(row, metric)
        if value is None or (metric == GRADIENT and value <= 0):
            return None
        point = Point(row["step"], value, math.log(value) if metric == GRADIENT else clip(value))
        if len(track.accepted) < min(MINIMUM, self.settings.window):
            self._accept(track, point)
            return None
        found = score(track.accepted, point.x, logarithmic=metric == GRADIENT)
        limit = self._limit(metric, found, self.settings.co_z)
        if point.x > limit:
            track.hit, track.hit_limit = point, limit
        return point, found

    def _limit(self, metric: str, found: Score, z: float) -> float:
        """The scored value that `z` standard deviations allow."""
        least = math.log(self.settings.grad_ratio) if metric == GRADIENT else 0.0
        return found.expected + max(z * found.scale, least)

    def _follow(self, row: Values, metric: str, point: Point, found: Score) -> list[Event]:
        """Take a scored value as an outlier or as one of the baseline."""
        track, limit, opened = self.tracks[metric], self._limit(metric, found, self.settings.z), []
        together = metric == LOSS and self._together(point.step)
        if track.event is None and (point.x > limit or together):
            if point.x <= limit:
                # Some rows late where the gradient followed the loss.
                assert track.hit is not None
                point, limit = track.hit, track.hit_limit
            track.event = self._event(row, metric, point, limit, found.expected)
            track.peak, track.peak_step = point.value, point.step
            opened = [track.event]
        elif track.event is None:
            return self._accept(track, point)
        elif found.z <= HOLD * self.settings.co_z:
            return self._settle(track, point)
        return opened + self._hold(track, row["step"], point)

    def _together(self, step: int) -> bool:
        """Whether loss and gradient were both above `co_z` lately, one of them now."""
        steps = [track.hit.step for track in self.tracks.values() if track.hit is not None]
        return len(steps) == len(self.tracks) and max(steps) == step <= min(steps) + self.settings.co_steps

    def _accept(self, track: Track, point: Point) -> list[Event]:
        """A value of the baseline."""
        track.outliers.clear()
        track.accepted.append(point.x)
        del track.accepted[: -self.settings.window]
        return []

    def _hold(self, track: Track, step: int, point: Point) -> list[Event]:
        """An outlier of a spike that is open; the last of too many makes them the baseline."""
        track.inside = 0
        track.outliers.append(point.x)
        if point.value > track.peak:
            track.peak, track.peak_step = point.value, point.step
        if len(track.outliers) < self.settings.rebaseline:
            return []
        track.accepted, track.outliers = track.outliers[-self.settings.window :], []
        return self._close(track, step, recovered=False)

    def _settle(self, track: Track, point: Point) -> list[Event]:
        """A value back inside while a spike is open."""
        track.back = point.step if track.inside == 0 else track.back
        track.inside += 1
        self._accept(track, point)
        return self._close(track, track.back, recovered=True) if track.inside > self.settings.co_steps else []

    def _close(self, track: Track, end: int, recovered: bool) -> list[Event]:
        event, track.event, track.inside = track.event, None, 0
        assert event is not None
        return [event.over(end, recovered, peak=track.peak, peak_step=track.peak_step)]

    def _learn_usual(self, row: Values) -> None:
        for site in self.facts.sizes:
            norm = number(row, f"grad_norm/{site}")
            if norm:
                now = math.log(norm)
                self.usual[site] = now + (1 - WEIGHT) * (self.usual.get(site, now) - now)

    def _risen(self, row: Values) -> list[tuple[str, float]]:
        """The sites whose gradients rose most above their usual ones, and by which factor."""
        ratios = {}
        for site, usual in self.usual.items():
            norm = number(row, f"grad_norm/{site}")
            if norm and math.log(norm) - usual > math.log(NAMED):
                ratios[site] = math.exp(min(math.log(norm) - usual, 700.0))
        return sorted(ratios.items(), key=lambda pair: -pair[1])[:MOST]

    def _event(self, row: Values, metric: str, point: Point, limit: float, expected: float) -> Event:
        if metric == GRADIENT:
            limit, expected = math.exp(limit), math.exp(expected)
        risen, past = self._risen(row), len(self.tracks[metric].accepted)
        earlier = f" at step {point.step}" if point.step != row["step"] else ""
        told = (
            f"the {'loss' if metric == LOSS else 'gradient norm'} jumped to {point.value:.4g}{earlier}, "
            f"where its last {past} values lead to expect {expected:.4g} and {limit:.4g} is the limit"
        )
        if risen:
            told += "; gradients rose most in " + ", ".join(f"{site} (x{ratio:.3g})" for site, ratio in risen)
        return Event(
            step=row["step"],
            kind="spike",
            metric=metric,
            value=point.value,
            threshold=limit,
            layers=tuple(site for site, _ in risen),
            message=told,
        )

"""Spikes of loss, gradients and learning rate: robust, detrended, not blind early or after a spike."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, NamedTuple

from normlab.config import DivergenceConfig
from normlab.divergence.bands import Bands
from normlab.divergence.detector import Detector
from normlab.divergence.event import Event, RunFacts
from normlab.divergence.fold_state import LATER, Values, number, pack, unpack
from normlab.divergence.robust import RECENT, Score, clip, score, tail_limit

LOSS, GRADIENT, RATE = "loss", "grad_norm/global", "lr"
#: The place whose gradient has risen most, beside the rise of the second.
ALONE = "grad_norm/alone"
PREFIX = "grad_norm/"
WORDS = {LOSS: "loss", GRADIENT: "gradient norm", RATE: "learning rate"}
#: Values needed before scatter and trend are known. Until then the median of the last 3 is what is expected.
MINIMUM, LAST = 16, 3
#: Scores of the loss from which its tail is reckoned; how many tell it for sure, and how many times `z` the
#: limit may be before.
REMEMBERED, SURE, UNSURE = 512, 128, 1.5
#: While a spike lasts, values further out than this share of `co_z` still belong to it.
HOLD = 0.5


class ScoredValue(NamedTuple):
    """A value of the row's `metric`, and `x`, what is scored: the loss itself, the logarithm of a gradient or
    of how many times its usual it is.
    """

    step: int
    metric: str
    value: float
    x: float

    @property
    def place(self) -> str:
        return self.metric.removeprefix(PREFIX)


@dataclass
class Track:
    """What is remembered of one metric, in the units that it is scored in."""

    accepted: list[float] = field(default_factory=list)
    #: Those since the last accepted value.
    outliers: list[float] = field(default_factory=list)
    #: The last value above `co_z`, and that limit.
    hit: ScoredValue | None = None
    hit_limit: float = 0.0
    #: The first of the consecutive values that are back inside, and how many they are.
    back: int = 0
    inside: int = 0
    event: Event | None = None
    peak: float = 0.0
    peak_step: int = 0
    #: Scores of the latest accepted values: what the noise of this run is like.
    scores: list[float] = field(default_factory=list, metadata={LATER: True})

    def __post_init__(self) -> None:
        self.hit = None if self.hit is None else ScoredValue(*self.hit)


class Spike(Detector):
    """Scores the loss against its own past, and as logarithms the global gradient norm, the learning rate and
    how much more than any other's the gradient of one place has risen.

    A value above `z` is a spike; so is a loss above `co_z` with a gradient above it within `co_steps`. What
    is a logarithm must also be `grad_ratio` times what was expected: one odd batch raises the loss and the
    gradient of a healthy run together. Where the scores of a loss have a heavy tail, `z` is raised to the
    score that a step passes with probability `chance`; the gradient beside it needs no such care.

    The first 16 values have no scatter yet. There a loss `early` nats above the median of the last 3 is a
    spike, and a gradient `grad_ratio` times theirs.

    Flagged values stay out of the baseline. A spike lasts until more than
    `co_steps` consecutive values are back inside (its end is the first of them), or until `rebaseline`
    consecutive outliers have become the new baseline.

    A rate, and one place alone, have no use for `z`: the one is a spike at `grad_ratio` times the value
    before, the other at `alone_ratio` times its usual. While the global gradient spikes, one place's says
    nothing new.
    """

    def __init__(self, config: DivergenceConfig, facts: RunFacts, bands: Bands) -> None:
        super().__init__(config, facts, bands)
        self.settings = config.spike
        self.tracks = {metric: Track() for metric in (LOSS, GRADIENT, RATE, ALONE)}

    def update(self, row: Values) -> list[Event]:
        scored = {metric: self._score(row, metric) for metric in self.tracks}
        events = []
        for metric, found in scored.items():
            if found is not None and (metric != ALONE or self.tracks[GRADIENT].event is None):
                events += self._follow(row, metric, *found)
        return events

    def state_dict(self) -> dict[str, Any]:
        return {"tracks": {name: pack(track) for name, track in self.tracks.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.tracks = {name: unpack(Track, track) for name, track in state["tracks"].items()}

    def _score(self, row: Values, metric: str) -> tuple[ScoredValue, Score] | None:
        """The row's value on a track and its score; None if there is none or it cannot be scored yet."""
        track, point = self.tracks[metric], self._point(row, metric)
        if point is None:
            return None
        least = MINIMUM if metric != ALONE else MINIMUM // 2  # bands have waited for as many rows before
        few = len(track.accepted) < min(least, self.settings.window)
        if (few and metric in (RATE, ALONE)) or not track.accepted or self._calm(metric, point):
            self._accept(track, point)
            return None
        if few:
            found = self._early(metric, point.x)
        elif metric in (LOSS, GRADIENT):
            found = score(track.accepted, point.x, logarithmic=metric == GRADIENT)
        else:
            found = self._ratio(metric, point.x, track.accepted[-1] if metric == RATE else 0.0)
        limit = self._limit(metric, found, self.settings.co_z)
        if point.x > limit:
            track.hit, track.hit_limit = point, limit
        return point, found

    def _point(self, row: Values, metric: str) -> ScoredValue | None:
        if metric == ALONE:
            return self._alone(row)
        value = number(row, metric)
        if value is None or (metric != LOSS and value <= 0):
            return None
        return ScoredValue(row["step"], metric, value, clip(value) if metric == LOSS else math.log(value))

    def _alone(self, row: Values) -> ScoredValue | None:
        """Of the place that has risen most, or of that whose spike is open."""
        rises, event = self.bands.rises, self.tracks[ALONE].event
        highest = max(rises, key=rises.__getitem__, default="")
        metric = f"{PREFIX}{highest}" if event is None else event.metric
        place = metric.removeprefix(PREFIX)
        others = [rise for other, rise in rises.items() if other != place]
        if place not in rises or not others:
            return None
        return ScoredValue(row["step"], metric, row[metric], rises[place] - max(others))

    def _alone_in(self, row: Values) -> tuple[str, ...]:
        """The place that has risen by itself, if any: its band may be too wide for it to have left."""
        point = self._alone(row)
        return (point.place,) if point is not None and point.x > self._least(ALONE) else ()

    def _least(self, metric: str) -> float:
        """The logarithm of how many times what was expected a spike must be."""
        return math.log(self.settings.alone_ratio if metric == ALONE else self.settings.grad_ratio)

    def _ratio(self, metric: str, x: float, expected: float) -> Score:
        """The score of what has no noise to speak of: `z` is where the ratio is reached, or twice as much."""
        scale = max(self._least(metric), math.log(2)) / self.settings.z
        return Score((x - expected) / scale, expected, scale)

    def _early(self, metric: str, x: float) -> Score:
        """The score where there is no scatter yet: `z` is where the jump is too large for these steps."""
        expected = median(self.tracks[metric].accepted[-LAST:])
        scale = (self.settings.early if metric == LOSS else self._least(metric)) / self.settings.z
        scale = max(scale, 1e-12)
        return Score((x - expected) / scale, expected, scale)

    def _calm(self, metric: str, point: ScoredValue) -> bool:
        """Whether a value is so far below any limit that a score would say nothing."""
        track = self.tracks[metric]
        if metric == LOSS or track.event is not None:
            return False
        return point.x <= self._least(metric) + (0.0 if metric == ALONE else min(track.accepted[-RECENT:]))

    def _limit(self, metric: str, found: Score, z: float) -> float:
        """The scored value that `z` standard deviations allow."""
        return found.expected + max(z * found.scale, 0.0 if metric == LOSS else self._least(metric))

    def _z(self, metric: str, found: Score) -> float:
        """`z`, or more where the loss of this run has a heavy tail."""
        usual, scores = self.settings.z, self.tracks[metric].scores
        if metric != LOSS or found.z <= usual or len(scores) < MINIMUM:
            return usual
        most = math.inf if len(scores) >= SURE else UNSURE * usual
        return max(usual, min(tail_limit(scores, self.settings.chance), most))

    def _follow(self, row: Values, metric: str, point: ScoredValue, found: Score) -> list[Event]:
        """Take a scored value as an outlier or as one of the baseline."""
        track, opened = self.tracks[metric], list[Event]()
        limit = self._limit(metric, found, self._z(metric, found))
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
            if len(track.accepted) >= MINIMUM:
                # What is let pass as a tail must not make the next of its kind pass too.
                track.scores.append(min(found.z, self.settings.z))
                del track.scores[:-REMEMBERED]
            return self._accept(track, point)
        elif found.z <= HOLD * self.settings.co_z:
            return self._settle(track, point)
        return opened + self._hold(track, row["step"], point)

    def _together(self, step: int) -> bool:
        """Whether loss and gradient were both above `co_z` lately, one of them now."""
        hits = [self.tracks[metric].hit for metric in (LOSS, GRADIENT)]
        steps = [hit.step for hit in hits if hit is not None]
        return len(steps) == 2 and max(steps) == step <= min(steps) + self.settings.co_steps

    def _accept(self, track: Track, point: ScoredValue) -> list[Event]:
        """A value of the baseline."""
        track.outliers.clear()
        track.accepted.append(point.x)
        del track.accepted[: -self.settings.window]
        return []

    def _hold(self, track: Track, step: int, point: ScoredValue) -> list[Event]:
        """An outlier of a spike that is open; the last of too many makes them the baseline."""
        track.inside = 0
        track.outliers.append(point.x)
        if point.value > track.peak:
            track.peak, track.peak_step = point.value, point.step
        if len(track.outliers) < self.settings.rebaseline:
            return []
        track.accepted, track.outliers = track.outliers[-self.settings.window :], []
        return self._close(track, step, recovered=False)

    def _settle(self, track: Track, point: ScoredValue) -> list[Event]:
        """A value back inside while a spike is open."""
        track.back = point.step if track.inside == 0 else track.back
        track.inside += 1
        self._accept(track, point)
        return self._close(track, track.back, recovered=True) if track.inside > self.settings.co_steps else []

    def _close(self, track: Track, end: int, recovered: bool) -> list[Event]:
        event, track.event, track.inside = track.event, None, 0
        assert event is not None
        return [event.over(end, recovered, peak=track.peak, peak_step=track.peak_step)]

    def _event(self, row: Values, track: str, point: ScoredValue, limit: float, expected: float) -> Event:
        past = len(self.tracks[track].accepted)
        if track != LOSS:
            # From logarithms, of norms or of how many times the usual they are, back to the value.
            limit, expected = (point.value * math.exp(x - point.x) for x in (limit, expected))
        what = WORDS.get(track, f"gradient of {point.place}")
        earlier = f" at step {point.step}" if point.step != row["step"] else ""
        told = (
            f"the {what} jumped to {point.value:.4g}{earlier}, where its last {past} values "
            f"{'and the other places ' if track == ALONE else ''}lead to expect {expected:.4g} "
            f"and {limit:.4g} is the limit"
        )
        event = Event(
            step=row["step"],
            kind="spike",
            metric=point.metric,
            value=point.value,
            threshold=limit,
            layers=(point.place,) if track == ALONE else (),
            message=told,
        )
        if track == RATE:
            return event
        event = self.bands.ranked(event, began=point.step)
        return event if event.layers else replace(event, layers=self._alone_in(row))

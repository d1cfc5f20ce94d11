"""What the detectors of single places share: a reading out of bounds for some consecutive steps."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

from normlab.config import DivergenceConfig
from normlab.divergence.bands import Bands
from normlab.divergence.detector import Detector
from normlab.divergence.event import Event, RunFacts
from normlab.divergence.fold_state import Values


class PlaceReading(NamedTuple):
    """One place's number in a row."""

    place: str
    metric: str
    value: float


@dataclass
class PlaceState:
    #: By key of the row: the first and the last of consecutive steps with its reading out of bounds.
    since: dict[str, tuple[int, int]] = field(default_factory=dict)
    event: Event | None = None


class PlaceDetector(Detector):
    """Opens when the readings of a place have been out of bounds for `steps` consecutive steps; places that
    follow are added to its layers; over when none is left.

    It goes by the step numbers of the first and the last such reading, so that a metric may be in every row
    or only in some of them; a row without one says nothing of it.
    """

    state: PlaceState
    kind: ClassVar[str]
    #: Of several values, the event names the smallest or the largest.
    low_is_bad: ClassVar[bool]

    def __init__(
        self, config: DivergenceConfig, facts: RunFacts, bands: Bands, steps: int, families: Sequence[str]
    ) -> None:
        super().__init__(config, facts, bands)
        self.steps = steps
        self.state = PlaceState()
        #: The places, by the keys of their readings in a row.
        self.places = {f"{family}/{place}": place for family in families for place in facts.sizes}

    @abstractmethod
    def out(self, row: Values, key: str, value: float) -> bool | None:
        """Whether the finite `value` of `key` is out of bounds; None if it says nothing."""

    @abstractmethod
    def words(self, places: str, worst: PlaceReading) -> tuple[float, str]:
        """The threshold, and what happened, for the event; `places` is a list as text."""

    def reading(self, key: str, value: float) -> PlaceReading:
        """What the event says of `value`."""
        return PlaceReading(self.places[key], key, value)

    def update(self, row: Values) -> list[Event]:
        step, since, event = row["step"], self.state.since, self.state.event
        bad: dict[str, float] = {}
        seen = False
        for key in self.places:
            value = row.get(key)
            if value is None or not math.isfinite(value) or (out := self.out(row, key, value)) is None:
                continue
            seen = True
            if out:
                bad[key] = value
                since[key] = since.get(key, (step, step))[0], step
            elif key in since:
                del since[key]
        return self._told(step, bad) if seen and (event is not None or bad) else []

    def _told(self, step: int, bad: dict[str, float]) -> list[Event]:
        event, lasting = self.state.event, self._lasting()
        if event is None:
            # What lasts now and did not before was read in this row.
            readings = [self.reading(key, bad[key]) for key in lasting]
            self.state.event = self._open(step, readings) if readings else None
        elif not lasting:
            self.state.event = None
            return [event.over(step)]
        else:
            places = dict.fromkeys(self.places[key] for key in lasting)
            if more := [place for place in places if place not in event.layers]:
                message = f"{event.message}; {', '.join(more)} from step {step}"
                self.state.event = replace(event, layers=(*event.layers, *more), message=message)
        return [self.state.event] if self.state.event not in (None, event) else []

    def _lasting(self) -> list[str]:
        """The keys of what has been out of bounds for long enough."""
        return [key for key, (first, last) in self.state.since.items() if last - first >= self.steps - 1]

    def _open(self, step: int, readings: Sequence[PlaceReading]) -> Event:
        worst = (min if self.low_is_bad else max)(readings, key=lambda reading: reading.value)
        places = tuple(dict.fromkeys(reading.place for reading in readings))
        threshold, message = self.words(", ".join(places), worst)
        return Event(
            step=step,
            kind=self.kind,
            metric=worst.metric,
            value=worst.value,
            threshold=threshold,
            layers=places,
            message=message,
        )

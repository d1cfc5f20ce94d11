"""All detectors over one run."""

from collections.abc import Mapping
from typing import Any

from normlab.config import DivergenceConfig
from normlab.divergence.bands import Bands
from normlab.divergence.event import Event, Facts
from normlab.divergence.fold import Values
from normlab.divergence.table import DETECTORS


class Watch:
    """Folds the rows of a run, in order and one a step, into events."""

    def __init__(self, config: DivergenceConfig, facts: Facts) -> None:
        self._bands = Bands(facts.sizes)
        self._detectors = {name: row.detector(config, facts, self._bands) for name, row in DETECTORS.items()}
        self._events: dict[tuple[int, str, str], Event] = {}

    @property
    def events(self) -> list[Event]:
        """All so far, as they came, each as it is known now."""
        return list(self._events.values())

    def update(self, row: Values) -> list[Event]:
        """The events that are new at this row, or of which more is known: same (step, kind, metric)."""
        self._bands.update(row)
        news = [event for detector in self._detectors.values() for event in detector.update(row)]
        self._events.update((event.key, event) for event in news)
        return news

    def state_dict(self) -> dict[str, Any]:
        """All that is remembered, in plain containers, strings and numbers."""
        return {
            "events": [event.record() for event in self.events],
            "bands": self._bands.state_dict(),
            "detectors": {name: detector.state_dict() for name, detector in self._detectors.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the watch that gave `state` was."""
        events = map(Event.of, state["events"])
        self._events = {event.key: event for event in events}
        self._bands.load_state_dict(state["bands"])
        for name, detector in self._detectors.items():
            detector.load_state_dict(state["detectors"][name])

"""All detectors over one run."""

from collections.abc import Mapping
from typing import Any

from normlab.config import DivergenceConfig
from normlab.divergence.bands import Bands
from normlab.divergence.ending import Ending
from normlab.divergence.event import Event, RunFacts
from normlab.divergence.fold_state import Values, pack, unpack
from normlab.divergence.outcome import is_untrained, outcome
from normlab.divergence.table import DETECTORS


class Watch:
    """Folds the rows of a run, in order and one a step, into events."""

    def __init__(self, config: DivergenceConfig, facts: RunFacts) -> None:
        self._config, self._facts = config, facts
        self._bands, self._ending = Bands(facts.sizes), Ending()
        self._detectors = {name: row.detector(config, facts, self._bands) for name, row in DETECTORS.items()}
        self._events: dict[tuple[int, str, str], Event] = {}

    @property
    def events(self) -> list[Event]:
        """All so far, as they came, each as it is known now."""
        return list(self._events.values())

    @property
    def outcome(self) -> str:
        """What became of the run, if the last row was its last."""
        ending, tolerance = self._ending, self._config.plateau.tolerance
        untrained = is_untrained(ending.final, self._facts.floors, tolerance, ending.start)
        return outcome(self.events, ending.level, untrained)

    def update(self, row: Values) -> list[Event]:
        """The events that are new at this row, or of which more is known: same (step, kind, metric)."""
        self._ending.update(row)
        self._bands.update(row)
        news = [event for detector in self._detectors.values() for event in detector.update(row)]
        self._events.update((event.key, event) for event in news)
        return news

    def state_dict(self) -> dict[str, Any]:
        """All that is remembered, in plain containers, strings and numbers."""
        return {
            "events": [event.record() for event in self.events],
            "ending": pack(self._ending),
            "bands": self._bands.state_dict(),
            "detectors": {name: detector.state_dict() for name, detector in self._detectors.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the watch that gave `state` was."""
        events = map(Event.of, state["events"])
        self._events = {event.key: event for event in events}
        # A checkpoint of an earlier version has no ending.
        self._ending = unpack(Ending, state["ending"]) if "ending" in state else Ending()
        self._bands.load_state_dict(state["bands"])
        for name, detector in self._detectors.items():
            detector.load_state_dict(state["detectors"][name])

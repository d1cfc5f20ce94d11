"""What all detectors are: a fold over rows, with a state of plain values."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from normlab.config import DivergenceConfig
from normlab.divergence.bands import Bands
from normlab.divergence.event import Event, RunFacts
from normlab.divergence.fold_state import Values, pack, unpack


class Detector(ABC):
    """A fold: the events that a row brings depend on it, the state, the bands (which have seen the same rows)
    and the settings, and on nothing else.
    """

    #: A dataclass of plain values; a field named `event` may hold an Event.
    state: Any

    def __init__(self, config: DivergenceConfig, facts: RunFacts, bands: Bands) -> None:
        self.config, self.facts, self.bands = config, facts, bands

    @abstractmethod
    def update(self, row: Values) -> list[Event]:
        """The events that are new at this row, or of which more is known."""

    def state_dict(self) -> dict[str, Any]:
        """The state as plain containers, which later rows do not change."""
        return pack(self.state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.state = unpack(type(self.state), state)

"""What all detectors are: a fold over rows, with a state of plain values."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from normlab.config import DivergenceConfig
from normlab.divergence.event import Event, Facts

#: One row of `metrics.jsonl`.
Values = Mapping[str, Any]
S = TypeVar("S")


class Detector(ABC):
    """A fold: the events that a row brings depend on it, the state and the settings, and on nothing else."""

    #: A dataclass of plain values; a field named `event` may hold an Event.
    state: Any

    def __init__(self, config: DivergenceConfig, facts: Facts) -> None:
        self.config, self.facts = config, facts

    @abstractmethod
    def update(self, row: Values) -> list[Event]:
        """The events that are new at this row, or of which more is known."""

    def state_dict(self) -> dict[str, Any]:
        """The state as plain containers, which later rows do not change."""
        return pack(self.state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.state = unpack(type(self.state), state)


def number(row: Values, key: str) -> float | None:
    """The finite number under `key`, else None: what is not finite never enters a window or a count."""
    value = row.get(key)
    return float(value) if value is not None and math.isfinite(value) else None


def pack(state: Any) -> dict[str, Any]:
    """A state dataclass as plain containers."""
    return {field.name: _plain(getattr(state, field.name)) for field in fields(state)}


def _plain(value: Any) -> Any:
    if isinstance(value, Event):
        return value.record()
    return list(value) if isinstance(value, tuple) else copy.copy(value)


def unpack(kind: type[S], state: Mapping[str, Any]) -> S:
    """The state dataclass that `pack` was given."""
    if (found := set(state)) != (known := {field.name for field in fields(kind)}):  # type: ignore[arg-type]
        raise ValueError(f"a detector's state has {sorted(found)}, not {sorted(known)}: of another version?")
    values = {name: copy.copy(value) for name, value in state.items()}
    if values.get("event") is not None:
        values["event"] = Event.of(values["event"])
    return kind(**values)

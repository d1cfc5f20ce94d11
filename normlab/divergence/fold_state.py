"""What folds over rows share: reading a number, and a state that becomes plain containers and comes back."""

import copy
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from normlab.divergence.event import Event

#: One row of `metrics.jsonl`.
Values = Mapping[str, Any]
S = TypeVar("S")
#: In the metadata of a field that checkpoints of earlier versions do not have.
LATER = "later"


def number(row: Values, key: str) -> float | None:
    """The finite number under `key`, else None: what is not finite never enters a window or a count."""
    value = row.get(key)
    return float(value) if value is not None and math.isfinite(value) else None


def pack(state: Any) -> dict[str, Any]:
    """A state dataclass as plain containers; a field named `event` may hold an Event."""
    return {field.name: _plain(getattr(state, field.name)) for field in fields(state)}


def _plain(value: Any) -> Any:
    if isinstance(value, Event):
        return value.record()
    return list(value) if isinstance(value, tuple) else copy.copy(value)


def unpack(kind: type[S], state: Mapping[str, Any]) -> S:
    """The state dataclass that `pack` was given. A field marked `LATER` may be missing
    from the state: it then keeps its default."""
    later = {field.name: LATER in field.metadata for field in fields(kind)}  # type: ignore[arg-type]
    found, known = set(state), set(later)
    if found - known or any(not later[name] for name in known - found):
        raise ValueError(f"a detector's state has {sorted(found)}, not {sorted(known)}: of another version?")
    values = {name: copy.copy(value) for name, value in state.items()}
    if values.get("event") is not None:
        values["event"] = Event.of(values["event"])
    return kind(**values)

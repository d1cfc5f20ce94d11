"""What rows, events and summaries of a run look like: what is read from a run is checked against it.

A file may be of another version, so a field that is not known is let through; one that is has its type, or
is None.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from normlab.config import PASSES
from normlab.divergence.nonfinite import WORDS

#: Steps are below, so that a float holds each.
STEPS = 2**53
#: Characters of a word such as a status or a kind, and of a name such as a metric's.
_WORD, _NAME = 40, 400

_STATUSES = ("running", "finished", "interrupted", "failed", "lost")
#: Types by name; `None` is right for each.
_EVENT = {
    "step": "step",
    "kind": "word",
    "metric": "name",
    "value": "number",
    "threshold": "number",
    "layers": "names",
    "message": "text",
    "end": "step",
    "recovered": "bool",
    "recovery_steps": "step",
    "peak": "number",
    "peak_step": "step",
    "floor": "word",
    "parameter": "name",
    "site": "name",
    "direction": "word",
}
_SUMMARY = {
    "outcome": "word",
    "steps": "step",
    "events": "numbers",
    "first_event": "mapping",
    "first_event_step": "step",
    "first_event_layer": "name",
    "tokens_per_second": "number",
    "seconds": "number",
    "name": "name",
    "sweep": "name",
    "floors": "numbers",
    "parameters": "step",
    "sizes": "numbers",
    "batch_order": "name",
    "val/caveat": "text",
    "signal": "step",
    "error": "text",
    "wandb": "mapping",
    "replayed": "mapping",
    "origin": "text",
}
#: The first parts of keys whose values are numbers.
_FAMILIES = ("loss", "val", "spike_score", "grad_norm", "grad_clip", *PASSES)


def is_number(value: Any) -> bool:
    """Whether it is one, finite or not, that a float holds."""
    return isinstance(value, float) or (
        isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**300
    )


def is_step(value: Any) -> bool:
    """Whether it can be the number of a step."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < STEPS


def is_row(record: Mapping[str, Any]) -> bool:
    """Whether it has a step, and numbers for the rest, or words where a row has those."""
    return is_step(record.get("step")) and all(
        is_number(value) or (key in WORDS and isinstance(value, str)) for key, value in record.items()
    )


def is_event(record: Mapping[str, Any]) -> bool:
    """Whether it has step, kind and metric, and the rest of its fields are of their types."""
    return not event_problem(record)


def event_problem(record: Mapping[str, Any]) -> str:
    """Why it is no event; empty where it is one."""
    lacking = [key for key in ("step", "kind", "metric") if record.get(key) is None]
    if lacking:
        return f"has no {lacking[0]}"
    return next(_problems(record, _EVENT), "")


def summary_problem(summary: Mapping[str, Any]) -> str:
    """Why it is no summary of a run; empty where it is one."""
    if summary.get("status") not in (None, *_STATUSES):
        return f"status is none of {', '.join(_STATUSES)}"
    families = {key: "number" for key in summary if "/" in key and key.partition("/")[0] in _FAMILIES}
    problem = next(_problems(summary, {**families, **_SUMMARY}), "")
    first = summary.get("first_event") if not problem else None
    return problem or next((f"first_event.{each}" for each in _problems(first or {}, _EVENT)), "")


def _problems(record: Mapping[str, Any], kinds: Mapping[str, str]) -> Iterator[str]:
    for key, value in record.items():
        if key in kinds and value is not None and not _KINDS[kinds[key]].fits(value):
            yield f"{key} is not {_KINDS[kinds[key]].told}"


class _Kind(NamedTuple):
    told: str
    fits: Callable[[Any], bool]


def _is_text(value: Any, most: int = 10**9) -> bool:
    return isinstance(value, str) and len(value) <= most


_KINDS = {
    "step": _Kind("a whole number from 0 to 9e15", is_step),
    "number": _Kind("a number", is_number),
    "word": _Kind(f"a word of at most {_WORD} letters", lambda value: _is_text(value, _WORD)),
    "name": _Kind(f"a text of at most {_NAME} letters", lambda value: _is_text(value, _NAME)),
    "text": _Kind("a text", _is_text),
    "names": _Kind(
        "a list of texts",
        lambda value: isinstance(value, list) and all(_is_text(each, _NAME) for each in value),
    ),
    "numbers": _Kind(
        "a mapping of numbers",
        lambda value: isinstance(value, dict) and all(v is None or is_number(v) for v in value.values()),
    ),
    "mapping": _Kind("a mapping", lambda value: isinstance(value, dict)),
    "bool": _Kind("true or false", lambda value: isinstance(value, bool)),
}

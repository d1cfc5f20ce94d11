"""What became of a run, in one word."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from normlab.divergence.event import Event

#: The loss for long above where it was.
RISES = ("explosion", "slow_divergence")
#: Outcomes in the order in which they are decided: the first that an event speaks for.
OUTCOMES: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "nonfinite": lambda event: event["kind"] == "nonfinite",
    # Above its start, or its best, and staying there; one that came back is a spike, if a long one.
    "exploded": lambda event: event["kind"] in RISES and not event["recovered"],
    "stuck": lambda event: event["kind"] == "plateau" and event["end"] is None,
    "spiked": lambda event: event["kind"] in ("spike", *RISES) and event["metric"] == "loss",
}


def outcome(events: Iterable[Event | Mapping[str, Any]]) -> str:
    """`nonfinite`, `exploded`, `stuck`, `spiked` or `stable`, from all events of a run or their records."""
    records = [event.record() if isinstance(event, Event) else event for event in events]
    return next((name for name, speaks in OUTCOMES.items() if any(map(speaks, records))), "stable")

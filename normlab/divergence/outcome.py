"""What became of a run, in one word."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from normlab.config import PlateauConfig
from normlab.divergence.event import Event

#: The loss for long above where it was.
RISES = ("explosion", "slow_divergence")
#: No event speaks for it: the run ends where a model is that knows nothing of context.
UNTRAINED = "untrained"
#: How far below the unigram entropy a model has to get, in nats, to have learnt more than frequencies.
TOLERANCE = "divergence.plateau.tolerance"
#: No text has an entropy above: it is at most the logarithm of the vocabulary's size.
_MOST_NATS = 100.0


def _is_nonfinite(event: Mapping[str, Any], level: float | None) -> bool:
    """Steps that are skipped and that the run goes on from are an event; parameters do not come back."""
    return event["kind"] == "nonfinite" and (
        not event.get("recovered") or str(event["metric"]) == "nonfinite/parameter"
    )


def _has_exploded(event: Mapping[str, Any], level: float | None) -> bool:
    """Above its start or its best, or after a jump, and staying there."""
    if event["kind"] in RISES:
        return not event.get("recovered")
    jumped = event["kind"] == "spike" and event["metric"] == "loss" and not event.get("recovered")
    limit = event.get("threshold")
    return jumped and level is not None and isinstance(limit, int | float) and level > limit


def _is_stuck(event: Mapping[str, Any], level: float | None) -> bool:
    """A model that stands still at the bigram entropy has learnt what the token before says."""
    return event["kind"] == "plateau" and event.get("end") is None and event.get("floor") != "bigram"


def _has_spiked(event: Mapping[str, Any], level: float | None) -> bool:
    return event["kind"] == "nonfinite" or (event["kind"] in ("spike", *RISES) and event["metric"] == "loss")


def _never(event: Mapping[str, Any], level: float | None) -> bool:
    return False


#: Outcomes in the order in which they are decided: the first that an event speaks for, given the level of the
#: loss at the end where that is known.
OUTCOMES: dict[str, Callable[[Mapping[str, Any], float | None], bool]] = {
    "nonfinite": _is_nonfinite,
    "exploded": _has_exploded,
    "stuck": _is_stuck,
    UNTRAINED: _never,
    "spiked": _has_spiked,
}


def outcome(
    events: Iterable[Event | Mapping[str, Any]], level: float | None = None, untrained: bool = False
) -> str:
    """`nonfinite`, `exploded`, `stuck`, `untrained`, `spiked` or `stable`.

    Args:
        events: all events of a run, or their records.
        level: the loss at the end, in nats. Without it a spike that lasts counts as one that will be over.
        untrained: whether the loss ends where a model is that knows nothing of context: `is_untrained`.
    """
    records = [event.record() if isinstance(event, Event) else event for event in events]
    for name, speaks in OUTCOMES.items():
        if any(speaks(record, level) for record in records) or (name == UNTRAINED and untrained):
            return name
    return "stable"


def is_untrained(
    final: float | None, floors: Mapping[str, float], tolerance: float, start: float | None = None
) -> bool:
    """Whether a loss of `final` nats at the end shows that nothing was learnt but, at most, frequencies.

    It does above `tolerance` below the unigram entropy of the text; where no floor is known, if it is no
    lower than the run began at `start`, by `tolerance`.
    """
    at = floors.get("unigram", start)
    return final is not None and at is not None and final > at - tolerance


def recorded_outcome(summary: Mapping[str, Any], tolerance: Any = None) -> str:
    """The outcome as `summary.json` has it; `untrained` where a version that did not say so wrote it.

    Args:
        tolerance: the run's `divergence.plateau.tolerance`, the default where that is no number.
    """
    word = str(summary.get("outcome"))
    finals = (summary.get(key) for key in ("val/final", "loss/final"))
    final = next((value for value in finals if _is_number(value)), None)
    room = tolerance if _is_number(tolerance) else PlateauConfig().tolerance
    untrained = word in ("spiked", "stable") and is_untrained(final, known_floors(summary), room)
    return UNTRAINED if untrained else word


def known_floors(summary: Mapping[str, Any]) -> dict[str, float]:
    """The entropies of its text that a `summary.json` has, in nats a token; of these what can be some."""
    floors = summary.get("floors")
    pairs = floors.items() if isinstance(floors, Mapping) else ()
    numbers = [(key, value) for key, value in pairs if type(value) in (int, float)]
    return {key: float(value) for key, value in numbers if 0 <= value <= _MOST_NATS}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


STUCK = "stuck"
#: Outcomes of runs that did not train. One whose loss spiked did, and is called so only if it came back: a
#: rate is judged by the loss at the end (Wortsman et al. 2023, arXiv 2309.14322), and a rise that stays is an
#: explosion. Nor did one train that is UNTRAINED: it ends at the unigram entropy of its text or above.
DIVERGED = ("nonfinite", "exploded", STUCK)


def trained(outcome: str) -> bool:
    """Whether a run with this outcome trained."""
    return outcome not in (*DIVERGED, UNTRAINED)

"""Non-finite numbers, named by where the backward pass meets them first."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from normlab.config import DivergenceConfig
from normlab.divergence.bands import Bands
from normlab.divergence.detector import Detector
from normlab.divergence.event import Event, RunFacts
from normlab.divergence.fold_state import Values

PREFIX = "grad_norm/"
#: Norms that are made from those of the sites.
DERIVED = ("global", "clipped", "first_to_last")
#: The row's key for the first site whose parameters are not finite; its value is the site's name.
PARAMETER = "nonfinite/parameter"
#: Before the keys of what `find_first_nonfinite` says: `site`, `pass`, `input_min`, `input_max`.
TRACE = "nonfinite/"
#: 1 where the gradients' norm is not finite; below it, how many of a site's numbers are not.
FLAG = f"{TRACE}gradient"
#: Words that detectors are told, by their key in a row, and the event's field that keeps them: in a file,
#: rows hold numbers alone.
WORDS = {PARAMETER: "parameter", f"{TRACE}site": "site", f"{TRACE}pass": "direction"}
#: Kinds of parameter in a block, from its output back to its input.
BACKWARD = ("ffn.out", "ffn.in", "attn.out", "attn.qkv", "norm", "scale")
#: Places in the order of the backward pass; layers, the last one first, stand at 2.
PLACES = {"head": 0, "final_norm": 1, "embedding": 4}


@dataclass
class NonFiniteState:
    event: Event | None = None


class NonFinite(Detector):
    """Opens at the first row with a NaN or an infinity, and is over when all is finite again."""

    state: NonFiniteState

    def __init__(self, config: DivergenceConfig, facts: RunFacts, bands: Bands) -> None:
        super().__init__(config, facts, bands)
        self.state = NonFiniteState()

    def update(self, row: Values) -> list[Event]:
        found, event = culprit(row), self.state.event
        if found is None and event is not None:
            self.state.event = None
            return [event.over(row["step"])]
        if found is not None and event is None:
            event = _traced(_event(row, *found), row)
            words: dict[str, Any] = {field: str(row[key]) for key, field in WORDS.items() if key in row}
            event = replace(event, **words)
            self.state.event = self.bands.ranked(event, began=row["step"])
            return [self.state.event]
        return []


def culprit(row: Values) -> tuple[str, float, str] | None:
    """Metric, value and site (empty for the loss and the global norm) of what was not finite first, or None.

    Parameters come before the loss, which they spoil; the loss before the gradients, which it spoils; then
    the site that the backward pass reaches first. The global norm is named only where no site is: its sum
    alone overflowed, or single layers are not measured.
    """
    if PARAMETER in row:
        return PARAMETER, math.nan, str(row[PARAMETER])
    if not math.isfinite(row.get("loss", 0.0)):
        return "loss", float(row["loss"]), ""
    total = row.get(f"{PREFIX}global")
    if total is not None and math.isfinite(total):
        return None
    bad = (key for key, value in row.items() if key.startswith(PREFIX) and not math.isfinite(value))
    sites = [site for key in bad if (site := key.removeprefix(PREFIX)) not in DERIVED]
    if total is None and not sites:
        return None
    site = min(sites, key=backward_rank, default="")
    metric = f"{PREFIX}{site or 'global'}"
    return metric, float(row[metric]), site


def backward_rank(site: str) -> tuple[Any, ...]:
    """Sorts sites such as `head`, `layer_03/ffn.out` or `layer_03` as the backward pass reaches them.

    A layer as a whole comes after its kinds of parameter, which say more.
    """
    place, _, kind = site.partition("/")
    index = place.removeprefix("layer_")
    group = 2 if index != place and index.isdigit() else PLACES.get(place, 3)
    within = BACKWARD.index(kind) if kind in BACKWARD else len(BACKWARD) + (not kind)
    return group, -int(index) if group == 2 else 0, within, site


def _traced(event: Event, row: Values) -> Event:
    """`event` with where the step, run again under watch, was first not finite, if that is known."""
    site = row.get(f"{TRACE}site")
    if site is None:
        return event
    told = f"{event.message}; it began in {site}, in the {row[f'{TRACE}pass']} pass"
    if f"{TRACE}input_min" in row:
        low, high = row[f"{TRACE}input_min"], row[f"{TRACE}input_max"]
        told += f", from numbers between {low:.3g} and {high:.3g}"
    return replace(event, layers=(str(site).partition("/")[0],), message=told)


def _event(row: Values, metric: str, value: float, site: str) -> Event:
    if metric == PARAMETER:
        told = f"parameters of {site} are not finite"
    elif metric == "loss":
        told = f"the loss is {value}; the step's update is not applied"
    elif site:
        told = f"the gradient of {site} is {value}, the first in the order of the backward pass"
    else:
        told = f"the global gradient norm is {value}"
    if metric.startswith(PREFIX):
        if row.get(FLAG) and not any(key.startswith(f"{FLAG}/") for key in row):
            told += ": its numbers are finite, and the sum of their squares is too large for float32"
        told += "; the step's update is not applied"
    return Event(
        step=row["step"],
        kind="nonfinite",
        metric=metric,
        value=value,
        threshold=math.inf,
        layers=(site.partition("/")[0],) if site else (),
        message=told,
    )


def told(rows: Iterable[dict[str, Any]], events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows as the detectors saw them: with the words that the records of events have kept."""
    words: dict[Any, dict[str, str]] = {}
    for event in events:
        if event["kind"] == "nonfinite":
            kept = {key: event[field] for key, field in WORDS.items() if event.get(field)}
            words[event["step"]] = words.get(event["step"], {}) | kept
    return [row | words[row["step"]] if row["step"] in words else row for row in rows]

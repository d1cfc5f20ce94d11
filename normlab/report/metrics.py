"""Which metrics of a run a page shows, by their names: curves of the whole model, and families by place."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from normlab.measure.families import FAMILIES, depth, place

#: One metric over the steps that have it.
Series = tuple[list[int], list[float]]

#: Detail within a layer, what differs between two makings of one run, and counters.
_DETAIL = re.compile(r".*/layer_\d+/.*|time/.*|nonfinite/.*|step|tokens")


#: Curves of the whole model in the order in which they are offered; others follow as they come.
FIRST = ("loss", "val/loss", "grad_norm/global", "grad_norm/first_to_last", "lr")
UNITS = {"loss": "nats a token", "val/loss": "nats a token", "lr": "learning rate"}


def series(rows: Iterable[Mapping[str, Any]]) -> dict[str, Series]:
    """Every metric of `rows` that is more than detail, in full: its steps and values."""
    found: dict[str, Series] = {}
    skipped: set[str] = set()
    for row in rows:
        step = row["step"]
        for metric, value in row.items():
            kept = found.get(metric)
            if kept is None:
                if metric in skipped or isinstance(value, str):
                    continue
                if _DETAIL.fullmatch(metric):
                    skipped.add(metric)
                    continue
                kept = found[metric] = [], []
            kept[0].append(step)
            kept[1].append(value)
    return found


def ordered(metrics: Iterable[str]) -> list[str]:
    """The metrics in the order in which they matter: the whole model's, then family after family."""
    names = dict.fromkeys(metrics)
    whole = [name for name in names if place(name) is None]
    return [
        *(name for name in FIRST if name in names),
        *(name for name in whole if name not in FIRST),
        *(name for each in families(names) for name in members(names, each)),
    ]


def families(metrics: Iterable[str]) -> list[str]:
    """The families among `metrics`, the known ones first."""
    found = dict.fromkeys(where.family for name in metrics if (where := place(name)))
    return [*(name for name in FAMILIES if name in found), *(name for name in found if name not in FAMILIES)]


def members(metrics: Iterable[str], family: str) -> list[str]:
    """The metrics of one family from the input of the model to its output."""
    found = [(where, name) for name in metrics if (where := place(name)) and where.family == family]
    return [name for _, name in sorted(found, key=lambda pair: depth(pair[0].name))]

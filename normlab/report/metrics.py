"""Which metrics of a run a page shows, by their names: curves of the whole model, and families by place."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

#: One metric over the steps that have it.
Series = tuple[list[int], list[float]]

_PLACE = re.compile(r"(.+)/(embedding|layer_\d+|final_norm|head)")
#: Detail within a layer, what differs between two makings of one run, and counters.
_DETAIL = re.compile(r".*/layer_\d+/.*|time/.*|nonfinite/.*|step|tokens")


@dataclass(frozen=True, kw_only=True)
class Family:
    """A metric that each place of the model has one of."""

    name: str
    title: str
    unit: str
    #: Whether small is alarming: then columns that stand for several steps show the least, not the most.
    falls: bool = False


#: The known ones, those that tell most first; a family that is not here is shown by its name.
FAMILIES = {
    family.name: family
    for family in (
        Family(name="grad_norm", title="Gradient norm", unit="L2 norm"),
        Family(name="stream/rms", title="Residual stream", unit="RMS after the block"),
        Family(name="update/ratio", title="Update over weights", unit="ratio of norms"),
        Family(name="grad_stream", title="Gradient in the stream", unit="L2 norm of dL/dx"),
        Family(name="attention/max_logit", title="Largest attention logit", unit="logit"),
        Family(
            name="attention/entropy_share", title="Attention entropy", unit="share of the most", falls=True
        ),
        Family(name="grad_rms", title="Gradient RMS", unit="root mean square"),
        Family(name="stream/max", title="Largest in the stream", unit="absolute value"),
        Family(name="attention/entropy", title="Attention entropy", unit="nats", falls=True),
        Family(
            name="attention/entropy_share_min",
            title="Least entropy of a head",
            unit="share of the most",
            falls=True,
        ),
        Family(name="attention/entropy_min", title="Least entropy of a head", unit="nats", falls=True),
    )
}
#: Curves of the whole model in the order in which they are offered; others follow as they come.
FIRST = ("loss", "val/loss", "grad_norm/global", "grad_norm/first_to_last", "lr")
UNITS = {"loss": "nats a token", "val/loss": "nats a token", "lr": "learning rate"}


class Place(NamedTuple):
    """Where a metric belongs."""

    family: str
    name: str


def place(metric: str) -> Place | None:
    """The family and place of `grad_norm/layer_03`; None for a metric of the whole model."""
    found = _PLACE.fullmatch(metric)
    return Place(*found.groups()) if found else None


def family(name: str) -> Family:
    """What is known of a family."""
    return FAMILIES.get(name) or Family(name=name, title=name, unit=name.rpartition("/")[2])


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


def depth(place: str) -> tuple[int, int]:
    """Orders places from the embedding to the head."""
    kinds = ("embedding", "layer", "final_norm", "head")
    kind, _, number = place.partition("_") if place.startswith("layer_") else (place, "", "0")
    return kinds.index(kind), int(number)

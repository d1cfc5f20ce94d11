"""The rows of a probe as curves, for the page and the picture."""

from collections.abc import Mapping, Sequence
from typing import Any

from normlab.probe.quantities import QUANTITIES
from normlab.probe.settings import name

Row = Mapping[str, Any]
#: By group: points (depth or block, value of each seed).
Curves = dict[str, list[tuple[int, list[float]]]]


def of_group(rows: Sequence[Row], group: Mapping[str, Any]) -> list[Row]:
    """The rows of one group."""
    return [row for row in rows if all(row[key] == value for key, value in group.items())]


def by_depth(rows: Sequence[Row], groups: Sequence[Mapping[str, Any]], quantity: str) -> Curves:
    """A quantity against depth."""
    curves: Curves = {}
    for group in groups:
        own = of_group(rows, group)
        depths = sorted({row["depth"] for row in own})
        curves[name(group)] = [
            (depth, [row[quantity] for row in own if row["depth"] == depth]) for depth in depths
        ]
    return curves


def by_block(rows: Sequence[Row], groups: Sequence[Mapping[str, Any]], profile: str) -> Curves:
    """A profile against the block (from 1), at each group's largest depth."""
    curves: Curves = {}
    for group in groups:
        own = of_group(rows, group)
        deepest = max((row["depth"] for row in own), default=0)
        series = [row[profile] for row in own if row["depth"] == deepest]
        curves[name(group)] = [
            (block, [values[block - 1] for values in series]) for block in range(1, deepest + 1)
        ]
    return curves


def panels(rows: Sequence[Row], groups: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, Curves]]:
    """What the picture shows: every quantity, and the profiles of the deepest models; those that all rows
    have."""
    deepest = max((row["depth"] for row in rows), default=0)
    there = set.intersection(*(set(row) for row in rows)) if rows else set()
    found = {
        quantity.short: ("depth", by_depth(rows, groups, key))
        for key, quantity in QUANTITIES.items()
        if key in there
    }
    profiles = {
        "stream variance by block": "stream_variance_by_block",
        "stream gradient by block": "grad_stream_by_block",
    }
    return found | {
        title: (f"block of {deepest}", by_block(rows, groups, key))
        for title, key in profiles.items()
        if key in there
    }

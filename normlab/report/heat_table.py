"""A family of metrics as a table of place by step, thinned so that a page can hold those of many runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normlab.measure.families import any_family
from normlab.report import metrics
from normlab.report.metrics import Series

#: Columns of a heat map at most.
COLUMNS = 200

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class HeatTable:
    """`values` has a line a place and a column for `each` readings, of which it is the most alarming."""

    places: list[str]
    #: The first step of each column, and then the step after the last one's.
    edges: Array
    values: Array
    each: int


def heat(found: Mapping[str, Series], family: str) -> HeatTable | None:
    """The steps at which every place has a reading; None without such steps, or of fewer than two places."""
    names = metrics.members(found, family)
    shared = set(found[names[0]][0]).intersection(*(found[name][0] for name in names)) if names else set()
    if len(names) < 2 or not shared:
        return None
    steps = np.array(sorted(shared), dtype=float)
    values = np.array([_at(found[name], shared) for name in names], dtype=float)
    end = steps[-1] + (np.median(np.diff(steps)) if len(steps) > 1 else 1.0)
    edges, values, each = thin(steps, values, falls=any_family(family).falls)
    places = [name.removeprefix(f"{family}/") for name in names]
    return HeatTable(places=places, edges=np.append(edges, end), values=values, each=each)


def _at(one: Series, steps: set[int]) -> list[float]:
    return [value for step, value in zip(*one, strict=True) if step in steps]


def thin(
    steps: Array, values: Array, *, falls: bool = False, most: int = COLUMNS
) -> tuple[Array, Array, int]:
    """At most `most` columns of `each` readings: their largest (or least) value, NaN if one is not finite.

    Returns the first step of each column, the values and `each`.
    """
    each = -(-len(steps) // most)
    starts = np.arange(0, len(steps), each)
    worst: Any = np.minimum if falls else np.maximum
    finite = np.where(np.isfinite(values), values, np.nan)
    return steps[starts], worst.reduceat(finite, starts, axis=1), each

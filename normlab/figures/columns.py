"""The rows of a run as arrays: what figures are drawn from, with every logged value in it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from normlab.measure.families import depth, place

Array = NDArray[np.float64]
Rows = Iterable[Mapping[str, Any]]

#: Beyond what float32 holds: no axis can be made for them, and they count as infinite.
_FARTHEST = 1e100
#: What is kept besides numbers by layer.
_CURVES = ("loss", "val/loss")


class Series(NamedTuple):
    """A metric in those steps that have it."""

    steps: Array
    values: Array


class Table(NamedTuple):
    """A family of numbers by place and step, in those steps that have all of it: values[place, step]."""

    places: list[str]
    steps: Array
    values: Array


#: Series by metric; `step` has every logged step.
Columns = Mapping[str, Series]


def columns(rows: Rows, families: Iterable[str] = ()) -> Columns:
    """Loss and validation loss, and what `families` such as `grad_norm` and `stream/rms` have by place."""
    wanted = set(families)
    found: dict[str, tuple[list[float], list[float]]] = {"step": ([], [])}
    kept: dict[str, bool] = {}
    for row in rows:
        step = row["step"]
        found["step"][0].append(step)
        found["step"][1].append(step)
        for key, value in row.items():
            if key not in kept:
                where = place(key)
                kept[key] = key in _CURVES or (where is not None and where.family in wanted)
            if kept[key]:
                steps, values = found.setdefault(key, ([], []))
                steps.append(step)
                values.append(value)
    return {
        key: Series(np.array(steps, dtype=float), _drawable(values)) for key, (steps, values) in found.items()
    }


def _drawable(values: Sequence[float]) -> Array:
    array = np.array(values, dtype=float)
    far = np.abs(array) > _FARTHEST
    array[far] = np.copysign(np.inf, array[far])
    return array


def series(columns: Columns, key: str) -> Series:
    """A metric; empty where no row has it."""
    return columns.get(key, Series(np.empty(0), np.empty(0)))


def table(columns: Columns, family: str) -> Table:
    """`family` from the input to the output; no places if it has none, or not of layers."""
    found = [where.name for key in columns if (where := place(key)) and where.family == family]
    places = sorted(found, key=depth)
    if not any(name.startswith("layer") for name in places):
        return Table([], np.empty(0), np.empty((0, 0)))
    parts = [columns[f"{family}/{name}"] for name in places]
    steps = parts[0].steps
    for part in parts[1:]:
        steps = steps if np.array_equal(steps, part.steps) else np.intersect1d(steps, part.steps)
    values = np.array([part.values[np.searchsorted(part.steps, steps)] for part in parts])
    return Table(places, steps, values)


def families(keys: Iterable[str]) -> list[str]:
    """The families by layer among the metrics of a row."""
    found = (place(key) for key in keys)
    return list(dict.fromkeys(where.family for where in found if where and where.name.startswith("layer_")))


def common(parts: Sequence[Series]) -> tuple[Array, Array]:
    """The steps at which every one of several series has a finite value, from the first step on without a
    break, and the values there, [series, step]."""
    steps = parts[0].steps
    for part in parts[1:]:
        steps = np.intersect1d(steps, part.steps)
    values = np.array([part.values[np.searchsorted(part.steps, steps)] for part in parts])
    broken = np.flatnonzero(~np.isfinite(values).all(axis=0))
    end = broken[0] if len(broken) else len(steps)
    return steps[:end], values[:, :end]

"""A family of numbers against layer, at some steps: the gradient's profile, the growth of the stream."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from normlab.figures import panels
from normlab.figures.columns import Array, Table
from normlab.figures.heat import place_name
from normlab.figures.style import BAD, MARKERS, legend_below, log_heights, stride
from normlab.measure.families import Family

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: How embedding, last norm and head are called below the axis; they stand apart from the layers.
_ENDS = {"embedding": "emb", "final_norm": "norm", "head": "head"}


class Line(NamedTuple):
    """A variant at one step: median over its runs, lowest and highest, by place."""

    step: int
    median: Array
    low: Array
    high: Array


class DepthProfile(NamedTuple):
    """What one panel shows."""

    label: str
    places: Sequence[str]
    lines: Sequence[Line]


def profile(label: str, tables: Sequence[Table], wanted: Sequence[int] = ()) -> DepthProfile:
    """The data of a panel: `tables` are of one variant's runs with the same places.

    For each of the `wanted` steps the nearest at which it was measured, unless that lies beyond the end;
    where there are none, the first, the last and the powers of ten between them.
    """
    measured = np.unique(np.concatenate([each.steps for each in tables])).astype(int)
    lines = []
    for step in nearest_steps(measured, wanted or usual_steps(measured)):
        there = [each.values[:, each.steps == step] for each in tables if step in each.steps]
        values = np.concatenate(there, axis=1)
        median = np.median(values, axis=1)
        lines.append(Line(step, median, values.min(axis=1), values.max(axis=1)))
    return DepthProfile(label, tables[0].places, lines)


def usual_steps(measured: Sequence[int] | Array) -> list[int]:
    """The first measured step, the last one, and powers of ten between."""
    if not len(measured):
        return []
    first, last = int(measured[0]), int(measured[-1])
    between = [10**power for power in range(1, 9) if first < 10**power < last]
    # A power of ten just before the end says what the end says.
    return [first, *(step for step in between if step < 0.8 * last), last]


def nearest_steps(measured: Sequence[int] | Array, wanted: Sequence[int]) -> list[int]:
    """The measured steps nearest to the wanted ones, each once; none for those beyond the end."""
    known = np.asarray(measured, dtype=int)
    if not len(known):
        return []
    gap = int(np.median(np.diff(known))) if len(known) > 1 else 1
    usable = [step for step in wanted if step <= known[-1] + gap]
    return sorted({int(known[np.abs(known - step).argmin()]) for step in usable})


def profiles(shown: Sequence[DepthProfile], family: Family, title: str = "") -> "Figure":
    """Panels beside each other with one vertical axis: a line for each step, from dark to light, with the
    range of the seeds as a band."""
    from matplotlib.patches import Patch

    figure, every = panels.grid(title, [each.label for each in shown], share_x=False)
    steps = sorted({line.step for each in shown for line in each.lines})
    drawn: dict[int, Any] = {}
    signs: dict[str, Any] = {}
    for axes, each in zip(every, shown, strict=True):
        for line in each.lines:
            drawn[line.step] = _draw(axes, each.places, line, steps)
        signs |= _outside(axes, each, family)
        _name_layers(axes, each.places, wide=len(shown) == 1)
        if axes.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            axes.set_ylabel(family.axis if len(shown) == 1 else f"{family.title}\n({family.unit})")
    values = [value for each in shown for line in each.lines for value in (*line.low, *line.high)]
    if family.logarithmic and not any(value < 0 for value in values):
        log_heights(every[0], values)
    if any((line.high > line.low).any() for each in shown for line in each.lines):
        signs["range of the seeds, lowest to highest"] = Patch(color="#AAAAAA", alpha=0.5)
    labels = [f"step {step:,}" for step in sorted(drawn)]
    legend_below(figure, [*(drawn[step] for step in sorted(drawn)), *signs.values()], [*labels, *signs])
    return figure


def _positions(places: Sequence[str]) -> Array:
    """Where each place stands: layers at their numbers, the ends a little apart from them."""
    layers = [int(place.removeprefix("layer_")) for place in places if place not in _ENDS]
    apart = max(1.0, 0.07 * len(layers))
    after = iter((max(layers) + apart, max(layers) + 2 * apart))
    before = -apart
    return np.array(
        [
            int(place.removeprefix("layer_"))
            if place not in _ENDS
            else before
            if place == "embedding"
            else next(after)
            for place in places
        ],
        dtype=float,
    )


def _draw(axes: "Axes", places: Sequence[str], line: Line, steps: Sequence[int]) -> Any:
    """The layers as a line, the ends as markers by themselves."""
    import matplotlib

    number = steps.index(line.step)
    # The lightest fifth of viridis is hardly seen on white.
    colour = matplotlib.colormaps["viridis"](0.85 * number / max(len(steps) - 1, 1))
    look: dict[str, Any] = {"color": colour, "marker": MARKERS[number % len(MARKERS)], "markersize": 3.5}
    x = _positions(places)
    inner = np.array([place not in _ENDS for place in places])
    every = max(1, -(-int(inner.sum()) // 16))
    (drawn,) = axes.plot(x[inner], _finite(line.median[inner]), markevery=every, **look)
    axes.plot(x[~inner], _finite(line.median[~inner]), linestyle="", **look)
    for part in (inner, ~inner):
        if part is inner:
            axes.fill_between(
                x[part],
                _finite(line.low[part]),
                _finite(line.high[part]),
                color=colour,
                alpha=0.18,
                linewidth=0,
            )
        else:
            axes.vlines(
                x[part], _finite(line.low[part]), _finite(line.high[part]), color=colour, linewidth=0.8
            )
    return drawn


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.nan)


def _outside(axes: "Axes", shown: DepthProfile, family: Family) -> dict[str, Any]:
    """Crosses at the top where a value is not finite, circles at the bottom where a logarithmic axis has no
    place for zero."""
    x, across = _positions(shown.places), axes.get_xaxis_transform()
    signs: dict[str, Any] = {}
    for line in shown.lines:
        broken, zero = ~np.isfinite(line.median), (line.median == 0) & family.logarithmic
        if broken.any():
            (signs["not finite"],) = axes.plot(
                x[broken], np.full(int(broken.sum()), 0.98), "x", color=BAD, transform=across
            )
        if zero.any():
            (signs["zero"],) = axes.plot(
                x[zero], np.full(int(zero.sum()), 0.02), "ko", fillstyle="none", transform=across
            )
    return signs


def _name_layers(axes: "Axes", places: Sequence[str], *, wide: bool) -> None:
    """Numbers of layers as far as there is room, and the names of the ends."""
    x = _positions(places)
    layers = [number for number, place in enumerate(places) if place not in _ENDS]
    ends = {number for number, place in enumerate(places) if place in _ENDS}
    shown = sorted({*layers[:: stride(len(layers), 26 if wide else 8)], *ends})
    names = [_ENDS.get(places[number]) or place_name(places[number]) for number in shown]
    axes.set_xticks(x[shown], names)
    for label, number in zip(axes.get_xticklabels(), shown, strict=True):
        if places[number] in _ENDS and not wide:
            label.set_rotation(90)
    axes.set_xlabel("layer")
    pad = 0.4 * math.sqrt(max(len(layers), 1))
    axes.set_xlim(x.min() - pad, x.max() + pad)

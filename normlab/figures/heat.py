"""Heat maps: a family of numbers by layer and step.

Every value counts: where there are more steps than pixels, a pixel shows the largest of its steps, so that a
spike of one step is seen.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from normlab.figures import panels
from normlab.figures.columns import Array, Columns, Table, table
from normlab.figures.style import BAD, EVENT, log_axis, mark_events, stride, whole_steps
from normlab.measure.families import Family

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Events = Sequence[Mapping[str, Any]]

#: Columns of the heat map at most; each is at least one pixel wide on a screen.
_COLUMNS = 900
#: Labels of layers that have room in one map, and in one of several.
_LABELS, _FEW = 30, 12
_ZERO = "black"


class Heat(NamedTuple):
    """What one map shows: values by place and step, and the run's first step and end."""

    label: str
    values: Table
    start: float
    end: float
    events: Events


def heat(label: str, found: Columns, family: Family, events: Events = ()) -> Heat:
    """The data of a map. A value lasts until the next measurement."""
    steps = found["step"].steps
    if not len(steps):
        return Heat(label, table(found, family.key), 0, 1, ())
    gap = float(np.median(np.diff(steps))) if len(steps) > 1 else 1.0
    start, end = float(steps[0]), float(steps[-1]) + gap
    within = [event for event in events if start <= event["step"] <= end]
    return Heat(label, table(found, family.key), start, end, within)


def largest(values: Table, end: float, most: int = _COLUMNS) -> tuple[Array, Array]:
    """Edges of at most `most` stretches of steps, and the largest of each place's values in each.

    A stretch with a value that is not finite is NaN. The last one is as long as the others, and not beyond
    `end`.
    """
    steps = values.steps
    starts = np.unique(np.linspace(0, len(steps), min(most, len(steps)), endpoint=False).astype(int))
    finite = np.isfinite(values.values)
    broken = np.logical_or.reduceat(~finite, starts, axis=1)
    tops = np.maximum.reduceat(np.where(finite, values.values, -np.inf), starts, axis=1)
    gap = float(np.median(np.diff(steps))) if len(steps) > 1 else math.inf
    return np.append(steps[starts], min(steps[-1] + gap, end)), np.where(broken, np.nan, tops)


def heat_maps(heats: Sequence[Heat], family: Family, title: str = "") -> "Figure":
    """Maps beside each other on one scale of colours, the input at the bottom.

    What is not finite or, on a logarithmic scale, zero has a colour of its own. Events are marked at their
    step and, where there is one map, named, with a dot in the layer where they began.
    """
    alike = len({tuple(each.values.places) for each in heats}) == 1
    figure, every = panels.grid(title, [each.label for each in heats], share_x=False, share_y=alike)
    shown = [largest(each.values, each.end) for each in heats]
    pooled = np.concatenate([values.ravel() for _, values in shown])
    norm = _norm(pooled, family)
    for axes, each, (edges, values) in zip(every, heats, shown, strict=True):
        mesh = axes.pcolormesh(
            edges,
            np.arange(len(each.values.places) + 1) - 0.5,
            np.ma.masked_invalid(np.where(values == 0, norm.vmin / 10, values) if _log(norm) else values),
            norm=norm,
            cmap=_colours(),
            rasterized=True,
        )
        axes.set_xlim(each.start, each.end)
        whole_steps(axes, wide=len(heats) == 1)
        _name_layers(axes, each.values.places, _LABELS if len(heats) == 1 else _FEW)
        if len(heats) == 1:
            mark_events(axes, each.events)
        _mark_layers(axes, each)
    bar = figure.colorbar(mesh, ax=every, label=f"{family.axis}{', log scale' * _log(norm)}", pad=0.01)
    if _log(norm):
        log_axis(bar.ax.yaxis, norm.vmin, norm.vmax)
    _explain(figure, {BAD: bool(np.isnan(pooled).any()), _ZERO: _log(norm) and bool((pooled == 0).any())})
    return figure


def _norm(values: Array, family: Family) -> Any:
    """A logarithmic scale of colours, unless the family or a value below 0 forbids it."""
    from matplotlib.colors import LogNorm, Normalize

    finite = values[np.isfinite(values)]
    if family.logarithmic and not (finite < 0).any():
        above = finite[finite > 0]
        low, high = (float(above.min()), float(above.max())) if above.size else (0.1, 1.0)
        return LogNorm(low, high) if high > 1.01 * low else LogNorm(low / 3, high * 3)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return Normalize(low, high) if high > low else Normalize(low - 0.5, high + 0.5)


def _log(norm: Any) -> bool:
    from matplotlib.colors import LogNorm

    return isinstance(norm, LogNorm)


def _colours() -> Any:
    import matplotlib

    return matplotlib.colormaps["cividis"].with_extremes(bad=BAD, under=_ZERO)


def place_name(place: str) -> str:
    """How a place is called on an axis of layers: `3` for layer_03."""
    name = place.removeprefix("layer_")
    return str(int(name)) if name != place else place.replace("_", " ")


def _name_layers(axes: "Axes", places: Sequence[str], most: int) -> None:
    """Labels of the lines: the ends, and of the layers, evenly, as many as do not overlap."""
    layers = [number for number, place in enumerate(places) if place.startswith("layer")]
    apart = stride(len(places), most)
    ticks: list[int] = []
    for number in (0, len(places) - 1, *range(len(places) - 2, layers[-1], -1), *layers[::apart]):
        if all(abs(number - other) >= apart for other in ticks):
            ticks.append(number)
    ticks.sort()
    axes.set_yticks(ticks, [place_name(places[tick]) for tick in ticks], fontsize=7 if most > _FEW else 6)
    if axes.get_subplotspec().is_first_col():  # type: ignore[union-attr]
        axes.set_ylabel("layer")


def _explain(figure: "Figure", there: Mapping[str, bool]) -> None:
    """A legend of the special colours that are there."""
    from matplotlib.patches import Patch

    words = {BAD: "not finite", _ZERO: "zero"}
    patches = [Patch(color=colour, label=words[colour]) for colour, seen in there.items() if seen]
    if patches:
        figure.legend(handles=patches, loc="outside lower right", ncols=2)


def _mark_layers(axes: "Axes", heat: Heat) -> None:
    """A dot where each event began: at its step, in the first of its layers."""
    for event in heat.events:
        for place in list(event.get("layers") or [])[:1]:
            if place in heat.values.places:
                dot = ([event["step"]], [heat.values.places.index(place)])
                axes.plot(*dot, "o", color=EVENT, markersize=5, markeredgecolor="white", clip_on=False)

"""The final loss against a knob that is a number, the learning rate unless another is asked for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from normlab import statistics
from normlab.compare import axes as along_axes
from normlab.compare.axes import RATE
from normlab.compare.study import Study
from normlab.figures.loss import BANDS
from normlab.figures.style import COLOURS, MARKERS, draw_floors, legend_below, literal, log_axis, new_figure
from normlab.plot.material import short_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINES = ("-", "--", "-.", ":")
#: Room around the losses, and how far from them a floor may be to be shown, as shares of their range.
_SPARE, _NEAR = 0.08, 0.4


class RatePoint(NamedTuple):
    """A variant at one value: its runs' final validation losses, and how many of them are ln V
    because the run diverged."""

    value: float
    losses: Sequence[float]
    capped: int


class Sensitivity(NamedTuple):
    """One variant's curve."""

    label: str
    points: Sequence[RatePoint]


def sensitivities(study: Study, key: str = RATE) -> list[Sensitivity]:
    """The data: a curve for each combination of the other knobs, losses by the rule `CAP` of `compare`."""
    found = []
    for rest, axis in along_axes.along(study, key):
        points = [
            RatePoint(value, losses, sum(figures.capped for figures in study.of(group)))
            for value, group in axis.items()
            if (losses := study.values(group, "val/final"))
        ]
        if points:
            found.append(Sensitivity(short_label(rest) if rest else "", points))
    return found


def sensitivity_curves(
    curves: Sequence[Sensitivity],
    key: str,
    floors: dict[str, float],
    title: str = "",
    kind: str = "range",
) -> "Figure":
    """Means over seeds with their band, each run a dot; a run that diverged counts as ln V,
    and its point has a ring."""
    figure = new_figure(title)
    axes = figure.add_subplot()
    entries: dict[str, Any] = {}
    for number, curve in enumerate(curves):
        entries[literal(curve.label or "final validation loss")] = _draw(axes, curve, kind, number)
    _scale(axes, curves, key, floors)
    draw_floors(axes, floors)
    entries |= _signs(curves, kind)
    axes.set_xlabel(literal(key) + (" (peak learning rate)" if key == RATE else ""))
    axes.set_ylabel("final validation loss (nats per token)")
    legend_below(figure, list(entries.values()), list(entries))
    return figure


def _draw(axes: "Axes", curve: Sensitivity, kind: str, number: int) -> Any:
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    line_style = _LINES[number // len(COLOURS) % len(_LINES)]
    x = [point.value for point in curve.points]
    means = [float(np.mean(point.losses)) for point in curve.points]
    (line,) = axes.plot(x, means, line_style, color=colour, marker=marker, markersize=4.5, zorder=3)
    low, high = zip(*(_band(point.losses, kind) for point in curve.points), strict=True)
    axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    for point in curve.points:
        if len(point.losses) > 1:
            axes.plot([point.value] * len(point.losses), point.losses, ".", color=colour, markersize=2.5)
        if point.capped:
            ring = [point.value], [float(np.mean(point.losses))]
            axes.plot(*ring, "o", color="black", fillstyle="none", markersize=9, zorder=4)
    return line


def _band(losses: Sequence[float], kind: str) -> tuple[float, float]:
    estimate = statistics.mean(losses)
    if kind == "range" or estimate is None or estimate.low is None or estimate.high is None:
        return min(losses), max(losses)
    return estimate.low, estimate.high


def _scale(axes: "Axes", curves: Sequence[Sensitivity], key: str, floors: dict[str, float]) -> None:
    """Logarithmic across for rates, and for what is above 0 and spans a factor of 4; upward, room for the
    losses and the floors near them."""
    x = sorted({point.value for curve in curves for point in curve.points})
    if x[0] > 0 and (key == RATE or x[-1] >= 4 * x[0]):
        axes.set_xscale("log")
        log_axis(axes.xaxis, x[0], x[-1])
        if len(x) <= 10:
            axes.set_xticks(x, [f"{value:g}" for value in x])
            axes.minorticks_off()
    losses = [loss for curve in curves for point in curve.points for loss in point.losses]
    low, high = min(losses), max(losses)
    room = max(high - low, 0.05)
    near = [value for value in floors.values() if low - _NEAR * room <= value <= high + _NEAR * room]
    low, high = min([low, *near]), max([high, *near])
    axes.set_ylim(low - _SPARE * room, high + _SPARE * room)


def _signs(curves: Sequence[Sensitivity], kind: str) -> dict[str, Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    points = [point for curve in curves for point in curve.points]
    signs: dict[str, Any] = {}
    if any(len(point.losses) > 1 for point in points):
        signs[BANDS[kind]] = Patch(color="#AAAAAA", alpha=0.5)
    if any(point.capped for point in points):
        look = {"marker": "o", "color": "black", "fillstyle": "none", "markersize": 8, "linestyle": ""}
        signs["a run diverged: counts as ln V, a uniform guess"] = Line2D([], [], **look)  # type: ignore[arg-type]
    return signs

"""What a probe found: every quantity against depth, a line for each group of models, and the slopes."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from normlab.figures.style import COLOURS, GREY, MARKERS, legend_below, literal, log_axis, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ACROSS, _ROW = 3, 1.75

#: Label -> points (x, values of every seed there).
Lines = Mapping[str, Sequence[tuple[int, Sequence[float]]]]


class DrawnSlope(NamedTuple):
    """One slope: of a quantity in a group of models, against depth or block, over seeds."""

    group: str
    quantity: str
    mean: float
    interval: tuple[float, float] | None


def groups_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What varies besides depth and seed: the columns before the depth, each combination once."""
    found: list[dict[str, Any]] = []
    for row in rows:
        keys = list(row)[: list(row).index("depth")]
        group = {key: row[key] for key in keys}
        if group not in found:
            found.append(group)
    return found


def probe_figure(panels: Mapping[str, tuple[str, Lines]], title: str = "") -> "Figure":
    """One panel for each title: the axis's name and its lines. Medians over seeds, with the whole range.

    Axes are logarithmic, but the vertical one linear where a value is not above zero.
    """
    across = min(len(panels), _ACROSS) or 1
    figure = new_figure(title, _ROW * -(-len(panels) // across) + 0.6)
    labels: dict[str, Any] = {}
    for number, (name, (below, lines)) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(-(-len(panels) // across), across, number)
        axes.set_title(literal(name), loc="left")
        axes.set_xlabel(below, fontsize=7)
        labels |= _draw(axes, lines)
    legend_below(figure, list(labels.values()), list(labels))
    return figure


def _draw(axes: "Axes", lines: Lines) -> dict[str, Any]:
    drawn = {}
    for number, (label, points) in enumerate(lines.items()):
        usable = [(x, [value for value in values if math.isfinite(value)]) for x, values in points]
        usable = [(x, values) for x, values in usable if values]
        x = [place for place, _ in usable]
        look: dict[str, Any] = {
            "color": COLOURS[number % len(COLOURS)],
            "marker": MARKERS[number % len(MARKERS)],
        }
        medians = [np.median(values) for _, values in usable]
        (line,) = axes.plot(x, medians, markersize=3, markevery=max(len(x) // 6, 1), **look)
        low, high = ([pick(values) for _, values in usable] for pick in (min, max))
        axes.fill_between(x, low, high, color=look["color"], alpha=0.18, linewidth=0)
        drawn[literal(label)] = line
    every = [value for points in lines.values() for _, values in points for value in values]
    _scale(axes, sorted({x for points in lines.values() for x, _ in points}), every)
    return drawn


def _scale(axes: "Axes", places: Sequence[int], values: Sequence[float]) -> None:
    from matplotlib.ticker import NullFormatter

    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        axes.text(0.5, 0.5, "not finite", ha="center", transform=axes.transAxes)
        return
    axes.set_xscale("log", base=2)
    ticks = [x for x in places if math.log2(x).is_integer()] if len(places) > 8 else places
    axes.set_xticks(ticks, [str(x) for x in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    if min(finite) > 0:
        axes.set_yscale("log")
        # Within a decade a logarithmic axis has hardly a label, and noise looks like a trend.
        if max(finite) < 3 * min(finite):
            middle = math.sqrt(max(finite) * min(finite))
            axes.set_ylim(middle / 2, middle * 2)
        log_axis(axes.yaxis, *axes.get_ylim())


def slopes_of(records: Sequence[Mapping[str, Any]]) -> list[DrawnSlope]:
    """The slopes of a probe that there are."""
    known = ("quantity", "against", "mean", "sd", "ci", "seeds", "problem")
    found = []
    for each in records:
        group = " ".join(str(value) for key, value in each.items() if key not in known)
        mean, interval = each.get("mean"), each.get("ci")
        if isinstance(mean, float):
            quantity = f"{each['quantity']} ({each['against']})"
            found.append(DrawnSlope(group, quantity, mean, tuple(interval) if interval else None))
    return found


def slopes_figure(slopes: Sequence[DrawnSlope], title: str = "") -> "Figure":
    """Slopes with their 95 % intervals: a row a quantity, a marker a group."""
    quantities = list(dict.fromkeys(slope.quantity for slope in slopes))
    groups = list(dict.fromkeys(slope.group for slope in slopes))
    figure = new_figure(title, 1.1 + len(quantities) * max(0.3, 0.13 * len(groups)))
    axes = figure.add_subplot()
    shown: dict[str, Any] = {}
    for slope in slopes:
        number = groups.index(slope.group)
        y = quantities.index(slope.quantity) + 0.7 * ((number + 0.5) / len(groups) - 0.5)
        look: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)], "zorder": 3}
        if slope.interval:
            axes.plot(slope.interval, [y, y], "-", linewidth=0.9, **look)
        marker = MARKERS[number % len(MARKERS)]
        shown[literal(slope.group)] = axes.plot([slope.mean], [y], marker, markersize=4, **look)[0]
    axes.axvline(0, color=GREY, linewidth=0.7)
    means = [slope.mean for slope in slopes]
    room = max(max(means) - min(means), 0.5)
    # An interval over two seeds can be very wide; it must not push the others together.
    axes.set_xlim(min([*means, 0]) - 0.35 * room, max([*means, 0]) + 0.35 * room)
    axes.set_yticks(range(len(quantities)), [literal(name) for name in quantities])
    for line in range(len(quantities) - 1):
        axes.axhline(line + 0.5, color="#DDDDDD", linewidth=0.5)
    axes.set_ylim(len(quantities) - 0.5, -0.5)
    axes.set_xlabel("log-log slope, with its 95 % interval over seeds (Student)")
    legend_below(figure, list(shown.values()), list(shown))
    return figure

"""The picture of a probe: every quantity against depth, a line for each group of models."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's colours, then their line styles in turn.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#999933")
_STYLES = ("-", "--", ":", "-.")
_PANEL, _COLUMNS, _DPI = (3.6, 2.9), 4, 110

#: Label -> points (x, values of every seed there).
Lines = Mapping[str, Sequence[tuple[int, Sequence[float]]]]


def probe_figure(panels: Mapping[str, tuple[str, Lines]], title: str = "") -> "Figure":
    """One panel for each title: the axis's name and its lines. Medians over seeds, with the whole range.

    Axes are logarithmic, but the vertical one linear where a value is not above zero.
    """
    from matplotlib.figure import Figure

    rows = -(-len(panels) // _COLUMNS)
    size = (_PANEL[0] * min(len(panels), _COLUMNS), _PANEL[1] * rows + 0.6)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    figure.suptitle(title.replace("$", r"\$"), fontsize=10, x=0.01, ha="left")
    labels: dict[str, Any] = {}
    for number, (name, (across, lines)) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, _COLUMNS if len(panels) > _COLUMNS else len(panels), number)
        axes.set_title(name, fontsize=9, loc="left")
        axes.set_xlabel(across, fontsize=8)
        axes.tick_params(labelsize=7, which="both")
        labels |= _draw(axes, lines)
    if labels:
        figure.legend(labels.values(), labels.keys(), loc="outside lower center", ncols=6, fontsize=8)
    return figure


def _draw(axes: "Axes", lines: Lines) -> dict[str, Any]:
    drawn = {}
    for number, (label, points) in enumerate(lines.items()):
        usable = [(x, [value for value in values if math.isfinite(value)]) for x, values in points]
        usable = [(x, values) for x, values in usable if values]
        x = [place for place, _ in usable]
        colour, style = _COLOURS[number % len(_COLOURS)], _STYLES[number // len(_COLOURS) % len(_STYLES)]
        (line,) = axes.plot(
            x, [np.median(values) for _, values in usable], style, color=colour, marker=".", markersize=4
        )
        low, high = ([pick(values) for _, values in usable] for pick in (min, max))
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        drawn[label] = line
    every = [value for points in lines.values() for _, values in points for value in values]
    _scale(axes, sorted({x for points in lines.values() for x, _ in points}), every)
    return drawn


def _scale(axes: "Axes", places: Sequence[int], values: Sequence[float]) -> None:
    from matplotlib.ticker import NullFormatter

    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        axes.text(0.5, 0.5, "not finite", ha="center", fontsize=9, transform=axes.transAxes)
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

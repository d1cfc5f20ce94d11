"""Figures of a run: the loss with the floors of its text, and heat maps by layer and step.

Every value counts: where there are more steps than pixels, a pixel shows the largest of its steps, so that a
spike of one step is seen. The colours (cividis, and those of Okabe and Ito) suit the colour-blind and paper.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from normlab.sinks.run_directory import read_events, read_rows, read_summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

Rows = Sequence[Mapping[str, Any]]
Events = Sequence[Mapping[str, Any]]


class HeatMap(NamedTuple):
    """What a heat map shows: one series a place, with keys such as `stream/rms/layer_03`."""

    family: str
    title: str
    unit: str


#: By their names in wandb, `figures/<name>`.
HEAT_MAPS = {
    "grad_norm": HeatMap("grad_norm", "Gradient norm by layer", "gradient norm (L2, log scale)"),
    "stream_rms": HeatMap("stream/rms", "Residual stream after each layer", "RMS (log scale)"),
    "update_ratio": HeatMap("update/ratio", "Update over weights by layer", "ratio of norms (log scale)"),
}

_PLACE = re.compile(r"embedding|layer_\d+|final_norm|head")
_FLOORS = {
    "uniform": "ln V",
    "unigram": "unigram",
    "bigram": "bigram",
    "entropy_rate": "entropy rate",
}
_LOSS, _VALIDATION, _FLOOR, _BAD, _EVENT = "#0072B2", "#E69F00", "#555555", "#D55E00", "#CC79A7"
_ZERO = "black"
#: Columns of the heat map at most; each is at least one pixel wide at the figure's own resolution.
_COLUMNS = 900
_SIZE, _DPI = (9.0, 4.8), 130
#: More labels than this overlap.
_LABELS = 30
_EVENTS_NAMED = 6


def pictures(directory: Path) -> dict[str, "Image"]:
    """The figures of a run directory as images, by their key in wandb; those that there is data for."""
    rows, events = read_rows(directory), read_events(directory)
    if not rows:
        return {}
    floors = read_summary(directory).get("floors", {})
    made = {"figures/loss": image(loss_curve(rows, floors, events, title=directory.name))}
    for name, what in HEAT_MAPS.items():
        if _places(rows, what.family):
            made[f"figures/{name}"] = image(heat_map(rows, what, events, title=directory.name))
    return made


def image(figure: "Figure") -> "Image":
    """A figure in pixels, at its own resolution."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return Image.fromarray(pixels).convert("RGB")


def loss_curve(
    rows: Rows, floors: Mapping[str, float] | None = None, events: Events = (), title: str = ""
) -> "Figure":
    """Training and validation loss in nats over steps, with the floors as lines and the events as marks.

    A loss that is not finite is a cross at the top. Far above ln V the axis becomes logarithmic.
    """
    figure, axes = _axes(f"Loss  {title}")
    steps, losses = _series(rows, "loss")
    finite = np.isfinite(losses)
    # NaN breaks the line, where an infinity would be drawn to the edge.
    axes.plot(steps, np.where(finite, losses, np.nan), color=_LOSS, linewidth=0.9, label="training loss")
    val_steps, val_losses = _series([row for row in rows if "val/loss" in row], "val/loss")
    if len(val_steps):
        axes.plot(val_steps, val_losses, "o-", color=_VALIDATION, markersize=4, label="validation loss")
    known = [value for name, value in (floors or {}).items() if name in _FLOORS]
    _draw_floors(axes, floors or {})
    top = max([*losses[finite], *known], default=1.0)
    far = bool(known) and top > 3 * max(known)
    if far:
        _plain_log_axis(axes)
    if not finite.all():
        axes.plot(
            steps[~finite],
            np.full(int((~finite).sum()), 0.98),
            "x",
            color=_BAD,
            transform=axes.get_xaxis_transform(),
            label="loss not finite",
        )
    _mark_events(axes, events)
    axes.set_ylabel("loss (nats per token)")
    # Where the curve is not: one that falls leaves the right corner free, one that explodes the left.
    axes.legend(loc="upper left" if far else "upper right", fontsize=8, borderaxespad=2)
    return figure


def heat_map(rows: Rows, what: HeatMap, events: Events = (), title: str = "") -> "Figure":
    """A family of numbers by layer (the input at the bottom) and step, on a log scale.

    Of the rows, those that have them: a column lasts until the next one. What is not finite or zero has a
    colour of its own. Events are marked at their step, and in the layer where they began.
    """
    from matplotlib.colors import LogNorm

    figure, axes = _axes(f"{what.title}  {title}")
    places = _places(rows, what.family)
    if not places:
        axes.text(0.5, 0.5, f"no {what.family} in these rows", ha="center", transform=axes.transAxes)
        return figure
    steps, values = _table(rows, [f"{what.family}/{place}" for place in places])
    start, end = rows[0]["step"], rows[-1]["step"] + _gap(rows)
    edges, values = _largest(steps, values, end)
    low, high = _log_range(values)
    mesh = axes.pcolormesh(
        edges,
        np.arange(len(places) + 1) - 0.5,
        np.ma.masked_invalid(np.where(values == 0, low / 10, values)),
        norm=LogNorm(low, high),
        cmap=_colours(),
        rasterized=True,
    )
    bar = figure.colorbar(mesh, ax=axes, label=what.unit, pad=0.01)
    if high < 10 * low:
        bar.ax.yaxis.set_major_formatter("{x:.3g}")
        bar.ax.yaxis.set_minor_formatter("{x:.3g}")
    axes.set_xlim(start, end)
    _name_layers(axes, places)
    events = [event for event in events if start <= event["step"] <= end]
    _mark_events(axes, events)
    _mark_layers(axes, events, places)
    _explain(figure, {_BAD: not np.isfinite(values).all(), _ZERO: bool((values == 0).any())})
    return figure


def _axes(title: str) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    # A dollar sign would start a formula.
    axes.set_title(title.replace("$", r"\$"), loc="left", fontsize=10, pad=18)
    axes.margins(x=0.01)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    return figure, axes


def _colours() -> Any:
    import matplotlib

    return matplotlib.colormaps["cividis"].with_extremes(bad=_BAD, under=_ZERO)


def _series(rows: Rows, key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    steps = np.array([row["step"] for row in rows], dtype=float)
    return steps, np.array([row[key] for row in rows], dtype=float)


def _places(rows: Rows, family: str) -> list[str]:
    """The places that `family` has numbers of, from the input to the output; none if no row has any."""
    first = next((row for row in rows if f"{family}/layer_00" in row), {})
    names = (key.removeprefix(f"{family}/") for key in first if key.startswith(f"{family}/"))
    return [name for name in names if _PLACE.fullmatch(name)]


def _table(rows: Rows, keys: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The steps that have all of `keys`, and the values, a line a key."""
    chosen = [row for row in rows if all(key in row for key in keys)]
    steps = np.array([row["step"] for row in chosen], dtype=float)
    return steps, np.array([[row[key] for row in chosen] for key in keys], dtype=float)


def _gap(rows: Rows) -> float:
    """Steps from one row to the next, as a rule; 1 where there is but one."""
    return float(np.median(np.diff([row["step"] for row in rows]))) if len(rows) > 1 else 1.0


def _largest(
    steps: NDArray[np.float64], values: NDArray[np.float64], end: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges of at most `_COLUMNS` stretches of steps, and the largest of each line's values in each.

    A stretch with a value that is not finite is NaN. The last one is as long as the others, and not beyond
    `end`.
    """
    starts = np.unique(np.linspace(0, len(steps), min(_COLUMNS, len(steps)), endpoint=False).astype(int))
    broken = np.logical_or.reduceat(~np.isfinite(values), starts, axis=1)
    largest = np.maximum.reduceat(np.where(np.isfinite(values), values, 0.0), starts, axis=1)
    gap = float(np.median(np.diff(steps))) if len(steps) > 1 else math.inf
    return np.append(steps[starts], min(steps[-1] + gap, end)), np.where(broken, np.nan, largest)


def _log_range(values: NDArray[np.float64]) -> tuple[float, float]:
    usable = values[np.isfinite(values) & (values > 0)]
    if not usable.size:
        return 0.1, 1.0
    low, high = float(usable.min()), float(usable.max())
    return (low, high) if high > 1.01 * low else (low / 3, high * 3)


def _name_layers(axes: "Axes", places: Sequence[str]) -> None:
    """Labels of the lines, the first and the last; of those between as many as do not overlap."""
    stride = math.ceil(len(places) / _LABELS)
    count = max((len(places) - 1) // stride, 0) + 1
    ticks = np.linspace(0, len(places) - 1, count).round().astype(int)
    axes.set_yticks(ticks, [places[tick] for tick in ticks], fontsize=7)
    axes.set_ylabel("layer")


def _explain(figure: "Figure", there: Mapping[str, bool]) -> None:
    """A legend of the special colours that are there."""
    from matplotlib.patches import Patch

    words = {_BAD: "not finite", _ZERO: "zero"}
    patches = [Patch(color=colour, label=words[colour]) for colour, seen in there.items() if seen]
    if patches:
        figure.legend(handles=patches, loc="upper right", fontsize=8, ncols=2)


def _draw_floors(axes: "Axes", floors: Mapping[str, float]) -> None:
    for name, words in _FLOORS.items():
        if name in floors:
            axes.axhline(floors[name], color=_FLOOR, linewidth=0.8, linestyle="--")
            axes.annotate(
                f"{words} {floors[name]:.3f}",
                (1.0, floors[name]),
                xycoords=axes.get_yaxis_transform(),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=_FLOOR,
            )


def _mark_events(axes: "Axes", events: Events) -> None:
    """A mark above and below each event's step (a line would hide what is there), the first few named."""
    across = axes.get_xaxis_transform()
    for number, event in enumerate(events):
        step = event["step"]
        for place, shape in ((1.015, "v"), (-0.015, "^")):
            axes.plot([step], [place], shape, color=_EVENT, clip_on=False, transform=across, markersize=6)
        if number < _EVENTS_NAMED:
            axes.annotate(
                f"{event['kind']} {step}",
                (step, 1.0),
                xycoords=across,
                xytext=(5, 4),
                textcoords="offset points",
                fontsize=8,
            )


def _mark_layers(axes: "Axes", events: Events, places: Sequence[str]) -> None:
    """A dot where each event began: at its step, in the first of its layers."""
    for event in events:
        for place in event["layers"][:1]:
            if place in places:
                dot = ([event["step"]], [places.index(place)])
                axes.plot(*dot, "o", color=_EVENT, markersize=7, markeredgecolor="white", clip_on=False)


def _plain_log_axis(axes: "Axes") -> None:
    """A logarithmic y axis with ticks such as 2, 5, 10."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(NullFormatter())

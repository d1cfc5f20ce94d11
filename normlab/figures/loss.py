"""Curves of the loss: one a variant, its seeds as a band, against the floors of the text."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from normlab.figures import panels
from normlab.figures.columns import Array, Columns, Series, common, series
from normlab.figures.style import (
    BAD,
    COLOURS,
    FLOORS,
    MARKERS,
    draw_floors,
    legend_below,
    literal,
    log_axis,
    mark_events,
    whole_steps,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Events = Sequence[Mapping[str, Any]]

#: What a band of seeds may be, and how it is called.
BANDS = {"range": "range of the seeds, lowest to highest", "ci": "95 % interval of the mean (Student)"}
#: Above this many times the highest floor, or loss at the start, the axis becomes logarithmic.
_FAR = 3
#: Markers on a curve.
_MARKED = 8


class LossCurve(NamedTuple):
    """One run: its training and validation loss, as they were logged."""

    train: Series
    validation: Series
    events: Events


class Bundle(NamedTuple):
    """The runs of one variant."""

    label: str
    curves: Sequence[LossCurve]


class Facet(NamedTuple):
    """Variants that are drawn together."""

    label: str
    bundles: Sequence[Bundle]


class Look(NamedTuple):
    """How a variant is drawn."""

    colour: str
    marker: str
    number: int


class LossBand(NamedTuple):
    """Mean of several runs and the band around it, at the steps that all have; empty band of one run."""

    steps: Array
    mean: Array
    low: Array
    high: Array


def curve(found: Columns, events: Events = ()) -> LossCurve:
    """The data of one run."""
    return LossCurve(series(found, "loss"), series(found, "val/loss"), events)


def band(curves: Sequence[LossCurve], kind: str = "range") -> LossBand:
    """Mean and band of the training loss up to the last step that every run reached with a finite loss."""
    steps, values = common([each.train for each in curves])
    mean = values.mean(axis=0)
    if len(curves) == 1:
        return LossBand(steps, mean, mean, mean)
    if kind == "range":
        return LossBand(steps, mean, values.min(axis=0), values.max(axis=0))
    from normlab import statistics  # scipy: a second, which a training process need not wait for

    half = np.array([statistics.mean(column).half for column in values.T.tolist()])  # type: ignore[union-attr]
    return LossBand(steps, mean, mean - half, mean + half)


def loss_curves(
    facets: Sequence[Facet], floors: Mapping[str, float], title: str = "", kind: str = "range"
) -> "Figure":
    """Loss in nats over steps, with the floors as lines; facets beside each other on the same scales.

    A variant of several runs is their mean with a band, as far as all of them go; from there on each run is a
    thin line of its own. A loss that is not finite is a cross at the top. Of one run the validation loss is
    shown too and the events are marked; of several, where the first event of each began. Far above the floors
    the axis becomes logarithmic.
    """
    bundles = [bundle for facet in facets for bundle in facet.bundles]
    figure, every = panels.grid(title, [facet.label for facet in facets], above=12)
    looks = {label: _look(number) for number, label in enumerate(dict.fromkeys(b.label for b in bundles))}
    alone = len(bundles) == 1 and len(bundles[0].curves) == 1
    entries: dict[str, Any] = {}
    for axes, facet in zip(every, facets, strict=True):
        for bundle in facet.bundles:
            label = "training loss" if alone else bundle.label + _count(bundles)
            entries[literal(label)] = _draw(axes, bundle, kind, looks[bundle.label], marked=not alone)
        whole_steps(axes, wide=len(facets) == 1)
        if axes.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            axes.set_ylabel("loss (nats per token)")
    if alone:
        entries |= _validation(every[0], bundles[0].curves[0].validation)
    elif any(len(bundle.curves) > 1 for bundle in bundles):
        from matplotlib.patches import Patch

        entries[BANDS[kind]] = Patch(color="#AAAAAA", alpha=0.5)
    _scale(every[0], bundles, floors)
    for axes, facet in zip(every, facets, strict=True):
        entries |= _not_finite(axes, facet.bundles, looks)
        draw_floors(axes, floors, named=axes.get_subplotspec().is_last_col())  # type: ignore[union-attr]
        entries |= _mark(axes, facet.bundles, looks, alone=alone)
    legend_below(figure, list(entries.values()), list(entries))
    return figure


def _look(number: int) -> Look:
    """Colour and marker; from the ninth on the colours come again, dashed."""
    return Look(COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)], number)


def _count(bundles: Sequence[Bundle]) -> str:
    """How many runs a variant has, where all have as many, and more than one."""
    counts = {len(bundle.curves) for bundle in bundles}
    return f" (n={max(counts)})" if len(counts) == 1 and counts != {1} else ""


def _draw(axes: "Axes", bundle: Bundle, kind: str, look: Look, *, marked: bool) -> Any:
    """Mean, band and single ends of a variant; returns what stands for it in the legend."""
    found = band(bundle.curves, kind)
    colour = look.colour
    # Staggered, so that markers of curves on top of each other are apart.
    stride = max(len(found.steps) // _MARKED, 1)
    marks: dict[str, Any] = {
        "marker": look.marker if marked or len(found.steps) == 1 else "",
        "markevery": (look.number % 8 * stride // 8, stride),
        "markersize": 3.5,
    }
    dashed = "--" if look.number >= len(COLOURS) else "-"
    (line,) = axes.plot(found.steps, found.mean, dashed, color=colour, linewidth=0.9, zorder=3, **marks)
    if len(bundle.curves) > 1:
        axes.fill_between(found.steps, found.low, found.high, color=colour, alpha=0.18, linewidth=0)
        # A spike of one step is narrower than a pixel: the band alone would not show it, its edge does.
        for edge in (found.low, found.high):
            axes.plot(found.steps, edge, color=colour, linewidth=0.4, alpha=0.6, zorder=2)
    last = found.steps[-1] if len(found.steps) else -np.inf
    for each in bundle.curves:
        steps, losses = each.train
        rest = steps >= last
        # NaN breaks the line, where an infinity would be drawn to the edge.
        values = np.where(np.isfinite(losses[rest]), losses[rest], np.nan)
        axes.plot(steps[rest], values, color=colour, linewidth=0.6, zorder=2)
    return line


def _validation(axes: "Axes", found: Series) -> dict[str, Any]:
    if not len(found.steps):
        return {}
    values = np.where(np.isfinite(found.values), found.values, np.nan)
    (line,) = axes.plot(found.steps, values, "o--", color=COLOURS[1], markersize=4, linewidth=0.8, zorder=4)
    return {"validation loss": line}


def _scale(axes: "Axes", bundles: Sequence[Bundle], floors: Mapping[str, float]) -> None:
    """Limits around losses and floors; logarithmic where the losses go far above."""
    trains = [each.train for bundle in bundles for each in bundle.curves]
    losses = np.concatenate([each.values for each in trains])
    finite = losses[np.isfinite(losses)]
    known = [value for name, value in floors.items() if name in FLOORS]
    usual = max([*known, *(each.values[0] for each in trains if len(each.values))], default=np.nan)
    low, high = (pick([*finite, *known], default=1.0) for pick in (min, max))
    # Of losses alone the usual one is the first.
    if low > 0 and high > _FAR * (max(known) if known else usual if np.isfinite(usual) else np.inf):
        axes.set_yscale("log")
        axes.set_ylim(low * (low / high) ** 0.04, high * (high / low) ** 0.06)
        log_axis(axes.yaxis, low, high)
    else:
        room = max(high - low, 1e-3)
        axes.set_ylim(low - 0.05 * room, high + 0.05 * room)
    steps = np.concatenate([each.steps for each in trains])
    first, last = (steps.min(), steps.max()) if len(steps) else (0.0, 1.0)
    spare = 0.01 * (last - first) or 0.5
    axes.set_xlim(first - spare, last + spare)


def _not_finite(axes: "Axes", bundles: Sequence[Bundle], looks: Mapping[str, Look]) -> dict[str, Any]:
    """Crosses at the top, of their variant's colour where there are several."""
    shown: dict[str, Any] = {}
    for bundle in bundles:
        broken = [each.train.steps[~np.isfinite(each.train.values)] for each in bundle.curves]
        steps = np.unique(np.concatenate(broken))
        if len(steps):
            colour = looks[bundle.label].colour if len(looks) > 1 else BAD
            heights, across = np.full(len(steps), 0.98), axes.get_xaxis_transform()
            (cross,) = axes.plot(steps, heights, "x", color=colour, transform=across, zorder=5)
            shown = shown or {"loss not finite": cross}
    return shown


def _mark(
    axes: "Axes", bundles: Sequence[Bundle], looks: Mapping[str, Look], *, alone: bool
) -> dict[str, Any]:
    """Events of a run alone, all of them; of several, the first of each, in its variant's colour."""
    if alone:
        low, high = axes.get_xlim()
        events = [event for event in bundles[0].curves[0].events if low <= event["step"] <= high]
        mark_events(axes, events)
        return {}
    from matplotlib.lines import Line2D

    across = axes.get_xaxis_transform()
    marked = False
    for bundle in bundles:
        firsts = [min(event["step"] for event in each.events) for each in bundle.curves if each.events]
        if firsts:
            marked, look = True, looks[bundle.label]
            heights = np.full(len(firsts), 1.0 + 0.025 * (look.number % 3))
            axes.plot(firsts, heights, "v", color=look.colour, transform=across, clip_on=False)
    sign = Line2D([], [], marker="v", linestyle="", color="#777777")
    return {"first event of a run": sign} if marked else {}

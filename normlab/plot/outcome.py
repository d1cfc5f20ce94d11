"""Outcome maps: what became of the runs, over two knobs."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from normlab.catalogue.naming import spell
from normlab.compare.matching import Group, Grouping
from normlab.divergence.outcome import OUTCOMES
from normlab.errors import UserError, nearest
from normlab.figures import panels
from normlab.figures.style import WIDTH, literal
from normlab.plot.material import UnfitError, short_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: From light to dark as they get worse, so that a grey print shows it too.
COLOURS = {
    "stable": "#DDF1FB",
    "spiked": "#F0E442",
    "untrained": "#F2B84B",
    "stuck": "#E69F00",
    "exploded": "#C4500A",
    "nonfinite": "#1A1A1A",
}
#: Of what did not finish.
_OTHER = "white"
_DARK = ("exploded", "nonfinite")
#: Inches a cell needs for its words.
_ROOM = 0.62


class MapCell(NamedTuple):
    """The runs at two values: how many ended how, and their mean final validation loss if all have one."""

    outcomes: Mapping[str, int]
    loss: float | None


class OutcomeMap(NamedTuple):
    """One panel: cells by the values of the knob across and of the one upward, as they are typed."""

    label: str
    across: Sequence[str]
    up: Sequence[str]
    cells: Mapping[tuple[str, str], MapCell]


def knobs(grouping: Grouping, over: Sequence[str] = ()) -> list[str]:
    """The knobs of a map, across and upward: those of `over`, then those with most values.

    Raises:
        UserError: `over` is no knob of these runs, or there are more than two.
        UnfitError: nothing differs between the runs.
    """
    if len(over) > 2:
        raise UserError(f"--over {','.join(over)}: a map has two knobs")
    for key in over:
        if key not in grouping.knobs:
            known = ", ".join(grouping.knobs) or "nothing"
            raise UserError(
                f"--over {key}: does not differ between these runs; what differs: {known}."
                + nearest(key, grouping.knobs)
            )
    if not grouping.knobs:
        raise UnfitError("an outcome map needs runs that differ in a knob")
    counts = {key: len({spell(each.knobs[key]) for each in grouping.groups}) for key in grouping.knobs}
    varied = sorted((key for key in grouping.knobs if key not in over), key=lambda key: -counts[key])
    return [*over, *varied][: 2 if len(over) != 1 or varied else 1]


def maps(grouping: Grouping, chosen: Sequence[str]) -> list[OutcomeMap]:
    """The data: a map for each combination of the other knobs."""
    rest = [key for key in grouping.knobs if key not in chosen]
    found: dict[str, dict[tuple[str, str], MapCell]] = {}
    for each in grouping.groups:
        own = short_label({key: each.knobs[key] for key in rest}) if rest else ""
        place = [spell(each.knobs[key]) for key in chosen]
        found.setdefault(own, {})[place[0], place[1] if len(place) > 1 else ""] = _cell(each)
    across, up = (_values(grouping, chosen[number : number + 1]) for number in (0, 1))
    return [OutcomeMap(own, across, up, cells) for own, cells in found.items()]


def _cell(group: Group) -> MapCell:
    runs = list(group.runs.values())
    counts = Counter(run.word for run in runs)
    order = (*OUTCOMES, "stable")
    outcomes = {name: counts[name] for name in [*reversed(order), *counts] if counts[name]}
    losses = [run.summary.get("val/final") for run in runs]
    known = [loss for loss in losses if isinstance(loss, int | float) and math.isfinite(loss)]
    return MapCell(outcomes, sum(known) / len(runs) if len(known) == len(runs) else None)


def _values(grouping: Grouping, keys: Sequence[str]) -> list[str]:
    """The values of a knob: numbers rising, words as they come; one without a name where there is no knob."""
    if not keys:
        return [""]
    every = {spell(each.knobs[key]): each.knobs[key] for key in keys for each in grouping.groups}
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in every.values()):
        return sorted(every, key=lambda text: float(every[text]))
    return list(every)


def outcome_maps(shown: Sequence[OutcomeMap], chosen: Sequence[str], title: str = "") -> "Figure":
    """Maps beside each other. A cell is divided among its outcomes; it names them, with how many runs, and
    gives the mean final validation loss in nats."""
    figure, every = panels.grid(title, [each.label for each in shown])
    across = 2 if len(shown) in (2, 4) else min(len(shown), 3)
    room = (WIDTH - 1.2) / across / max(len(shown[0].across), 1)
    for axes, each in zip(every, shown, strict=True):
        for (x, y), cell in each.cells.items():
            _draw(axes, each.across.index(x), each.up.index(y), cell, room)
        _frame(axes, each, chosen)
    if len(shown) == 1:
        figure.set_size_inches(WIDTH, min(1.4 + 0.62 * len(shown[0].up), 9.0))
    _legend(figure, shown)
    return figure


def _frame(axes: "Axes", shown: OutcomeMap, chosen: Sequence[str]) -> None:
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlim(-0.5, len(shown.across) - 0.5)
    axes.set_ylim(-0.5, len(shown.up) - 0.5)
    names = [literal(value, 24) for value in shown.across]
    long = sum(map(len, names)) > 60
    axes.set_xticks(range(len(names)), names, rotation=30 if long else 0, ha="right" if long else "center")
    axes.set_yticks(range(len(shown.up)), [literal(value, 24) for value in shown.up])
    axes.set_xlabel(literal(chosen[0]))
    if len(chosen) > 1 and axes.get_subplotspec().is_first_col():  # type: ignore[union-attr]
        axes.set_ylabel(literal(chosen[1]))


def _draw(axes: "Axes", x: int, y: int, cell: MapCell, room: float) -> None:
    """Stripes from left to right, the better outcome first; words where there is room for them."""
    from matplotlib.patches import Rectangle

    total, left = sum(cell.outcomes.values()), x - 0.46
    for name, count in cell.outcomes.items():
        width = 0.92 * count / total
        hatch = None if name in COLOURS else "////"
        axes.add_patch(
            Rectangle(
                (left, y - 0.46),
                width,
                0.92,
                facecolor=COLOURS.get(name, _OTHER),
                edgecolor="#777777" if hatch else "none",
                hatch=hatch,
                linewidth=0,
            )
        )
        left += width
    if room < _ROOM:
        return
    lines = [f"{count} {name}" for name, count in cell.outcomes.items()]
    lines += [] if cell.loss is None else [f"{cell.loss:.3f}" if cell.loss < 100 else f"{cell.loss:.3g}"]
    dark = all(name in _DARK for name in cell.outcomes)
    mixed = len(cell.outcomes) > 1 or not set(cell.outcomes) <= set(COLOURS)
    box = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1.5} if mixed else None
    axes.text(
        x,
        y,
        literal("\n".join(lines)) if len(lines) == 1 else "\n".join(map(literal, lines)),
        ha="center",
        va="center",
        fontsize=6.5,
        color="white" if dark and not mixed else "black",
        bbox=box,
    )


def _legend(figure: "Figure", shown: Sequence[OutcomeMap]) -> None:
    from matplotlib.patches import Patch

    names = dict.fromkeys(name for each in shown for cell in each.cells.values() for name in cell.outcomes)
    ordered = [name for name in [*COLOURS, *names] if name in names]
    patches: list[Any] = [
        Patch(
            facecolor=COLOURS.get(name, _OTHER),
            edgecolor="#777777",
            linewidth=0.5,
            hatch=None if name in COLOURS else "////",
            label=literal(name),
        )
        for name in dict.fromkeys(ordered)
    ]
    if any(cell.loss is not None for each in shown for cell in each.cells.values()):
        from matplotlib.lines import Line2D

        patches.append(Line2D([], [], linestyle="", label="number: mean final validation loss, nats"))
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), handlelength=1.4)

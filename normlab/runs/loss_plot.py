"""The loss of a run in letters: every logged step, the floors of its text, and marks where events began."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.text import Text

from normlab.figures.columns import Series
from normlab.figures.style import FLOORS
from normlab.terminal import sketch, wording

#: The loss above this many times the highest floor makes the axis logarithmic.
_FAR = 3
#: Letters on the left: a number and the axis.
_LEFT = 8


class Room(NamedTuple):
    """What there is to draw in, in letters."""

    width: int
    height: int
    ascii_only: bool = False


def loss_plot(
    loss: Series, floors: Mapping[str, float], events: Sequence[Mapping[str, Any]], room: Room
) -> list[Text]:
    """`height` lines of curve, one of steps and, with events, one of their marks.

    A column reaches from the lowest to the highest loss of its steps, so that a spike of one step is seen;
    one with a loss that is not finite has a `!` at the top. Far above the floors the axis is logarithmic, and
    says so.
    """
    known = {floors[name]: f" {words} {floors[name]:.2f}" for name, words in FLOORS.items() if name in floors}
    across = max(room.width - _LEFT - max(map(len, known.values()), default=0), 8)
    low, high, logarithmic = _range(loss, list(known))
    share = _shares(low, high, logarithmic)
    spans = stretches(loss, across * sketch.DOTS[0])
    columns = [None if span is None else (share(span[0]), share(span[1])) for span in spans]
    strokes = sketch.strokes(columns, room.height, room.ascii_only)
    names = _names({share(value): words for value, words in known.items()}, room.height)
    broken = _broken(loss, across)
    lines = []
    for number, stroke in enumerate(strokes):
        label = (
            wording.short({0: high, room.height - 1: low}[number]) if number in (0, room.height - 1) else ""
        )
        line = Text(stroke, "cyan")
        if number in names:
            line.plain = line.plain.replace(" ", "-" if room.ascii_only else "─")
        if number == 0:
            _put(line, broken, "!", "bold red")
        lines.append(Text.assemble((f"{label:>{_LEFT - 2}} {'|' if room.ascii_only else '│'}", "dim"), line))
        lines[-1].append(names.get(number, ""), "yellow")
    return [*lines, *_below(loss, events, across, logarithmic)]


def stretches(loss: Series, count: int) -> list[tuple[float, float] | None]:
    """The lowest and highest value of the curve in each of `count` equal stretches of steps.

    The curve is straight from one logged step to the next, but does not go across a loss that is not finite.
    None where there is no curve.
    """
    found: list[tuple[float, float] | None] = [None] * count

    def reach(column: int, value: float) -> None:
        low, high = found[column] or (value, value)
        found[column] = min(low, value), max(high, value)

    before: tuple[int, float] | None = None
    for step, value in zip(*loss, strict=True):
        if not math.isfinite(value):
            before = None
            continue
        column = _column(loss, step, count)
        start, earlier = before or (column, float(value))
        # Halves: the largest float less the smallest is none.
        half, slope = earlier / 2, (float(value) / 2 - earlier / 2) / max(column - start, 1)
        for each in range(start + 1, column + 1):
            # From where the column before it ended, so that the two meet.
            reach(each, 2 * (half + slope * (each - 1 - start)))
            reach(each, 2 * (half + slope * (each - start)))
        reach(column, float(value))
        before = column, float(value)
    return found


def _broken(loss: Series, count: int) -> set[int]:
    """The columns of losses that are not finite, each up to the next logged step."""
    columns = [_column(loss, step, count) for step in loss.steps]
    starts = zip(columns, [*columns[1:], count], loss.values, strict=True)
    return {
        each
        for start, end, loss in starts
        if not math.isfinite(loss)
        for each in range(start, max(end, start + 1))
    }


def _column(loss: Series, step: float, count: int) -> int:
    first, last = loss.steps[0], loss.steps[-1]
    return min(max(int((step - first) * count / (last - first + 1)), 0), count - 1)


def _range(loss: Series, floors: Sequence[float]) -> tuple[float, float, bool]:
    """Lowest and highest of losses and floors, and whether the axis is logarithmic."""
    every = [value for value in [*loss.values.tolist(), *floors] if math.isfinite(value)]
    low, high = min(every, default=0.0), max(every, default=1.0)
    usual = max(floors, default=float(loss.values[0]))
    return low, high if high > low else low + 1.0, low > 0 and high > _FAR * usual


def _shares(low: float, high: float, logarithmic: bool) -> Callable[[float], float]:
    """Value -> its share of the height. Halves: twice the largest float is none.

    What was interpolated to a value far above the rest can lie a rounding beside it, so it is held within.
    """
    if logarithmic:
        start, end = math.log(low), math.log(high)
        return lambda value: (math.log(min(max(value, low), high)) - start) / (end - start)
    return lambda value: (value / 2 - low / 2) / (high / 2 - low / 2)


def _names(shares: Mapping[float, str], height: int) -> dict[int, str]:
    """The line of each floor; of two on one line the upper one goes to the next line above that is free."""
    found: dict[int, str] = {}
    for share, words in sorted(shares.items()):
        line = height - 1 - round(min(max(share, 0.0), 1.0) * (height - 1))
        line = next((each for each in range(line, -1, -1) if each not in found), line)
        found[line] = words
    return found


def _put(line: Text, columns: set[int], letter: str, style: str) -> None:
    for column in columns:
        line.plain = f"{line.plain[:column]}{letter}{line.plain[column + 1 :]}"
        line.stylize(style, column, column + 1)


def _below(loss: Series, events: Sequence[Mapping[str, Any]], width: int, logarithmic: bool) -> list[Text]:
    """The marks of the events, then the first and last step."""
    pad = " " * (_LEFT - 1)
    first, last = (str(int(step)) for step in (loss.steps[0], loss.steps[-1]))
    words = f"{first}{f'step {last}':>{max(width - len(first), 0)}}" if first != last else f"step {first}"
    axis = Text.assemble(pad, " ", (words, "dim"), ("  log scale" if logarithmic else "", "yellow"))
    marks = Text(" " * width)
    _put(marks, {_column(loss, event["step"], width) for event in events}, "^", "bold yellow")
    return [*([Text.assemble(pad, " ", marks)] if events else []), axis]

"""What `normlab explain` prints."""

import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from normlab.explain.case import Point, digits
from normlab.explain.explanation import Cause, Explanation, explain
from normlab.explain.numbers import MOVED
from normlab.terminal.wording import json_text, printable, short

#: Widest page: longer lines are hard to read.
_WIDEST = 100
_COLOURS = {
    "stable": "green",
    "spiked": "yellow",
    "stuck": "magenta",
    "untrained": "magenta",
    "exploded": "red",
    "nonfinite": "bold red",
}
#: How much a cause's numbers say, for people.
STRENGTHS = {"shown": " (the numbers show it)", "likely": " (the numbers fit it)", "beside": ""}


def print_explanation(directory: Path, *, as_json: bool) -> None:
    """Explain the run in `directory` on the terminal. Raises UserError as `explain` does."""
    told = explain(directory)
    if as_json:
        sys.stdout.write(json_text(told.record()) + "\n")
        return
    console = Console(highlight=False)
    console.width = min(console.width, _WIDEST)
    _head(console, told)
    _numbers(console, told)
    _causes(console, told.causes)
    _section(console, "What this does not know", told.unknown)


def _head(console: Console, told: Explanation) -> None:
    colour = _COLOURS.get(told.outcome, "bold")
    console.print(
        Text.assemble((printable(str(told.directory)), "bold"), ": ", (printable(told.outcome), colour)),
        soft_wrap=True,
    )
    for note in told.notes:
        console.print(Text(f"note: {printable(note)}", "yellow"))
    _section(console, "What happened", told.happened)
    if told.closest is not None:
        _section(
            console,
            "The closest call",
            [told.closest.text],
        )


def _section(console: Console, title: str, lines: Iterable[str]) -> None:
    lines = list(lines)
    if lines:
        console.print(Text(f"\n{title}", "bold"))
    for line in lines:
        console.print(Padding(Text(printable(line)), (0, 0, 0, 2)))


def _numbers(console: Console, told: Explanation) -> None:
    moved = [each for each in told.numbers if each.factor >= MOVED]
    if not moved:
        return
    seen = told.onset is not None and (told.rows_end is None or told.onset <= told.rows_end)
    around = f" around step {told.onset}" if seen else ""
    console.print(Text(f"\nWhat the instruments showed{around}", "bold"))
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    columns: dict[str, list[Point | None]] = {"start": [each.start for each in moved]}
    if seen:
        columns[f"before {told.onset}"] = [each.before for each in moved]
        columns[f"at {told.onset}"] = [each.onset for each in moved]
    end = "end" if told.rows_end is None else f"at {told.rows_end}, last row"
    columns[end] = [each.end for each in moved]
    shown = {title: points for title, points in columns.items() if any(points)}
    for title in shown:
        table.add_column(title, overflow="fold")
    for each, points in zip(moved, zip(*shown.values(), strict=True), strict=True):
        table.add_row(Text(f"  {each.name}"), *(Text(_cell(point)) for point in points))
    console.print(table)
    quiet = [each.name for each in told.numbers if each.factor < MOVED and each.end.step > each.start.step]
    if quiet:
        text = Text(f"never as much as doubled or halved: {'; '.join(quiet)}", "dim")
        console.print(Padding(text, (0, 0, 0, 2)))


def _cell(point: Point | None) -> str:
    if point is None:
        return "-"
    value = digits(point.value) if math.isfinite(point.value) else short(point.value)
    return f"{value} {point.place}" if point.place else value


def _causes(console: Console, causes: Sequence[Cause]) -> None:
    for index, cause in enumerate(causes):
        console.print(
            Text.assemble((f"\n{heading(index, cause)}", "bold"), STRENGTHS[cause.finding.strength])
        )
        console.print(Padding(Text(printable(cause.finding.claim)), (0, 0, 0, 2)))
        for evidence in cause.finding.evidence:
            console.print(Padding(_item("-", Text(printable(evidence.text))), (0, 0, 0, 2)))
        if cause.finding.source:
            console.print(Padding(Text(cause.finding.source, "dim"), (0, 0, 0, 2)))
        _offers(console, cause)


def heading(index: int, cause: Cause) -> str:
    """What stands above a cause."""
    if cause.finding.strength == "beside":
        return "Worth knowing"
    if cause.later:
        return "Of what came later"
    return "Why, as far as the numbers say" if index == 0 else "Also"


def _offers(console: Console, cause: Cause) -> None:
    if cause.offers:
        console.print(Text("\n  What is done about it", "bold"))
    for number, offer in enumerate(cause.offers, start=1):
        cure = offer.cure
        text = Text.assemble((cure.meaning, "bold"), f": {cure.support} ", (f"[{cure.source}]", "dim"))
        console.print(Padding(_item(f"{number}.", text), (0, 0, 0, 2)))
        # Not wrapped, so that it can be copied whole.
        console.print(Text(f"     {printable(offer.command)}", "cyan"), soft_wrap=True)


def _item(mark: str, text: Text) -> Table:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_row(Text(mark), text)
    return grid

"""The forms that a comparison's sheets can take: for a terminal, JSON, CSV, Markdown and LaTeX."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from normlab.compare.sheet import Column, Sheet
from normlab.disk.strict_json import plain
from normlab.terminal.wording import json_text

#: For measuring how wide a table would like to be.
_RULER = Console(width=10_000)


def show(sheets: Sequence[Sheet], notes: Sequence[str], console: Console, *, everything: bool) -> None:
    """Print the sheets; columns that do not fit are named under each, unless `everything` is wanted."""
    width = console.width
    for sheet in (sheet.filled() for sheet in sheets):
        columns = sheet.columns if everything else fitting(sheet, width)
        console.print(Text(f"\n{sheet.title}", style="bold"))
        if legend := sheet.legend(columns):
            console.print(Text(legend, style="dim"))
        table = rich_table(sheet, columns)
        console.width = max(width, _RULER.measure(table).maximum) if everything else width
        console.print(table)
        console.width = width
        hidden = [column.title for column in sheet.columns if column not in columns]
        for note in [*sheet.notes, *([f"not shown: {', '.join(hidden)} (--all)"] if hidden else [])]:
            console.print(_hanging(note))
    if notes:
        console.print(Text("\nNotes", style="bold"))
        for note in notes:
            console.print(_hanging(note))


def _hanging(note: str) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    grid.add_column(overflow="fold")
    grid.add_row("-", Text(note))
    return grid


def fitting(sheet: Sheet, width: int) -> list[Column]:
    """The columns without those of the highest ranks, as many as it takes to fit."""
    columns = list(sheet.columns)
    while _RULER.measure(rich_table(sheet, columns)).maximum > width:
        highest = max(columns, key=lambda column: column.rank)
        if not highest.rank:
            break
        columns.remove(highest)
    return columns


def rich_table(sheet: Sheet, columns: Sequence[Column]) -> Table:
    """The table as a terminal shows it."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(
            Text(column.title),
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=column.least is None,
            min_width=column.least,
        )
    for row in sheet.texts(columns):
        table.add_row(*map(Text, row))
    return table


def as_json(content: Mapping[str, Any]) -> str:
    """Strict JSON: a number that is not finite is a string, as in `summary.json`."""
    return json_text(content)


def as_csv(sheet: Sheet) -> str:
    """The sheet with the parts of an estimate as columns of their own: KEY, KEY.low, KEY.high, KEY.n."""
    rows = [dict(_leaves(row)) for row in sheet.records()]
    names = dict.fromkeys(name for row in rows for name in row)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().rstrip("\n")


def _leaves(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            # The main figure of an estimate goes by the name of its column.
            for name, leaf in _leaves(value):
                yield (key if name == "value" else f"{key}.{name}"), leaf
        else:
            yield key, json.dumps(plain(value)) if isinstance(value, list) else value


def as_markdown(sheets: Sequence[Sheet], notes: Sequence[str]) -> str:
    """A heading, a pipe table and notes for each sheet."""
    parts = [_markdown_sheet(sheet.filled()) for sheet in sheets]
    return "\n\n".join([*parts, *_bullets(notes)])


def _markdown_sheet(sheet: Sheet) -> str:
    lines = [_markdown_row([column.title for column in sheet.columns])]
    lines.append("|" + "|".join("---:" if column.right else "---" for column in sheet.columns) + "|")
    lines += map(_markdown_row, sheet.texts())
    legend = [_markdown(sheet.legend())] if sheet.legend() else []
    return "\n\n".join([f"### {_markdown(sheet.title)}", *legend, "\n".join(lines), *_bullets(sheet.notes)])


def _bullets(notes: Sequence[str]) -> list[str]:
    return ["\n".join(f"- {_markdown(note)}" for note in notes)] if notes else []


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_markdown, cells))} |"


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", text)


_LATEX = {
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "≥": r"$\geq$",
    "|": r"\textbar{}",
    # After the end of a row a bracket would be its optional argument.
    "[": "{[}",
    "]": "{]}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


def as_latex(sheets: Sequence[Sheet], notes: Sequence[str]) -> str:
    """A table environment for each sheet, for the package booktabs; notes as comments."""
    comments = [f"% {note}" for note in ("needs \\usepackage{booktabs}", *notes)]
    return "\n".join([*comments, *(_latex_sheet(sheet.filled()) for sheet in sheets)])


def _latex_sheet(sheet: Sheet) -> str:
    form = "".join("r" if column.right else "l" for column in sheet.columns)
    caption = ". ".join(part.rstrip(".") for part in (sheet.title, sheet.legend(), *sheet.notes) if part)
    body = [_latex_row([column.title for column in sheet.columns]), r"\midrule"]
    body += map(_latex_row, sheet.texts())
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex(caption)}}}",
        rf"\begin{{tabular}}{{{form}}}",
        r"\toprule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_latex, cells)) + r" \\"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)

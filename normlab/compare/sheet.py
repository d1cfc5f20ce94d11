"""A table without a form: columns, rows of plain values and estimates, notes. `formats.py` writes it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from normlab.catalogue.naming import spell, spell_short
from normlab.statistics import Estimate
from normlab.terminal.wording import printable

#: What stands where there is no value.
NONE = "-"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column: `name` for machines, `title` for people."""

    name: str
    title: str
    text: Callable[[Any], str] = spell
    right: bool = True
    #: 0 is always shown; where the page is too narrow, the highest go first.
    rank: int = 0
    #: Characters down to which a narrow page may fold it; None where it may not.
    least: int | None = None
    #: Left out for people where no row has a value; machines always get it.
    optional: bool = False
    #: What it is, for the legend of a table in which it is shown.
    meaning: str = ""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A table: a row maps columns' names to values; what is missing is None."""

    name: str
    title: str
    #: Units, and what all figures are; `legend` goes on with what the columns are.
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()

    def printable(self) -> "Sheet":
        """The same with titles and notes that can be printed; cells are made so as they are read."""
        return replace(
            self,
            title=printable(self.title),
            caption=printable(self.caption),
            columns=[replace(column, title=printable(column.title)) for column in self.columns],
            notes=[printable(note) for note in self.notes],
        )

    def legend(self, columns: Sequence[Column] | None = None) -> str:
        """The caption, and what each of the columns that are shown means, of all where none are given."""
        shown = self.columns if columns is None else columns
        meanings = [f"{column.title}: {column.meaning}" for column in shown if column.meaning]
        return ". ".join([self.caption, *meanings] if self.caption else meanings)

    def filled(self) -> "Sheet":
        """The same without optional columns in which no row has a value."""
        columns = [
            column
            for column in self.columns
            if not column.optional or any(row.get(column.name) is not None for row in self.rows)
        ]
        return replace(self, columns=columns)

    def texts(self, columns: Sequence[Column] | None = None) -> list[list[str]]:
        """The cells as they are read, row by row."""
        return [
            [cell(column, row.get(column.name)) for column in columns or self.columns] for row in self.rows
        ]

    def records(self) -> list[dict[str, Any]]:
        """The rows as plain nested values, for JSON."""
        return [{column.name: record(row.get(column.name)) for column in self.columns} for row in self.rows]


def cell(column: Column, value: Any) -> str:
    """A value as it is read; what cannot be printed is shown as `?`."""
    return NONE if value is None else printable(column.text(value))


def record(value: Any) -> Any:
    """A value of a cell as plain values."""
    return value.record() if hasattr(value, "record") else value


@dataclass(frozen=True, kw_only=True)
class Marked:
    """A mean over the runs of a group, of which some were capped, and some may have no value."""

    estimate: Estimate
    capped: int
    missing: int = 0

    def record(self) -> dict[str, Any]:
        """As it stands in JSON."""
        return self.estimate.record() | {"capped": self.capped}


@dataclass(frozen=True, kw_only=True)
class Starred:
    """A count, marked * where it is not of all."""

    value: int
    star: bool

    def __str__(self) -> str:
        return f"{self.value}{'*' if self.star else ''}"

    def record(self) -> int:
        """As it stands in JSON."""
        return self.value


def knob_columns(keys: Sequence[str]) -> list[Column]:
    """The columns that say what a row is about; the last words of the keys where those suffice."""
    leaves = [key.rpartition(".")[2] for key in keys]
    return [
        Column(
            name=key,
            title=leaf if leaves.count(leaf) == 1 else key,
            text=spell_short,
            right=False,
            least=4,
        )
        for key, leaf in zip(keys, leaves, strict=True)
    ]


def number(form: str) -> Callable[[Any], str]:
    """Writes a number or the value of an estimate."""

    def write(value: Any) -> str:
        value = getattr(value, "value", value)
        if not math.isfinite(value):
            return {math.inf: "never", -math.inf: "the other never"}.get(value, str(value))
        return f"{value:{form}}"

    return write


def spread(form: str) -> Callable[[Any], str]:
    """Writes `2.331 ± 0.012`, with * where some were capped and the count where not all runs have it."""

    def write(value: Marked) -> str:
        estimate, half = value.estimate, value.estimate.half
        text = f"{estimate.value:{form}}" + ("" if half is None else f" ± {half:{form.removeprefix('+')}}")
        text += "*" if value.capped else ""
        return f"{text} (n={estimate.n})" if value.missing else text

    return write


def interval(form: str) -> Callable[[Any], str]:
    """Writes `[-0.010, +0.020]`."""

    def write(value: Estimate) -> str:
        if value.low is None or value.high is None:
            return NONE
        return f"[{value.low:{form}}, {value.high:{form}}]"

    return write


def p_value(value: float) -> str:
    """Three places, and `<.001` below."""
    return "<.001" if value < 0.001 else f"{value:.3f}"

"""Two configs side by side: what differs, and nothing else."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from normlab.catalogue import groups, naming
from normlab.catalogue.naming import OUTSIDE
from normlab.config import RunConfig
from normlab.describe import page
from normlab.describe.equations import Equations
from normlab.describe.facts import Description

#: Columns that the names of what differs may take before they are wrapped.
_NAMES = 26


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two."""

    #: As typed, for the headings.
    title: str
    config: RunConfig
    found: Description


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Something that differs: this one's and the other's; None where one has nothing of the kind."""

    name: str
    this: Any
    against: Any

    @property
    def ratio(self) -> float | None:
        """This over the other, where both are numbers."""
        return self.this / self.against if self.this is not None and self.against else None


def settings(this: RunConfig, against: RunConfig) -> list[Pair]:
    """The keys that differ; a group's own name stands for its option."""
    ours, theirs = (dict(_flat(config)) for config in (this, against))
    return _pairs(ours, theirs)


def _flat(config: RunConfig) -> Iterator[tuple[str, Any]]:
    for key, value in naming.flat(dataclasses.asdict(config)):
        group, _, rest = key.partition(".")
        if group not in OUTSIDE:
            yield (group if group in groups.GROUPS and rest == "name" else key), value


def _pairs(ours: dict[str, Any], theirs: dict[str, Any]) -> list[Pair]:
    return [
        Pair(name=key, this=ours.get(key), against=theirs.get(key))
        for key in {**ours, **theirs}
        if ours.get(key) != theirs.get(key)
    ]


def equations(this: Description, against: Description) -> list[Pair]:
    """The equations that differ, block structure by block structure."""
    return _pairs(_equations(this), _equations(against))


def _equations(found: Description) -> dict[str, Equations]:
    several = len(found.structures) > 1
    named = {
        f"{name}, {page.of_blocks(each.blocks)}" if several else name: equation
        for each in found.structures
        for name, equation in page.equations_of(each)
    }
    return {**named, "ends": found.ends}


def numbers(this: Description, against: Description) -> list[Pair]:
    """Parameters, FLOPs and memory that differ."""
    return _pairs(_numbers(this), _numbers(against))


def _numbers(found: Description) -> dict[str, int]:
    flops = found.flops
    return {
        **{f"parameters, {name}": count for name, count in found.parameters.items()},
        "parameters": found.total,
        "parameters, non-embedding": found.non_embedding,
        **{f"FLOPs, {name}": count for name, count in flops.parts.items()},
        "FLOPs a token, forward": flops.forward,
        "FLOPs a token, training": flops.training,
        "FLOPs a step": flops.a_step,
        **{f"bytes, {held.name}": held.size for held in found.memory},
    }


def starts(this: Description, against: Description) -> list[Pair]:
    """Initial standard deviations that differ: in the first and the last block, and outside the blocks."""
    ours, theirs = _starts(this), _starts(against)
    once = {name for name in {**ours, **theirs} if all(_steady(row, name) for row in (ours, theirs))}
    return [
        Pair(
            name=pair.name.removesuffix(_FIRST) if pair.name in once else pair.name,
            this=pair.this,
            against=pair.against,
        )
        for pair in _pairs(ours, theirs)
        if pair.name.replace(_LAST, _FIRST) not in once or pair.name.endswith(_FIRST)
    ]


_FIRST, _LAST = ", first block", ", last block"


def _starts(found: Description) -> dict[str, float]:
    named = {name: start.std for name, start in found.starts_outside.items()}
    for where, (_, row) in ((_FIRST, found.starts[0]), (_LAST, found.starts[-1])):
        named |= {f"{name}{where}": start.std for name, start in row.items()}
    return named


def _steady(row: dict[str, float], name: str) -> bool:
    """Whether the first block's value is the last's too."""
    return name.endswith(_FIRST) and row.get(name) == row.get(name.replace(_FIRST, _LAST))


def facts(this: Description, against: Description) -> list[Pair]:
    """What the tables say of norm and placement."""
    ours, theirs = (
        {
            f"{kind}: {name}": text
            for kind, choice in (("placement", found.placement), ("norm", found.norm))
            for name, text in {"equation": choice.equation, "source": choice.source, **choice.facts}.items()
        }
        for found in (this, against)
    )
    return _pairs(ours, theirs)


def record(this: Side, against: Side) -> dict[str, Any]:
    """Both descriptions and what differs, as plain values for JSON."""
    differs = {
        "settings": settings(this.config, against.config),
        "equations": equations(this.found, against.found),
        "facts": facts(this.found, against.found),
        "starts": starts(this.found, against.found),
        "numbers": numbers(this.found, against.found),
    }
    plain = {
        name: [
            dataclasses.asdict(pair) | ({"ratio": pair.ratio} if name == "numbers" else {}) for pair in pairs
        ]
        for name, pairs in differs.items()
    }
    return {"this": this.found.record(), "against": against.found.record(), "differs": plain}


def sections(this: Side, against: Side, console: Console) -> list[RenderableType]:
    """The page of two."""
    ours, theirs = this.found, against.found
    parts: list[RenderableType] = [_legend("this", this), _legend("against", against)]
    keys = settings(this.config, against.config)
    if not keys and ours == theirs:
        return [*parts, Text("\nNothing differs.")]
    parts += _section("Settings", keys, page.plain)
    parts += _section("Equations", equations(ours, theirs), page.lines_of)
    parts += _drawings(ours, theirs, console)
    parts += _section("Published", facts(ours, theirs), str)
    parts += _section("Initial standard deviations", starts(ours, theirs), lambda value: f"{value:.4g}")
    parts += _numbers_section(numbers(ours, theirs))
    notes = [
        (f"{name}: {note}") for name, found in (("this", ours), ("against", theirs)) for note in found.notes
    ]
    return parts + ([page.heading("Notes"), page.indented(page.bullets(notes))] if notes else [])


def _legend(name: str, side: Side) -> RenderableType:
    return Group(Text(f"{name}: {side.title}", style="bold"), page.indented(page.headline(side.found)))


def _section(title: str, pairs: Sequence[Pair], text: Any) -> list[RenderableType]:
    """A table of name, this, against; nothing where nothing differs."""
    if not pairs:
        return []
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", min_width=min(_NAMES, max(len(pair.name) for pair in pairs)))
    for column in ("this", "against"):
        table.add_column(column, overflow="fold", ratio=1)
    for pair in pairs:
        cells = ("-" if value is None else text(value) for value in (pair.this, pair.against))
        table.add_row(Text(pair.name, style="cyan"), *(_text(cell) for cell in cells))
    return [page.heading(title), page.indented(table)]


def _text(cell: str | Text) -> Text:
    return Text(cell) if isinstance(cell, str) else cell


def _drawings(ours: Description, theirs: Description, console: Console) -> list[RenderableType]:
    if [each.drawing for each in ours.structures] == [each.drawing for each in theirs.structures]:
        return []
    named = [
        (title if len(found.structures) == 1 else f"{title}, {page.of_blocks(each.blocks)}", each.drawing)
        for title, found in (("this", ours), ("against", theirs))
        for each in found.structures
    ]
    return [page.heading("Blocks"), page.indented(page.beside(named, console))]


def _numbers_section(pairs: Iterable[Pair]) -> list[RenderableType]:
    table = page.titled("", "this", "against", "ratio")
    for pair in pairs:
        cells = (_size(pair.name, value) for value in (pair.this, pair.against))
        ratio = "" if pair.ratio is None else f"{pair.ratio:.3f}"
        table.add_row(Text(pair.name.replace("bytes", "memory"), style="cyan"), *cells, ratio)
    return [page.heading("Parameters, FLOPs, memory"), page.indented(table)] if table.row_count else []


def _size(name: str, value: int | None) -> str:
    if value is None:
        return "-"
    return page.mebibytes(value) if name.startswith("bytes") else f"{value:,}"

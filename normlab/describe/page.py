"""A description for people: sections of at most 80 columns."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from normlab.describe import costs
from normlab.describe.canvas import ASCII
from normlab.describe.constants import InitialStd
from normlab.describe.equations import Equations
from normlab.describe.facts import Choice, Description, Structure

#: Wider pages are hard to read.
_WIDEST = 100
#: Runs of blocks that the table of parameters has columns for.
_RUNS = 3
#: Columns before a section, and between two drawings.
_INDENT, _APART = 2, 6
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def new_console() -> Console:
    """Standard output, not too wide."""
    console = Console(highlight=False)
    console.width = min(console.width, _WIDEST)
    return console


def show(parts: Iterable[RenderableType], console: Console) -> None:
    """Print the sections of a page."""
    for part in parts:
        console.print(part)


def sections(found: Description, console: Console) -> list[RenderableType]:
    """The page of one config."""
    notes: list[RenderableType] = [heading("Notes"), indented(bullets(found.notes))]
    architectures: list[RenderableType] = [heading("By architecture"), indented(_architectures(found))]
    return [
        headline(found),
        heading("Equations"),
        indented(_equations(found)),
        heading("Block" if len(found.structures) == 1 else "Blocks"),
        indented(drawings(found.structures, console)),
        heading("Constants"),
        indented(_constants(found)),
        *(architectures if found.architectures else []),
        heading("Initial standard deviations"),
        indented(_starts(found)),
        heading("Parameters"),
        indented(_parameters(found)),
        heading("FLOPs"),
        indented(_flops(found)),
        heading("Memory of a training step"),
        indented(_memory(found)),
        *(notes if found.notes else []),
    ]


def bullets(lines: Sequence[str]) -> RenderableType:
    """A list."""
    return Group(*(Text(f"- {line}") for line in lines))


def headline(found: Description) -> Text:
    """The knobs on one line."""
    knobs = found.knobs
    text = Text.assemble(
        (f"{knobs['placement']}, {knobs['norm']}, {knobs['activation']}", "bold cyan"),
        f": depth {knobs['depth']}, width {knobs['width']}, {knobs['heads']} heads, "
        f"positions {knobs['positions']}, context {knobs['context']}, "
        f"vocabulary {found.vocabulary.tokens:,}",
    )
    text.append(f" ({found.vocabulary.note})" if found.vocabulary.note else "", style="yellow")
    return text


def heading(title: str) -> Text:
    """A section's title, with a line above it."""
    return Text(f"\n{title}", style="bold")


def indented(body: RenderableType) -> Padding:
    return Padding(body, (0, 0, 0, _INDENT))


def drawings(structures: Sequence[Structure], console: Console) -> RenderableType:
    """Blocks drawn, side by side where they fit."""
    named = [(f"blocks {each.blocks}" if len(structures) > 1 else "", each.drawing) for each in structures]
    return beside(named, console)


def of_blocks(blocks: str) -> str:
    """`block 1`, `blocks 2-6`."""
    return f"{'block' if blocks.isdecimal() else 'blocks'} {blocks}"


def beside(named: Sequence[tuple[str, Sequence[str]]], console: Console) -> RenderableType:
    """Drawings under their titles, next to each other, or on a narrow page one after the other."""
    texts = [Text("\n".join([title, *lines] if title else lines), no_wrap=True) for title, lines in named]
    if console.options.ascii_only:
        texts = [Text(text.plain.translate(ASCII), no_wrap=True) for text in texts]
    widths = [max(map(len, text.plain.splitlines())) for text in texts]
    if sum(widths) + _APART * (len(widths) - 1) + _INDENT > console.width:
        return Group(*(item for text in texts for item in (text, Text())))
    table = Table.grid(padding=(0, _APART, 0, 0))
    table.add_row(*texts)
    return table


def grid(*columns: str) -> Table:
    """A table without lines; each column `left` or `right`."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for justify in columns:
        table.add_column(justify=justify)  # type: ignore[arg-type]
    return table


def _equations(found: Description) -> Table:
    """As published, then as they are."""
    table = grid("left", "left")
    _choice(table, "placement", found.placement)
    _choice(table, "norm", found.norm)
    alike = len({each.inside for each in found.structures}) == 1
    for structure in found.structures:
        table.add_row()
        if len(found.structures) > 1:
            table.add_row(Text(of_blocks(structure.blocks), style="bold"))
        for name, each in equations_of(structure, inside=not alike):
            table.add_row(Text(name, style="cyan"), lines_of(each))
    table.add_row()
    for name, each in [*equations_of(found.structures[0])[2:] * alike, ("ends", found.ends)]:
        table.add_row(Text(name, style="cyan"), lines_of(each))
    return table


def equations_of(structure: Structure, inside: bool = True) -> list[tuple[str, Equations]]:
    """The equations of a block by what they are of: its sub-layers, then their insides."""
    attn, ffn = structure.inside
    own = [("attention", structure.attn), ("feed-forward", structure.ffn)]
    return [*own, ("inside A", attn), ("inside F", ffn)] if inside else own


def lines_of(found: Equations) -> Text:
    """Equations, and what their letters mean."""
    text = Text("\n".join(found.lines), style="green")
    for legend in found.legends:
        text.append(f"\n{legend}", style="dim")
    return text


def _choice(table: Table, kind: str, choice: Choice) -> None:
    text = Text(choice.equation or "no published equation", style="green" if choice.equation else "dim")
    text.append(f"\n{choice.source}" if choice.source else "", style="dim italic")
    told = "; ".join(f"{name} {fact}" for name, fact in choice.facts.items())
    text.append(f"\n{told}", style="dim")
    for key, (row, here) in choice.changed.items():
        text.append(f"\nhere {key} = {plain(here)}, not {plain(row)}", style="yellow")
    table.add_row(Text(f"{kind}\n{choice.name}", style="cyan"), text)


def plain(value: Any) -> str:
    """A setting as it would be typed."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "-"}[value]
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _constants(found: Description) -> RenderableType:
    laws = grid("left", "left", "left")
    for each in found.constants:
        laws.add_row(Text(each.name, style="cyan"), Text(each.law, style="green"), Text(each.value))
    columns = _columns(found)
    if not columns:
        return laws
    table = titled("blocks", *columns)
    for blocks, values in found.scales:
        table.add_row(blocks, *(values[key].text() for key in columns.values()))
    return Group(laws, Text(), table)


def _architectures(found: Description) -> Table:
    """A placement's constants for each kind of model, this config's marked."""
    table = grid("left", "left")
    for each in found.architectures:
        name = Text(f"placement={each.name}", style="cyan")
        name.append("\nthis one" if each.here else "", style="yellow")
        laws = f"a = {each.skip_law} = {each.skip}\ngain = {each.gain_law} = {each.gain}"
        table.add_row(name, Text(f"{each.architecture}\n").append(laws, style="green"))
    return table


def titled(*titles: str) -> Table:
    """A table with titles, the first column to the left."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for place, title in enumerate(titles):
        table.add_column(title, justify="right" if place else "left")
    return table


def _columns(found: Description) -> dict[str, str]:
    """Title -> key of each scale that is not always 1; one for both sub-layers where they have the same."""
    rows = [values for _, values in found.scales]
    keys = [key for key in rows[0] if not all(row[key].plain for row in rows)]
    columns: dict[str, str] = {}
    for key in keys:
        place, _, name = key.partition(".")
        twin = f"{'ffn' if place == 'attn' else 'attn'}.{name}"
        same = all(row[key] == row[twin] for row in rows)
        columns.setdefault(f"{'' if same else f'{place} '}{name.replace('_', ' ')}", key)
    return columns


def _starts(found: Description) -> RenderableType:
    names = list(dict.fromkeys(name for _, row in found.starts for name in row))
    table = titled("blocks", *names)
    for blocks, row in found.starts:
        table.add_row(blocks, *(start(row[name]) for name in names))
    outside = grid("left", "right")
    for name, each in found.starts_outside.items():
        outside.add_row(Text(name, style="cyan"), start(each))
    legend = "x: factor on what the distribution alone gives" if _any_gain(found) else ""
    return Group(table, Text(), outside, *([Text(legend, style="dim")] if legend else []))


def _any_gain(found: Description) -> bool:
    every = [*found.starts_outside.values(), *(each for _, row in found.starts for each in row.values())]
    return any(each.gain != 1 for each in every)


def start(found: InitialStd) -> Text:
    """A standard deviation, and the gain under it if it has one."""
    text = Text(f"{found.std:.4g}")
    text.append(f"\nx{found.gain:.4g}" if found.gain != 1 else "", style="yellow")
    return text


def _parameters(found: Description) -> Table:
    runs = found.parameters_of_blocks[:_RUNS]
    one = len(found.parameters_of_blocks) == 1
    titles = ("each block" if one else of_blocks(blocks) for blocks, _ in runs)
    table = titled("", *titles, "all", "share")
    for name, numbers in found.parameters.items():
        each = (f"{row[name]:,}" if name in row else "" for _, row in runs)
        table.add_row(Text(name, style="cyan"), *each, f"{numbers:,}", f"{numbers / found.total:.1%}")
    each = (f"{sum(row.values()):,}" for _, row in runs)
    table.add_row(Text("total", style="bold"), *each, f"{found.total:,}", "")
    blank = [""] * len(runs)
    table.add_row("non-embedding", *blank, f"{found.non_embedding:,}", "")
    return table


def _flops(found: Description) -> RenderableType:
    table, flops = grid("left", "right", "left"), found.flops
    for name, each in flops.parts.items():
        table.add_row(Text(name, style="cyan"), f"{each:,}", "")
    for name, value, note in (
        ("forward, a token", flops.forward, ""),
        ("training, a token", flops.training, "3 x forward"),
        ("6 N", flops.six_n, f"published estimate, {flops.six_n / flops.training:.2f} of that"),
        ("training, a step", flops.a_step, f"{short(flops.a_step)}FLOP, {flops.tokens_a_step:,} tokens"),
        ("training, the run", flops.a_run, f"{short(flops.a_run)}FLOP"),
    ):
        table.add_row(Text(name, style="bold"), f"{value:,}", Text(note, style="dim"))
    return Group(table, Text(costs.FLOPS, style="dim"))


def _memory(found: Description) -> RenderableType:
    table = grid("left", "right", "left")
    for held in found.memory:
        style = "bold" if held.name == "total" else "cyan"
        table.add_row(Text(held.name, style=style), mebibytes(held.size), Text(held.note, style="dim"))
    return Group(table, Text(costs.MEMORY, style="dim"))


def mebibytes(size: int) -> str:
    """`4.66 MiB`."""
    return f"{size / 2**20:,.2f} MiB"


def short(value: float) -> str:
    """`4.35 G`."""
    for size, prefix in _PREFIXES:
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:g} "

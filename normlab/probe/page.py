"""What `normlab probe` shows: tables with small plots, and a progress bar while it measures."""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from normlab.probe import curves
from normlab.probe.quantities import QUANTITIES
from normlab.probe.settings import Plan, name
from normlab.probe.statistics import Slope
from normlab.terminal import sketch, wording

#: Depths in a table at most, and blocks in a profile.
_DEPTHS, _PROFILE = 6, 16
#: More slopes with the same problem are only counted.
_NAMED = 4
#: From this width on there is room for the confidence intervals.
_WIDE = 100

Row = Mapping[str, Any]


@contextmanager
def progress(total: int, console: Console) -> Iterator[Callable[[str], None]]:
    """A bar on a terminal, nothing elsewhere. The function takes what was just measured."""
    columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns,
        TextColumn("{task.description}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("", total=total)
        yield lambda what: bar.update(task, advance=1, description=what)


def page(
    plan: Plan, rows: Sequence[Row], slopes: Sequence[Slope], width: int, ascii_only: bool
) -> RenderableType:
    """The tables: each quantity against depth with its slope, and the profiles of the deepest models."""
    parts: list[RenderableType] = [_heading(plan, rows)]
    for key, quantity in QUANTITIES.items():
        own = {name(slope.group): slope for slope in slopes if slope.quantity == key}
        title = Text.assemble((f"\n{key}", "bold"), (f"  {quantity.formula}", "dim"))
        parts += [title, _quantity(curves.by_depth(rows, plan.groups, key), own, width, ascii_only)]
    parts += [_profiles(plan, rows, ascii_only), _notes(slopes)]
    return Group(*parts)


def _heading(plan: Plan, rows: Sequence[Row]) -> Text:
    config, settings = plan.cells[0].config, plan.settings
    model = f"width {config.model.width}, context {config.model.context}, batch {config.train.batch_size}"
    source = (
        f"random tokens of {settings.vocab}" if settings.tokens == "random" else f"text of {config.data.name}"
    )
    seeds = len({row["seed"] for row in rows})
    return Text.assemble(
        ("normlab probe", "bold"),
        f": {len(rows)} models before their first step. {model}, {source}, init {config.init.name} ",
        f"gain {config.init.gain:g}. Median over {wording.counted(seeds, 'seed')}.",
    )


def _quantity(drawn: curves.Curves, slopes: Mapping[str, Slope], width: int, ascii_only: bool) -> Table:
    depths = sorted({depth for points in drawn.values() for depth, _ in points})
    shown = [depths[place] for place in sketch.thin(len(depths), _DEPTHS)]
    against = next((slope.against for slope in slopes.values()), "depth")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="dim", show_edge=False)
    table.add_column("depth")
    for depth in shown:
        table.add_column(str(depth), justify="right", no_wrap=True)
    table.add_column("")
    table.add_column(f"slope ({against})", no_wrap=True)
    if width >= _WIDE:
        table.add_column("95 % interval", no_wrap=True)
    medians = {
        label: {x: statistics.median(values) for x, values in points} for label, points in drawn.items()
    }
    scale = _log_range([value for points in medians.values() for value in points.values()])
    for label, points in medians.items():
        cells = [wording.short(points[depth]) if depth in points else "" for depth in shown]
        small = _plot([points[depth] for depth in depths if depth in points], scale, ascii_only)
        slope = slopes.get(label)
        fitted = [_slope(slope)] + ([_interval(slope)] if width >= _WIDE else [])
        table.add_row(Text(label, style="cyan"), *cells, small, *fitted)
    return table


def _slope(slope: Slope | None) -> str:
    if slope is None or slope.mean is None:
        return "-"
    return f"{slope.mean:+.3f}" + ("" if slope.sd is None else f" ± {slope.sd:.3f}")


def _interval(slope: Slope | None) -> str:
    return "" if slope is None or slope.ci is None else f"{slope.ci[0]:+.3f} to {slope.ci[1]:+.3f}"


def _profiles(plan: Plan, rows: Sequence[Row], ascii_only: bool) -> RenderableType:
    """Both profiles of each group's deepest model, from the first block to the last."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="dim", show_edge=False)
    table.add_column("by block", overflow="fold")
    for column in ("stream variance", "first", "last", "dL/dx", "first", "last"):
        table.add_column(column, no_wrap=True)
    both = [
        curves.by_block(rows, plan.groups, f"{key}_by_block") for key in ("stream_variance", "grad_stream")
    ]
    medians = [
        {label: [statistics.median(values) for _, values in points] for label, points in each.items()}
        for each in both
    ]
    scales = [_log_range([value for series in each.values() for value in series]) for each in medians]
    for label in medians[0]:
        cells: list[str | Text] = [Text(label, style="cyan")]
        for each, scale in zip(medians, scales, strict=True):
            series = [each[label][place] for place in sketch.thin(len(each[label]), _PROFILE)]
            ends = [wording.short(series[0]), wording.short(series[-1])] if series else ["", ""]
            cells += [_plot(series, scale, ascii_only), *ends]
        table.add_row(*cells)
    return Group(Text("\nAfter each block of the deepest models, on log scales", style="bold"), table)


def _notes(slopes: Sequence[Slope]) -> Text:
    """Why slopes are missing, each reason once."""
    reasons: dict[str, list[str]] = {}
    for slope in slopes:
        if slope.problem:
            reasons.setdefault(slope.problem, []).append(f"{slope.quantity} ({name(slope.group)})")
    lines = []
    for why, where in reasons.items():
        some = ", ".join(where) if len(where) <= _NAMED else f"{len(where)} of {len(slopes)} slopes"
        lines.append(f"{some}: {why}")
    return Text("\n" + "\n".join(lines), style="yellow") if lines else Text("")


def _log_range(values: Sequence[float]) -> tuple[float, float]:
    logs = [math.log10(value) for value in values if math.isfinite(value) and value > 0]
    low, high = min(logs, default=0.0), max(logs, default=1.0)
    # What hardly changes is drawn as hardly changing.
    spare = max(0.3 - (high - low), 0) / 2
    return low - spare, high + spare


def _plot(values: Sequence[float], scale: tuple[float, float], ascii_only: bool) -> str:
    """A curve one line high, on a log scale; what cannot be drawn there is a gap."""
    columns = [
        math.log10(value) if value > 0 and math.isfinite(value) else math.inf if value == math.inf else None
        for value in values
    ]
    return sketch.curve(columns, 1, *scale, ascii_only)[0]

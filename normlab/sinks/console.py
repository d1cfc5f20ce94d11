"""The console sink: a live view on a terminal, plain lines elsewhere, and a summary at the end."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import rich
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from normlab.sinks import sketch
from normlab.sinks.base import Opening, Row, event_key
from normlab.sinks.progress import Progress

#: Times a second the live view is drawn; a row only leaves its numbers for the next time.
REFRESH = 4
#: A plain line comes after this share of the steps and this many seconds, whichever is later.
SHARE, SECONDS = 0.1, 10.0
_COLOURS = {
    "stable": "green",
    "spiked": "yellow",
    "stuck": "magenta",
    "exploded": "red",
    "nonfinite": "bold red",
    "interrupted": "yellow",
    "failed": "bold red",
}
_EVENTS_SHOWN = 4


class ConsoleSink:
    """Shows a run. `plain` asks for lines on a terminal too, where several runs share it."""

    def __init__(
        self,
        console: Console | None = None,
        plain: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or rich.get_console()
        terminal = self._console.is_terminal and not self._console.is_dumb_terminal
        self._plain = plain or not terminal or self._console.is_jupyter
        self._clock = clock
        self._progress: Progress | None = None
        self._live: Live | None = None
        self._told = (0, 0.0)

    def open(self, opening: Opening) -> None:
        run = self._progress = Progress(opening, self._clock)
        self._told = (opening.first_step, self._clock())
        if self._plain:
            self._say(_start_line(run))
        else:
            self._live = Live(
                console=self._console,
                get_renderable=lambda: _View(run),
                refresh_per_second=REFRESH,
                transient=True,
                vertical_overflow="crop",
            )
            self._live.start()

    def row(self, row: Row) -> None:
        run = self._progress
        assert run is not None
        run.take(row)
        if self._plain:
            now, (step, then) = self._clock(), self._told
            due = run.done - step >= SHARE * run.steps and now - then >= SECONDS
            if due or "val/loss" in row or run.done == run.steps:
                self._told = (run.done, now)
                self._say(_progress_line(run, row))

    def event(self, event: Mapping[str, Any]) -> None:
        assert self._progress is not None
        new = event_key(event) not in self._progress.events
        self._progress.events[event_key(event)] = dict(event)
        if new and self._plain:
            self._say(Text.assemble((_event_words(event), "yellow")))

    def close(self, summary: Mapping[str, Any]) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._progress is not None:
            self._console.print(_summary_panel(self._progress, summary))
            for line in _where(self._progress, summary):
                self._say(line)

    def _say(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True, highlight=False)


class _View:
    """The live view, drawn for the width and height there are."""

    def __init__(self, run: Progress) -> None:
        self._progress = run

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        run, ascii_only = self._progress, options.ascii_only
        width = options.max_width - 4
        rows = max(console.size.height - 9, 4)
        gradients = run.gradients()
        parts: list[RenderableType] = [_headline(run, width), _numbers(run), Text()]
        if width >= 70:
            half = (width - 3) // 2
            bars = _bars(gradients, width - 3 - half, min(rows, 28), ascii_only)
            lines = _curve(run, half, min(max(len(bars) - 2, 6), rows - 1), ascii_only)
            parts.append(_side_by_side(lines, bars, half))
        else:
            lines = _curve(run, width, min(6, rows - 1), ascii_only)
            parts += [*lines, *_bars(gradients, width, max(rows - len(lines), 0), ascii_only)]
        if run.events:
            parts += [Text(), _last_event(run, width)]
        yield Panel(
            Group(*parts),
            title=Text.assemble(("normlab ", "bold"), run.opening.name),
            title_align="left",
            border_style="blue",
            width=options.max_width,
        )


def _headline(run: Progress, width: int) -> RenderableType:
    before = Text.assemble("step ", (f"{run.done}", "bold"), f"/{run.steps}  ")
    speed = run.number("time/tokens_per_second")
    after = f"  ETA {sketch.duration(run.eta())}"
    if math.isfinite(speed):
        after += f"  {sketch.short(speed)} tokens/s"
    table = Table.grid()
    room = max(width - len(before.plain) - len(after), 5)
    progress = ProgressBar(total=run.steps, completed=run.done, width=room)
    table.add_row(before, progress, Text(after))
    return table


def _numbers(run: Progress) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    pairs = (
        ("loss", f"{run.number('loss'):.4f}", "bold cyan"),
        ("val", f"{run.val:.4f}", "cyan"),
        ("lr", sketch.short(run.number("lr")), ""),
        ("grad norm", sketch.short(run.number("grad_norm/global")), ""),
    )
    for name, value, style in pairs:
        if value != "nan" or name == "loss":
            text.append(f"{name} ", "dim").append(value, style).append("   ")
    return text


def _curve(run: Progress, width: int, height: int, ascii_only: bool) -> list[Text]:
    """The loss over the whole run as an area, the floors as lines with their names beside them."""
    labels = [f"{name} {value:.2f}" for name, value in run.floors()]
    room = max(map(len, labels), default=0) + 1
    columns = run.trace.columns(max(width - room, 8))
    known = [value for value in columns if value is not None and math.isfinite(value)]
    floors = [value for _, value in run.floors()]
    # From a little under the lowest floor or loss, to ln V or the highest loss; an explosion is cut off.
    low = min(known + floors, default=0.0)
    high = min(max(known + floors, default=1.0), 1.5 * max(floors, default=math.inf))
    low, high = low - 0.06 * (high - low) - 1e-6, high + 0.02 * (high - low) + 1e-6
    lines = [Text(line, "cyan") for line in sketch.curve(columns, height, low, high, ascii_only)]
    marks: dict[int, str] = {}
    for label, value in zip(labels, floors, strict=True):
        line = height - 1 - min(max(int((value - low) / (high - low) * height), 0), height - 1)
        while line in marks and line + 1 < height:
            line += 1
        marks.setdefault(line, label)
    for line, label in marks.items():
        # The line shows where the curve has gone under it.
        dashes = lines[line].plain.replace(" ", "-" if ascii_only else "─")
        lines[line] = Text(dashes, "cyan")
        lines[line].highlight_regex("[-─]+", "dim")
        lines[line].append(f" {label}", "yellow")
    return [Text("loss, mean of each stretch", "bold", no_wrap=True), *lines]


def _bars(
    gradients: Sequence[tuple[str, float]], width: int, height: int, ascii_only: bool
) -> list[Text]:
    """Norm of each layer's gradient on a log scale: the depth profile, the input at the top."""
    shown = [gradients[index] for index in sketch.thin(len(gradients), height - 1)]
    if not shown:
        return []
    low, high = sketch.decades([value for _, value in gradients])
    some = f", {len(shown)} of {len(gradients)}" if len(shown) < len(gradients) else ""
    lines = [Text(f"gradient norm, 1e{low:+03d} to 1e{high:+03d}{some}", "bold", no_wrap=True, overflow="crop")]
    name_width = max(len(name) for name, _ in shown)
    for name, value in shown:
        line = Text(f"{name:<{name_width}} ", no_wrap=True, overflow="crop")
        number = f"{sketch.short(value):>8}"
        room = max(width - len(line) - len(number) - 1, 1)
        if math.isfinite(value) and value > 0:
            share = (math.log10(value) - low) / (high - low)
            line.append(f"{sketch.bar(share, room, ascii_only):<{room}}", "green").append(f" {number}")
        else:
            style = "dim" if value == 0 else "bold red"
            line.append(" " * room).append(f" {number}", style)
        lines.append(line)
    return lines


def _side_by_side(left: list[Text], right: list[Text], width: int) -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column(width=width)
    table.add_column()
    table.add_row(Group(*left), Group(*right))
    return table


def _last_event(run: Progress, width: int) -> Text:
    events = list(run.events.values())
    text = Text.assemble(("last event ", "bold"), (_event_words(events[-1]), "yellow"))
    if len(events) > 1:
        text.append(f"  ({len(events)} in all)", "dim")
    text.truncate(width, overflow="ellipsis")
    return text


def _event_words(event: Mapping[str, Any]) -> str:
    """An event in one line; its own message already says step and value in words."""
    words = f"{event['kind']} at step {event['step']}: {event['message']}"
    if event.get("recovered"):
        words += f" (recovered after {event.get('recovery_steps')} steps)"
    return words


def _start_line(run: Progress) -> Text:
    opening = run.opening
    floors = ", ".join(f"{name} {value:.3f}" for name, value in run.floors())
    start = f"from step {run.done} " if opening.resumed else ""
    return Text.assemble(
        (opening.name, "bold"),
        f": {opening.parameters:,} parameters, {start}to step {run.steps}; floors of the text in nats: {floors}",
    )


def _progress_line(run: Progress, row: Row) -> Text:
    text = f"step {run.done}/{run.steps}  loss {run.number('loss'):.4f}"
    if "val/loss" in row:
        text += f"  val {run.val:.4f}"
    text += f"  lr {sketch.short(run.number('lr'))}"
    speed = run.number("time/tokens_per_second")
    if math.isfinite(speed):
        text += f"  {sketch.short(speed)} tokens/s"
    return Text(text + (f"  ETA {sketch.duration(run.eta())}" if run.done < run.steps else ""))


def _summary_panel(run: Progress, summary: Mapping[str, Any]) -> Panel:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _summary_rows(run, summary):
        table.add_row(name, value)
    outcome = str(summary.get("outcome") or summary.get("status"))
    return Panel(
        table,
        title=Text.assemble(("normlab ", "bold"), run.opening.name),
        title_align="left",
        border_style=_COLOURS.get(outcome, "blue"),
        width=min(run_width, 120) if (run_width := None) else None,
    )

"""The live view of a run on a terminal, drawn from its `Progress` for the width and height there are."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from normlab.sinks.console.progress import Progress
from normlab.terminal import sketch, wording
from normlab.terminal.profile import TextProfile, depth_profile

#: Events that are listed, and whose layers are marked; the loss keeps at least this many lines.
_LISTED, _LOWEST = 4, 6
#: Columns from which on the stream is shown beside the gradient.
_WIDE = 104


class LiveView:
    """What rich draws anew at each refresh."""

    def __init__(self, run: Progress) -> None:
        self._progress = run

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        run, ascii_only = self._progress, options.ascii_only
        width = options.max_width - 4
        rows = max(console.size.height - 8, 4)
        events = list(run.events.values())
        latest = events[-_LISTED:]
        profiles = _profiles(run, width)
        marked = {layer for event in latest for layer in event["layers"]}
        parts: list[RenderableType] = [_headline(run, width), _numbers(run), Text()]
        if width >= 70:
            left = (width - 3) * (40 if len(profiles) > 1 else 50) // 100
            bars = depth_profile(profiles, marked, width - 3 - left, min(rows, 28), ascii_only)
            height = min(max(len(bars) - 2, 10), rows - 2)
            known = [_event_line(event, left) for event in latest] if height >= _LOWEST + _LISTED else []
            lines = _curve(run, left, height - len(known), ascii_only)
            parts.append(_side_by_side([*lines, *known], bars, left))
        else:
            lines = _curve(run, width, min(6, rows - 2), ascii_only)
            lines += [_event_line(event, width) for event in latest[-2:]] if rows >= 2 * _LOWEST else []
            parts += [*lines, *depth_profile(profiles, marked, width, max(rows - len(lines), 0), ascii_only)]
        if events:
            parts += [Text(), _last_event(events, width)]
        yield Panel(
            Group(*parts),
            title=title(run, options.max_width),
            title_align="left",
            border_style="blue",
            width=options.max_width,
        )


def title(run: Progress, width: int) -> Text:
    """Of a panel that is so wide; its corners and the spaces beside the title take six columns."""
    before = "normlab "
    return Text.assemble((before, "bold"), wording.middle(run.opening.name, width - 6 - len(before)))


def _profiles(run: Progress, width: int) -> list[TextProfile]:
    """The gradient by layer, and the stream where there is room for it."""
    stream = run.profile("stream/rms") if width >= _WIDE else {}
    profiles = [TextProfile("grad norm", run.profile("grad_norm")), TextProfile("stream RMS", stream)]
    return profiles if stream else profiles[:1]


def _headline(run: Progress, width: int) -> RenderableType:
    before = Text.assemble("step ", (f"{run.done}", "bold"), f"/{run.steps}  ")
    speed = run.number("time/tokens_per_second")
    after = f"  ETA {wording.duration(run.eta())}"
    if math.isfinite(speed):
        after += f"  {wording.short(speed)} tokens/s"
    table = Table.grid()
    room = max(width - len(before.plain) - len(after), 5)
    progress = ProgressBar(total=run.steps, completed=run.done, width=room, complete_style="cyan")
    table.add_row(before, progress, Text(after))
    return table


def _numbers(run: Progress) -> Text:
    if not run.row:
        return Text("waiting for the first step", "dim")
    text = Text(no_wrap=True, overflow="ellipsis")
    pairs = (
        ("loss", wording.fixed(run.number("loss"), 4), "bold cyan"),
        ("val", wording.fixed(run.val, 4), "cyan"),
        ("lr", wording.short(run.number("lr")), ""),
        ("grad norm", wording.short(run.number("grad_norm/global")), ""),
    )
    for name, value, style in pairs:
        if value != "NaN" or name != "val":
            text.append(f"{name} ", "dim").append(value, style).append("   ")
    return text


def _curve(run: Progress, width: int, height: int, ascii_only: bool) -> list[Text]:
    """The loss over the whole run as an area, the floors of the text as lines, the events as marks."""
    floors = run.floors()
    labels = [f"{name} {value:.2f}" for name, value in floors]
    width = max(width - 1 - max(map(len, labels), default=0), 8)
    columns = run.trace.columns(width)
    low, high = _loss_range(columns, [value for _, value in floors])
    lines = [Text(line, "cyan") for line in sketch.curve(columns, height, low, high, ascii_only)]
    taken: set[int] = set()
    for (_, value), label in zip(floors, labels, strict=True):
        line = height - 1 - min(max(int((value - low) / (high - low) * height), 0), height - 1)
        while line in taken and line + 1 < height:
            line += 1
        taken.add(line)
        # The line is seen where the curve has gone under it.
        lines[line].plain = lines[line].plain.replace(" ", "-" if ascii_only else "─")
        lines[line].append(f" {label}", "yellow")
    marks = {run.trace.column(event["step"], width) for event in list(run.events.values())}
    for column, loss in enumerate(columns):
        style = "red" if loss == math.inf else "yellow" if column in marks else ""
        for text in lines:
            text.stylize(style, column, column + 1)
    return [Text("loss", "bold"), *lines, _axis(run, width, marks)]


def _loss_range(columns: Sequence[float | None], floors: Sequence[float]) -> tuple[float, float]:
    """From just under the lowest floor or loss to just over the highest; an explosion is cut off."""
    known = [loss for loss in columns if loss is not None and math.isfinite(loss)]
    low = min((*known, *floors), default=0.0)
    high = min(max((*known, *floors), default=1.0), 1.5 * max(floors, default=math.inf))
    room = max(high - low, 1e-6)
    return low - 0.06 * room, high + 0.02 * room


def _axis(run: Progress, width: int, marks: Collection[int]) -> Text:
    """First and last step, and a mark under each event."""
    end = str(run.steps)
    text = Text(f"0{end:>{width - 1}}", "dim")
    for column in marks:
        text.plain = f"{text.plain[:column]}^{text.plain[column + 1 :]}"
        text.stylize("not dim bold yellow", column, column + 1)
    return text


def _side_by_side(left: list[Text], right: list[Text], width: int) -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column(width=width)
    table.add_column()
    table.add_row(Group(*left), Group(*right))
    return table


def _event_line(event: Mapping[str, Any], width: int) -> Text:
    """Step, kind and first layer of an event, how many more there are, and whether it is over."""
    text = Text.assemble((f"{event['step']:>6} ", "bold"), (event["kind"], "yellow"))
    first, *more = event["layers"] or [""]
    text.append(f"  {first}" if first else "").append(f" +{len(more)}" if more else "", "dim")
    if event.get("end") is not None:
        text.append(f"  over at {event['end']}", "dim")
    text.truncate(width, overflow="ellipsis")
    return text


def _last_event(events: Sequence[Mapping[str, Any]], width: int) -> Text:
    count = f"({len(events)} in all) " if len(events) > 1 else ""
    text = Text.assemble(("last event ", "bold"), (count, "dim"), (event_words(events[-1]), "yellow"))
    text.truncate(width, overflow="ellipsis")
    return text


def event_words(event: Mapping[str, Any]) -> str:
    return f"{event['kind']} at step {event['step']}: {event['message']}"

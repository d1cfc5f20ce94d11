"""The console sink: a live view on a terminal, plain lines elsewhere, and a summary at the end."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import rich
from rich.console import Console
from rich.constrain import Constrain
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from normlab.rundir.opening import Opening, Row, event_key
from normlab.sinks.console.findings import findings
from normlab.sinks.console.progress import Progress
from normlab.sinks.console.view import LiveView, event_words, title
from normlab.terminal import shell, wording

#: Times a second the live view is drawn; a row only leaves its numbers for the next time.
REFRESH = 4
#: A plain line comes after this share of the steps and this many seconds, whichever is later.
SHARE, SECONDS = 0.1, 10.0
_COLOURS = {
    "stable": "green",
    "spiked": "yellow",
    "stuck": "magenta",
    "untrained": "magenta",
    "exploded": "red",
    "nonfinite": "bold red",
    "interrupted": "yellow",
    "failed": "bold red",
}
_MEANINGS = {
    "stable": "no instability of the loss",
    "spiked": "trouble that it came back from",
    "stuck": "stands still, no better than the frequencies of the tokens",
    "untrained": "no better than the frequencies of the tokens, or too short a run to tell",
    "exploded": "the loss rose above its start or its best, and stayed there",
    "nonfinite": "a loss, gradient or parameter was not finite",
}
#: Kinds of events that decide the outcome, in the order in which they do; told before the others.
TELLING = ("nonfinite", "explosion", "slow_divergence", "plateau", "spike")
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
                # Room for the ^C that a terminal echoes: wrapped, it would leave a line of the view behind.
                get_renderable=lambda: Constrain(LiveView(run), self._console.width - 3),
                refresh_per_second=REFRESH,
                transient=True,
                vertical_overflow="crop",
            )
            self._live.start(refresh=True)

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
            self._say(Text.assemble((event_words(event), "yellow")))

    def warn(self, message: str) -> None:
        """Say what went wrong beside the run, above the live view."""
        self._say(Text(f"warning: {message}", "yellow"))

    def close(self, summary: Mapping[str, Any]) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._progress is not None:
            self._console.print(_summary_panel(self._progress, summary, self._console.width))
            for line in _where(self._progress, summary):
                self._say(line)

    def _say(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True, highlight=False)


def _start_line(run: Progress) -> Text:
    opening = run.opening
    floors = ", ".join(f"{name} {value:.3f}" for name, value in run.floors())
    start = f"from step {run.done} " if opening.resumed else ""
    return Text.assemble(
        (opening.name, "bold"),
        f": {opening.parameters:,} parameters, {start}to step {run.steps}; floors of the text: {floors} nats",
    )


def _progress_line(run: Progress, row: Row) -> Text:
    text = f"step {run.done}/{run.steps}  loss {wording.fixed(run.number('loss'), 4)}"
    if "val/loss" in row:
        text += f"  val {wording.fixed(run.val, 4)}"
    text += f"  lr {wording.short(run.number('lr'))}"
    speed = run.number("time/tokens_per_second")
    if math.isfinite(speed):
        text += f"  {wording.short(speed)} tokens/s"
    return Text(text + (f"  ETA {wording.duration(run.eta())}" if run.done < run.steps else ""))


def _summary_panel(run: Progress, summary: Mapping[str, Any], width: int) -> Panel:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _summary_rows(run, summary):
        table.add_row(name, value)
    word, width = _outcome_word(summary), min(width, 110)
    return Panel(
        table,
        title=title(run, width),
        title_align="left",
        border_style=_COLOURS.get(word, "blue"),
        width=width,
    )


def _outcome_word(summary: Mapping[str, Any]) -> str:
    status = str(summary.get("status"))
    return str(summary.get("outcome") or status) if status == "finished" else status


def _summary_rows(run: Progress, summary: Mapping[str, Any]) -> Iterable[tuple[str, Text]]:
    word = _outcome_word(summary)
    outcome = Text.assemble((word, _COLOURS.get(word, "bold")))
    if word in _MEANINGS:
        outcome.append(f"  {_MEANINGS[word]}", "dim")
    elif summary.get("outcome"):
        outcome.append(f" at step {run.done} of {run.steps}, {summary['outcome']} so far")
    yield "outcome", outcome
    kinds = [
        (kind, value)
        for kind, value in _kinds("loss", summary)
        # A mean over steps, which in a run that only rose lies above the first loss.
        if not (kind == "best" and value is not None and value > run.first_loss)
    ]
    losses = _values(("first", run.first_loss), *kinds)
    yield "loss", Text(losses or "none")
    final = summary.get("loss/final")
    if losses and isinstance(final, float):
        yield "", Text(wording.against(final, run.opening.floors))
    validation = _values(*_kinds("val", summary))
    if validation:
        yield "validation", Text(validation)
        if "val/caveat" in summary:
            yield "", Text(summary["val/caveat"], "yellow")
    for name, words in findings(summary, run.opening.config):
        yield name, Text(words)
    yield from _event_rows(list(run.events.values()))
    speed = summary.get("tokens_per_second")
    words = f"{run.done} steps in {wording.duration(run.clock() - run.began)}"
    if run.opening.resumed:
        words += f" (resumed at {run.opening.first_step})"
    yield "speed", Text(f"{wording.short(speed)} tokens/s, {words}" if speed else words)


def _event_rows(events: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, Text]]:
    if events:
        first = min(events, key=lambda event: event["step"])
        where = f", in {first['layers'][0]}" if first["layers"] else ""
        yield "first event", Text(f"{first['kind']} at step {first['step']}{where}", "yellow")
    told = [event_words(event) for event in sorted(events, key=_importance)]
    more = len(told) - _EVENTS_SHOWN
    if more > 0:
        told[_EVENTS_SHOWN:] = [f"and {more} more, in events.jsonl"]
    yield "events", Text("\n".join(told) or "none", "yellow" if told else "")


def _importance(event: Mapping[str, Any]) -> tuple[int, int]:
    """Ranks what decided the outcome before the rest, and what was first before what came later."""
    kind = event["kind"]
    return TELLING.index(kind) if kind in TELLING else len(TELLING), event["step"]


def _is_over(event: Mapping[str, Any]) -> bool:
    """Whether it was a mere spike from which the run came back: of a stable run, nothing to explain."""
    return event["kind"] == "spike" and bool(event["recovered"])


def _kinds(name: str, summary: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(kind, summary.get(f"{name}/{kind}")) for kind in ("best", "final")]


def _values(*values: tuple[str, Any]) -> str:
    return "   ".join(
        f"{wording.fixed(value, 3)} {name}" for name, value in values if isinstance(value, float)
    )


def _where(run: Progress, summary: Mapping[str, Any]) -> Iterable[Text]:
    """Paths and commands, outside the panel so that they can be copied whole."""
    directory = run.opening.directory
    if directory.resolve().is_relative_to(Path.cwd()):
        directory = directory.resolve().relative_to(Path.cwd())
    yield Text.assemble(("run directory: ", "dim"), str(directory))
    if summary.get("status") == "finished" and (
        summary.get("outcome") != "stable" or not all(map(_is_over, run.events.values()))
    ):
        yield Text.assemble(("why: ", "dim"), f"normlab explain {shell.path(directory)}")
    resume = run.opening.resume
    # Without a step on file the run was not begun: there may not even be a config.
    if resume and run.row and summary.get("status") in ("interrupted", "failed"):
        yield Text.assemble(("to go on: ", "dim"), f"{resume} {shell.path(directory)}")
    known = summary.get("wandb") or {}
    if known.get("url"):
        yield Text.assemble(("wandb: ", "dim"), known["url"])
    if known.get("sync"):
        yield Text.assemble(("to wandb: ", "dim"), known["sync"])

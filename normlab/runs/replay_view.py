"""What `normlab replay` prints."""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from normlab.runs.replay import Replay, ReplayedEvent, replay
from normlab.terminal.wording import counted, json_text, listed, printable

#: Events that are printed at most, and letters of one's message.
_SHOWN, _LONGEST = 100, 1000
_COLOURS = {"same": "dim", "new": "bold green", "changed": "yellow", "gone": "bold red"}


def print_replay(directory: Path, overrides: Sequence[str], *, write: bool, as_json: bool) -> None:
    """Replay the run in `directory` and print what was found. Raises UserError as `replay` does."""
    done = replay(directory, overrides, write=write)
    if as_json:
        sys.stdout.write(json_text(done.record()) + "\n")
        return
    console = Console()
    for line in _head(done):
        console.print(line, soft_wrap=True, highlight=False)
    if done.found:
        console.print(_table(done.found[:_SHOWN]))
    if len(done.found) > _SHOWN:
        console.print(f"and {len(done.found) - _SHOWN} more; --json tells all", highlight=False)
    for line in _foot(done, write):
        console.print(line, soft_wrap=True, highlight=False)


def _head(done: Replay) -> Iterable[Text]:
    yield Text.assemble(
        (printable(str(done.directory)), "bold"),
        f": {done.status}, {done.rows} rows, steps {done.first_step} to {done.last_step}",
    )
    for key, (was, now) in done.changed.items():
        yield Text.assemble((f"{key}={now}", "cyan"), f" (the run had {was})")
    for note in done.notes:
        yield Text(f"note: {printable(note)}", "yellow")


def _table(found: Sequence[ReplayedEvent]) -> Table:
    """Kind, places and end of each event on one line, its message under it, so that it fits 80 columns."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("record", "step", "event"):
        table.add_column(column, justify="right" if column == "step" else "left", overflow="fold")
    for each in found:
        event = each.event
        lines = event_lines(event)
        lines += [Text(printable(f"differs in {', '.join(each.differs)}"), "yellow")] if each.differs else []
        table.add_row(Text(each.mark, _COLOURS[each.mark]), str(event["step"]), Group(*lines))
    return table


def event_lines(event: Mapping[str, Any]) -> list[Text]:
    """Kind, places and end of an event on one line, its message on another."""
    layers = event.get("layers")
    where = f"in {listed(layers, 3)}" if isinstance(layers, list) and layers else f"of {event['metric']}"
    head = Text.assemble((printable(event["kind"]), "bold"), printable(f" {where}, {_until(event)}"))
    return [head, Text(printable(str(event.get("message") or ""))[:_LONGEST], "dim")]


def _until(event: Mapping[str, Any]) -> str:
    if event.get("end") is None:
        return "to the end"
    return f"until {event['end']}" + ("" if event.get("recovered") else ", not recovered")


def _foot(done: Replay, write: bool) -> Iterable[Text]:
    counts = Counter(found.mark for found in done.found)
    parts = [f"{counts[mark]} {mark}" for mark in _COLOURS if counts[mark]]
    count = counted(len(done.events), "event")
    yield Text(f"{count}; beside the record: {', '.join(parts) or 'none in either'}")
    changed = done.recorded_outcome is not None and done.outcome != done.recorded_outcome
    yield Text.assemble(
        "outcome: ",
        (done.outcome, "bold"),
        (printable(f" (recorded: {done.recorded_outcome})"), "bold yellow" if changed else "dim"),
    )
    if done.kept is not None:
        yield Text(f"written; the old files are in {done.kept}")
    elif done.cut:
        yield Text("nothing was written, nor can be with --write: the rows end before the run did")
    elif set(counts) - {"same"} or changed:
        yield Text("nothing was written; --write replaces the events and the outcome, and keeps the old ones")

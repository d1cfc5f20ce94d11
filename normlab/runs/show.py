"""`normlab show`: one run on the terminal, from its directory."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from normlab.catalogue import naming
from normlab.errors import RunDirectoryError, UserError, shown
from normlab.figures.columns import Columns, columns, series, table
from normlab.measure.families import FAMILIES, Family
from normlab.runs.loss_plot import Room, loss_plot
from normlab.runs.reader import Run, load
from normlab.runs.replay_view import event_lines
from normlab.sweep import STYLES
from normlab.terminal import shell, sketch, wording
from normlab.terminal.profile import TextProfile, depth_profile
from normlab.terminal.wording import printable

#: Letters of an error at most.
_LONGEST = 1000
#: Columns that can be asked for: what a page is made of is made for each.
_WIDEST = 1000
#: Narrowest page, widest page and height of the curve; more is hard to read.
_NARROW, _WIDE, _CURVE = 50, 120, 12
#: Layers in a profile, and events in the table, at most.
_LAYERS, _EVENTS = 18, 30
_SHOWN = ("grad_norm", "stream/rms")


def print_run(path: Path, width: int | None = None) -> None:
    """Show the run in `path`, `width` columns wide; as wide as the terminal unless said.

    Raises:
        UserError: there is no run, or more than one; a width too small.
    """
    if width is not None and width < _NARROW:
        raise UserError(f"--width {width}: {_NARROW} columns are the least")
    if width is not None and width > _WIDEST:
        raise UserError(f"--width {width}: {_WIDEST} columns are the most")
    run = _one(path)
    console = Console(highlight=False, width=width)
    if width is None:
        console.width = min(max(console.width, _NARROW), _WIDE)
    found = columns(run.read_rows(), _SHOWN)
    # Not wrapped, so that it can be copied whole.
    console.print(Text(printable(str(run.path)), "bold"), soft_wrap=True)
    for line in _head(run, found):
        console.print(line)
    if not len(found["step"].steps):
        console.print(Text("no step is on record", "yellow"))
        return
    ascii_only = console.options.ascii_only
    for line in _loss(run, found, Room(console.width, _CURVE, ascii_only)):
        console.print(line, no_wrap=True, overflow="crop")
    marked = {str(place) for event in run.events for place in _layers(event)[:1]}
    for key in _SHOWN:
        for line in _profile(found, FAMILIES[key], marked, Room(console.width, _LAYERS, ascii_only)):
            console.print(line, no_wrap=True, overflow="crop")
    _events(console, run.events)


def _one(path: Path) -> Run:
    runs = load(path)
    if len(runs) > 1:
        raise RunDirectoryError(
            f"{path} holds {len(runs)} runs; show one, such as {runs[0].path}, or compare them: "
            f"normlab compare {shell.path(path)}"
        )
    return runs[0]


def _head(run: Run, found: Columns) -> Iterator[Text]:
    """What became of it, what it was, and where its loss ended."""
    yield Text.assemble(
        (printable(run.word), STYLES.get(run.word, "bold red")), " ", " ".join(_facts(run, found))
    )
    for note in run.notes:
        yield Text(f"note: {printable(note)}", "yellow")
    if run.config:
        own = shlex.join(naming.words(run.config)) or "the default run"
        yield Text(shown(printable(own), 10_000), "cyan")
    error = run.summary.get("error")
    if error:
        yield Text(f"error: {printable(str(error)[:_LONGEST])}", "red")
    validation, floors = series(found, "val/loss").values, run.floors
    if len(validation):
        end = float(validation[-1])
        beside = f": {wording.against(end, floors)}" if floors else ""
        yield Text(f"validation loss {wording.fixed(end, 3)}{beside}")


def _facts(run: Run, found: Columns) -> Iterator[str]:
    # By the rows: the summary of a run that is still going, or was killed, is that of its start.
    steps, planned = found["step"].steps, run.steps
    if len(steps):
        done = f"after {int(steps[-1]) + 1}"
        yield f"{done} of {planned} steps" if isinstance(planned, int) else f"{done} steps"
    seconds, parameters = run.summary.get("seconds"), run.summary.get("parameters")
    if isinstance(seconds, int | float):
        yield f"in {wording.duration(seconds)}"
    if isinstance(parameters, int):
        yield f"({parameters:,} parameters)"


def _loss(run: Run, found: Columns, room: Room) -> Iterator[Text]:
    loss = series(found, "loss")
    if not len(loss.steps):
        yield Text("\nno row has a loss", "yellow")
        return
    first, last = (wording.fixed(float(loss.values[place]), 3) for place in (0, -1))
    yield Text.assemble(("\nLoss", "bold"), f"  of training, {first} to {last} nats a token")
    yield from loss_plot(loss, run.floors, run.events, room)


def _profile(found: Columns, family: Family, marked: set[str], room: Room) -> Iterator[Text]:
    """A family by layer at the first, the middle and the last step that has it, on one scale."""
    values = table(found, family.key)
    title = family.title[:1].upper() + family.title[1:]
    if not values.places or not len(values.steps):
        yield Text(f"\n{title} was not measured; {family.measure} does", "dim")
        return
    chosen = sorted({0, (len(values.steps) - 1) // 2, len(values.steps) - 1})
    scale = sketch.decades(values.values[:, chosen].ravel().tolist())
    profiles = [
        TextProfile(
            f"step {int(values.steps[number])}",
            dict(zip(values.places, values.values[:, number].tolist(), strict=True)),
        )
        for number in chosen
    ]
    yield Text.assemble((f"\n{title}", "bold"), f"  {family.unit}, bars from 1e{scale[0]} to 1e{scale[1]}")
    yield from depth_profile(profiles, marked, room.width, room.height, room.ascii_only, scale)


def _layers(event: Mapping[str, Any]) -> Sequence[Any]:
    layers = event.get("layers")
    return layers if isinstance(layers, list) else ()


def _events(console: Console, events: Sequence[Mapping[str, Any]]) -> None:
    """Step, kind, place and end of each event, and its message under it."""
    console.print(Text("\nEvents" if events else "\nNo events", "bold" if events else "dim"))
    width = max((len(str(event["step"])) for event in events), default=0)
    for event in events[:_EVENTS]:
        head, message = event_lines(event)
        console.print(Text.assemble(f"{event['step']:>{width + 2}}  ", head))
        if message.plain:
            console.print(Padding(message, (0, 0, 0, width + 4)))
    if len(events) > _EVENTS:
        console.print(Text(f"  and {len(events) - _EVENTS} more in events.jsonl", "dim"))

"""`normlab runs`: the runs there are, newest first."""

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from normlab.catalogue import groups, naming
from normlab.catalogue.naming import same, spell
from normlab.errors import UserError, nearest
from normlab.runs.reader import Run, load
from normlab.sweep import STYLES, first_event
from normlab.terminal.wording import json_text, printable

#: What a run can be chosen by besides its settings.
FIELDS: dict[str, Callable[[Run], Any]] = {
    "outcome": lambda run: run.word,
    "status": lambda run: run.status,
    "sweep": lambda run: run.summary.get("sweep"),
    "name": lambda run: run.path.name,
}


def print_runs(paths: Sequence[Path], words: Sequence[str], *, as_json: bool = False) -> None:
    """List the runs in `paths` that `words` such as `outcome=stuck` and `placement=post,pre` choose.

    Raises:
        UserError: a path that holds no run, a word that is no KEY=VALUE, a key that no run has.
    """
    runs = load(*paths)
    chosen = [run for run in runs if all(_chooses(word, run, runs) for word in words)]
    chosen.sort(key=_changed, reverse=True)
    if as_json:
        records = [_record(run) for run in chosen]
        sys.stdout.write(json_text(records) + "\n")
        return
    console = Console(highlight=False)
    if not chosen:
        console.print(Text(printable(f"none of {len(runs)} runs is {' '.join(words)}")))
    for line in _lines(chosen):
        console.print(line, soft_wrap=True)


def _chooses(word: str, run: Run, runs: Sequence[Run]) -> bool:
    """Whether `run` has one of the word's values, which may be patterns: `placement=p*,deepnorm`."""
    key, equals, values = word.partition("=")
    if not equals or not key:
        raise UserError(f"{word}: is not KEY=VALUE, as in outcome=stuck or placement=post")
    if "" in values.split(","):
        raise UserError(f"{word}: has an empty value; give one, as in {key}=VALUE, or leave the word out")
    if key in FIELDS:
        value = FIELDS[key](run)
    else:
        if not any(naming.knob(each.config, key) is not None for each in runs):
            known = [*FIELDS, *groups.known_keys()]
            raise UserError(f"{word}: no run has a setting {key}.{nearest(key, known)}")
        value = naming.knob(run.config, key)
    text = spell(value)
    return any(same(text, each) or fnmatchcase(text, each) for each in values.split(","))


def _changed(run: Run) -> float:
    """When its folder last changed, in seconds; its summary is written last."""
    times = [path.stat().st_mtime for path in run.path.iterdir() if path.is_file()]
    return max(times, default=0.0)


def _record(run: Run) -> dict[str, Any]:
    keys = ("outcome", "sweep", "steps", "val/final", "val/best", "loss/final", "first_event", "error")
    figures = {key: run.summary.get(key) for key in keys}
    when = datetime.fromtimestamp(_changed(run)).astimezone().isoformat(timespec="seconds")
    return {"run": str(run.path), "changed": when, "status": run.status, **figures, "notes": list(run.notes)}


def _lines(runs: Sequence[Run]) -> list[Text]:
    """Two lines a run: its figures, and its folder to copy."""
    head = ("changed", "outcome", "steps", "final val", "first event")
    rows = [_cells(run) for run in runs]
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    lines = [Text(_row(head, widths), style="bold")] if rows else []
    for run, row in zip(runs, rows, strict=True):
        lines.append(Text(_row(row, widths), style=STYLES.get(run.word, "bold red")))
        lines.append(Text(f"  {printable(str(run.path))}", style="dim"))
        lines += [Text(f"  {printable(note)}", style="yellow") for note in run.notes]
    return lines


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(
        cell.rjust(width) if place in (2, 3) else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ).rstrip()


def _cells(run: Run) -> tuple[str, ...]:
    loss = run.summary.get("val/final")
    return (
        f"{datetime.fromtimestamp(_changed(run)):%Y-%m-%d %H:%M}",
        printable(run.word),
        spell(run.summary.get("steps")) if "steps" in run.summary else "-",
        f"{loss:.3f}" if isinstance(loss, int | float) else "-",
        printable(first_event(run.summary.get("first_event"))),
    )

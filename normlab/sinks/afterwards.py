"""A run directory after the run: reading what can be read of it, and replacing its events."""

import json
import math
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from normlab.disk import replace_file
from normlab.sinks.run_directory import EVENTS, SUMMARY, document, line_of, restore

#: So many damaged lines are named.
_NAMED = 5


def readable_rows(path: Path, texts: Iterable[str] = ()) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of a `metrics.jsonl` that can be read, and what was left out, in words.

    A row is a JSON object with a `step` above those before it; of its values, the numbers (and under the keys
    `texts`, words). Torn and foreign lines are left out wherever they are, unlike in `read_rows`.
    """
    with path.open("rb") as file:
        rows, damaged, late = _rows(file, texts)
    notes = []
    if damaged:
        notes.append(f"{path.name}: {_list(damaged)} not a row and left out")
    if late:
        notes.append(f"{path.name}: {_list(late)} of a step that was there already and left out")
    return rows, notes


def first_and_last_rows(path: Path, last: int) -> list[dict[str, Any]]:
    """The first row of a `metrics.jsonl` and the `last` last ones, as far as they can be read.

    What lies between is not parsed, so this is quick.
    """
    with path.open("rb") as file:
        lines = [*islice(file, 1), *deque(file, maxlen=last)]
    return _rows(lines, ())[0]


def _rows(lines: Iterable[bytes], texts: Iterable[str]) -> tuple[list[dict[str, Any]], list[int], list[int]]:
    """The rows, and the numbers of lines that are none, and of those that come too late."""
    rows: list[dict[str, Any]] = []
    damaged, late = [], []
    for number, record in _records(lines):
        step = record.get("step") if record is not None else None
        if record is None or not isinstance(step, int) or not _is_number(step) or step < 0:
            damaged.append(number)
        elif rows and step <= rows[-1]["step"]:
            late.append(number)
        else:
            rows.append({key: value for key, value in record.items() if key in texts or _is_number(value)})
    return rows, damaged, late


def readable_events(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The events of an `events.jsonl` that can be read, and what was left out, in words."""
    events: list[dict[str, Any]] = []
    damaged = []
    with path.open("rb") as file:
        for number, record in _records(file):
            kinds = {"step": int, "kind": str, "metric": str}
            if record is None or not all(isinstance(record.get(key), kind) for key, kind in kinds.items()):
                damaged.append(number)
            else:
                events.append(record)
    return events, [f"{path.name}: {_list(damaged)} not an event and left out"] if damaged else []


def replace_events(directory: Path, events: Iterable[Mapping[str, Any]], summary: Mapping[str, Any]) -> Path:
    """Put `events` and `summary` in the place of the old ones, which are kept in the folder returned."""
    kept = _aside(directory)
    for name in (EVENTS, SUMMARY):
        if (directory / name).is_file():
            shutil.copy2(directory / name, kept / name)
    replace_file(directory / EVENTS, b"".join(map(line_of, events)))
    replace_file(directory / SUMMARY, document(summary))
    return kept


def _aside(directory: Path) -> Path:
    """A new folder `before-replay-N`."""
    number = 1
    while True:
        folder = directory / f"before-replay-{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def _records(lines: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Each line's number and JSON object; None where it holds none."""
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        yield number, restore(record) if isinstance(record, dict) else None


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False
    return True


def _list(lines: list[int]) -> str:
    """`line 3 is`, `lines 3 and 7 are`, `lines 1, 2, 3, 4, 5 and 8 more are`."""
    names = [str(line) for line in lines[:_NAMED]]
    more = len(lines) - len(names)
    last = f"{more} more" if more else names.pop()
    return f"lines {', '.join(names)} and {last} are" if names else f"line {last} is"

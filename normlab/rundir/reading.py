"""A run directory after the run: reading what can be read of it, and replacing its events."""

import shutil
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from normlab.disk.strict_json import document, line_of, read_line
from normlab.disk.untrusted import lines, open_file
from normlab.disk.whole_files import replace_file
from normlab.rundir.shapes import is_event, is_number, is_step
from normlab.rundir.writer import EVENTS, SUMMARY

#: Damaged lines that are named at most.
_NAMED = 5
#: Damaged lines of a file that are passed over at most; what follows is not read.
_MOST_LEFT_OUT = 100_000


def readable_rows(path: Path, texts: Iterable[str] = ()) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of a `metrics.jsonl` that can be read, and what was left out, as text.

    A row is a JSON object with a `step` above those before it; of its values, the numbers (and under the keys
    `texts`, words). Torn and foreign lines are left out wherever they are, unlike in `read_rows`.
    """
    with open_file(path) as file:
        rows, damaged, late = _rows(lines(file), texts)
    notes = []
    if damaged:
        notes.append(f"{path.name}: {_list(damaged)} not a row and left out")
    if late:
        notes.append(f"{path.name}: {_list(late)} of a step that was there already and left out")
    return rows, notes + _unread(path, [*damaged, *late])


def first_and_last_rows(path: Path, last: int) -> list[dict[str, Any]]:
    """The first row of a `metrics.jsonl` and the `last` last ones, as far as they can be read.

    What lies between is not parsed, so this is quick.
    """
    with open_file(path) as file:
        every = lines(file)
        ends = [*islice(every, 1), *deque(every, maxlen=last)]
    return _rows(ends, ())[0]


def _rows(found: Iterable[bytes], texts: Iterable[str]) -> tuple[list[dict[str, Any]], list[int], list[int]]:
    """The rows, and the numbers of lines that are none, and of those that come too late."""
    rows: list[dict[str, Any]] = []
    damaged: list[int] = []
    late: list[int] = []
    for number, line in enumerate(found, start=1):
        if len(damaged) + len(late) == _MOST_LEFT_OUT:
            break
        record = read_line(line)
        if record is None or not is_step(record.get("step")):
            damaged.append(number)
        elif rows and record["step"] <= rows[-1]["step"]:
            late.append(number)
        else:
            known = {key: value for key, value in record.items() if is_number(value)}
            rows.append(known | {key: record[key] for key in texts if isinstance(record.get(key), str)})
    return rows, damaged, late


def readable_events(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The events of an `events.jsonl` that can be read, and what was left out, as text."""
    events: list[dict[str, Any]] = []
    damaged: list[int] = []
    with open_file(path) as file:
        for number, line in enumerate(lines(file), start=1):
            if len(damaged) == _MOST_LEFT_OUT:
                break
            record = read_line(line)
            if record is None or not is_event(record):
                damaged.append(number)
            else:
                events.append(record)
    notes = [f"{path.name}: {_list(damaged)} not an event and left out"] if damaged else []
    return events, notes + _unread(path, damaged)


def _unread(path: Path, left_out: list[int]) -> list[str]:
    """A line on what was not read for too much that was left out before it."""
    full = len(left_out) == _MOST_LEFT_OUT
    return [f"{path.name}: what follows line {max(left_out)} was not read"] if full else []


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


def _list(numbers: list[int]) -> str:
    """`line 3 is`, `lines 3 and 7 are`, `lines 1, 2, 3, 4, 5 and 8 more are`."""
    names = [str(number) for number in numbers[:_NAMED]]
    more = len(numbers) - len(names)
    last = f"{more} more" if more else names.pop()
    return f"lines {', '.join(names)} and {last} are" if names else f"line {last} is"

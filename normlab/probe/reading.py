"""Find probes on the disk and read their rows and slopes."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from normlab.disk.strict_json import restore
from normlab.disk.untrusted import TABLE, read_json
from normlab.errors import RunDirectoryError
from normlab.probe.files import RECORD, ROWS


def find_probes(path: Path) -> Iterator[Path]:
    """The probes at or below `path`."""
    if any((path / name).is_file() for name in (RECORD, ROWS)):
        yield path
    elif path.is_dir():
        yield from sorted({file.parent for name in (RECORD, ROWS) for file in path.rglob(name)})


def read_probe(directory: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and slopes of a probe. Of one that was killed, the rows that are there, without profiles.

    Raises:
        RunDirectoryError: a file that is not a probe's.
    """
    record = directory / RECORD
    try:
        if not record.is_file():
            with (directory / ROWS).open(newline="", encoding="utf-8") as file:
                return [_numbers(row) for row in csv.DictReader(file)], []
        content = restore(read_json(record, TABLE))
        rows, slopes = content["rows"], content["slopes"]
        complete = all(isinstance(row["depth"], int) and "seed" in row for row in rows)
        if not complete or not all("quantity" in slope for slope in slopes):
            raise KeyError("depth")
    except (ValueError, KeyError, TypeError) as error:
        raise RunDirectoryError(f"{directory} is not the folder of a probe: {error!r}") from None
    return rows, slopes


def _numbers(row: Mapping[str, str]) -> dict[str, Any]:
    """A line of a CSV with its numbers as numbers."""
    found: dict[str, Any] = {}
    for key, text in row.items():
        try:
            found[key] = int(text) if key in ("depth", "seed") else float(text)
        except ValueError:
            found[key] = text
    return found

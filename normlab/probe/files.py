"""What a probe leaves: its rows as they come, and at the end the slopes, the whole record and a picture."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from normlab.disk.strict_json import plain
from normlab.errors import RunDirectoryError

ROWS, BLOCKS, SLOPES, RECORD, PICTURE = "rows.csv", "blocks.csv", "slopes.csv", "probe.json", "probe.png"
_PROFILE = "_by_block"

Row = Mapping[str, Any]


def check_free(directory: Path) -> None:
    """Raise a RunDirectoryError if `directory` holds a probe."""
    for name in (ROWS, RECORD):
        if (directory / name).exists():
            raise RunDirectoryError(
                f"{directory} already holds a probe ({name}); give another folder with -o"
            )


def as_json(record: Mapping[str, Any]) -> str:
    """Strict JSON, a line for each row and slope; a number that is not finite is a string such as "NaN"."""
    parts = []
    for key, value in plain(record).items():
        text = json.dumps(value, allow_nan=False)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            text = "[\n  " + ",\n  ".join(json.dumps(each, allow_nan=False) for each in value) + "\n]"
        parts.append(f"{json.dumps(key)}: {text}")
    return "{" + ",\n".join(parts) + "}\n"


class Files:
    """The folder of one probe. Every row is on disk before the next model is measured.

    `labels` are the keys of a row that say which model it is.
    """

    def __init__(self, directory: Path, labels: Sequence[str]) -> None:
        self.directory, self._labels = directory, labels
        directory.mkdir(parents=True, exist_ok=True)

    def row(self, row: Row, first: bool) -> None:
        """Take one row; the `first` brings the header."""
        flat = {key: value for key, value in row.items() if not key.endswith(_PROFILE)}
        with (self.directory / ROWS).open("w" if first else "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(flat))
            if first:
                writer.writeheader()
            writer.writerow(plain(flat))

    def close(self, record: Mapping[str, Any]) -> None:
        """Write what needs all rows. `record` has `rows` and `slopes`."""
        self._table(BLOCKS, _blocks(record["rows"], self._labels))
        self._table(SLOPES, [_two_ends(slope) for slope in record["slopes"]])
        (self.directory / RECORD).write_text(as_json(record), encoding="utf-8")

    def _table(self, name: str, rows: Sequence[Row]) -> None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        with (self.directory / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(plain(row) for row in rows)


def _blocks(rows: Sequence[Row], labels: Sequence[str]) -> list[Row]:
    """One row a model and block (from 1), of the profiles."""
    found: list[Row] = []
    for row in rows:
        model = {key: row[key] for key in labels}
        profiles = {key.removesuffix(_PROFILE): row[key] for key in row if key.endswith(_PROFILE)}
        for block in range(row["depth"]):
            series = {key: values[block] for key, values in profiles.items()}
            found.append({**model, "block": block + 1, **series})
    return found


def _two_ends(slope: Row) -> Row:
    low, high = slope["ci"] or (None, None)
    return {key: value for key, value in slope.items() if key != "ci"} | {"ci_low": low, "ci_high": high}

"""Read the texts of one local file, by the ending of its name; only the column of the text matters."""

import gzip
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from normlab.data.documents import ROWS, check_column, no_text

#: Columns that a message lists.
_LISTED = 30
_KINDS = {bool: "true or false", float: "numbers", list: "lists", dict: "objects"}


class DamagedFileError(Exception):
    """A file is not what its name says; the text tells where."""


def read_txt(path: Path, column: str, folder: Path) -> Iterator[str]:
    """The file as one text, its line ends as newlines."""
    with _open(path) as file:
        # Not by `splitlines`, to which a form feed is the end of a line too.
        yield file.read().decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")


def read_jsonl(path: Path, column: str, folder: Path) -> Iterator[str]:
    """`column` of each line, a JSON object; null and a line without it are no text.

    Raises:
        DamagedFileError: a line that is no JSON object, with its number.
        ConfigError: no line has the column, or one holds something else than text in it.
    """
    seen: dict[str, None] = {}
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            row = _parse(line, number)
            value = row.get(column)
            if len(seen) < _LISTED or column in row:
                seen |= dict.fromkeys(row)
            if isinstance(value, str):
                yield _without_surrogates(value)
            elif value is not None:
                raise no_text(column, f"{path}, line {number},", _KINDS[type(value)])
    if seen:
        check_column(None, seen, column, str(path))


def _parse(line: bytes, number: int) -> dict[str, Any]:
    try:
        # Whole numbers as floats: of those with thousands of digits Python makes no int.
        row = json.loads(line.decode("utf-8").lstrip("\ufeff"), parse_int=float)
    except json.JSONDecodeError as error:
        raise DamagedFileError(
            f"line {number} is not JSON: {error.msg} at character {error.pos + 1}"
        ) from error
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"line {number} is not text in UTF-8: {error}") from error
    except RecursionError as error:
        raise DamagedFileError(f"line {number} is nested too deeply") from error
    if not isinstance(row, dict):
        raise DamagedFileError(f"line {number} is not a JSON object")
    return row


def _without_surrogates(text: str) -> str:
    r"""`text` with U+FFFD for half a pair such as `\ud83d` alone, which JSON can hold and UTF-8 not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def read_csv(path: Path, column: str, folder: Path) -> Iterator[str]:
    """`column` of each row, as it is written there.

    Raises:
        ConfigError: there is no such column, or it holds nothing but numbers.
    """
    import pandas

    zipped = "gzip" if path.suffix.lower() == ".gz" else None
    settings: dict[str, Any] = {"dtype": str, "na_filter": False, "chunksize": ROWS, "compression": zipped}
    numbers = None
    try:
        with pandas.read_csv(path, **settings) as chunks:
            for chunk in chunks:
                if len(chunk) == 0:
                    return
                check_column(None, chunk.columns, column, str(path))
                texts = [text for text in chunk[column].tolist() if text]
                numbers = numbers is not False and all(map(_is_number, texts))
                yield from texts
    except pandas.errors.EmptyDataError:
        return
    if numbers:
        raise no_text(column, str(path), "numbers")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_parquet(path: Path, column: str, folder: Path) -> Iterator[str]:
    """`column` of each row; groups without rows, which Spark and `datasets` write, are passed over.

    Raises:
        ConfigError: there is no such column, or it holds something else than text.
    """
    import pyarrow as pa
    from pyarrow import parquet

    if path.suffix.lower() == ".gz":
        path = _unzipped(path, folder)
    with parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        if file.metadata.num_rows == 0:
            return
        check_column(None, schema.names, column, str(path))
        kind = schema.field(column).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if str(kind) not in ("string", "large_string", "string_view", "null"):
            raise no_text(column, str(path), str(kind))
        for batch in file.iter_batches(batch_size=ROWS, columns=[column]):
            yield from filter(None, batch.column(0).to_pylist())


def _unzipped(path: Path, folder: Path) -> Path:
    """A plain copy of `path`: parquet is read from its end."""
    copy = folder / f"{hashlib.sha256(str(path).encode()).hexdigest()[:16]}.parquet"
    with gzip.open(path, "rb") as zipped, copy.open("wb") as plain:
        shutil.copyfileobj(zipped, plain)
    return copy


def _open(path: Path) -> IO[bytes]:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return path.open("rb")

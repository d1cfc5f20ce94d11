"""The texts of a source, and how they are taken out of a HuggingFace dataset."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from normlab.errors import ConfigError, nearest

#: Rows that are turned into Python strings at a time.
ROWS = 256
#: Characters after which a long text is cut: its ids take many times its own memory while they are made.
PIECE = 1 << 18


@dataclass(frozen=True)
class Documents:
    """Texts in order, none empty; `texts` can be walked over again and again."""

    texts: Iterable[str]
    #: The texts are pieces of one running text: nothing comes between them.
    joined: bool = False
    #: What there is to note of where they came from, for the cache's own record.
    note: str = ""


@dataclass(frozen=True)
class Rows:
    """A column of a dataset on disk, row by row: never all in memory at once."""

    dataset: Any
    column: str

    def __iter__(self) -> Iterator[str]:
        for batch in self.dataset.with_format("arrow").iter(batch_size=ROWS):
            yield from clean(batch[self.column].to_pylist())


def clean(texts: Iterable[str | None]) -> Iterator[str]:
    """The texts that there are, each without a byte order mark (U+FEFF) before its first character."""
    for text in texts:
        if text and (rest := text.removeprefix("\ufeff")):
            yield rest


def check_column(features: Any, columns: Iterable[str], column: str, where: str) -> None:
    """Raise a `ConfigError` that lists `columns` unless `column` is one of them and holds text.

    `features` maps columns to their types; None where they are not known before reading.
    """
    columns = list(columns)
    if column not in columns:
        listed = ", ".join(columns) or "none"
        problem = f"{where} has no column '{column}'; its columns are: {listed}.{nearest(column, columns)}"
        raise ConfigError("data.text_column", problem)
    feature = features[column] if features is not None else None
    kind = getattr(feature, "dtype", type(feature).__name__) if feature is not None else "string"
    if kind not in ("string", "large_string", "string_view"):
        raise no_text(column, where, kind)


def no_text(column: str, where: str, kind: str) -> ConfigError:
    """The error for a column that holds `kind`."""
    return ConfigError("data.text_column", f"the column '{column}' of {where} holds {kind}, not text")


def pieces(text: str) -> Iterator[str]:
    """`text` in pieces of about PIECE characters, each but the last up to the end of a line."""
    start = 0
    while start < len(text):
        stop = text.find("\n", start + PIECE) + 1 if len(text) - start > PIECE else 0
        yield text[start : stop or len(text)]
        start = stop or len(text)

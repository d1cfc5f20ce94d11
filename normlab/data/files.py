"""Local files: which they are, what is in them (by a hash of their bytes), and their texts."""

import glob
import gzip
import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normlab.data.documents import Documents, Rows, check_column
from normlab.data.hf import causes, library, reason
from normlab.disk import is_full
from normlab.errors import ConfigError, DataError

#: Reader of `datasets` and its settings, by the end of a file's name.
READERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".txt": ("text", {"sample_by": "document"}),
    ".jsonl": ("json", {}),
    ".parquet": ("parquet", {}),
    ".csv": ("csv", {"keep_default_na": False}),
}
ENDINGS = f"{', '.join(READERS)} (each also with .gz)"
#: The column that the reader of .txt makes.
TEXT_COLUMN = "text"


@dataclass(frozen=True)
class LocalFile:
    """A file and the ending (a key of READERS) that says how it is read."""

    path: Path
    ending: str

    def empty(self) -> bool:
        """Nothing in it: no text, where its reader would miss a header."""
        return self.ending != ".parquet" and self.path.stat().st_size == 0

    def digest(self) -> str:
        """SHA-256 of the bytes: `datasets` would not see an edit that keeps time and size."""
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"data.path: cannot read {self.path}: {error.strerror}") from error


def find(pattern: str) -> list[LocalFile]:
    """The readable files that `pattern` (a file, a folder or a glob) means, sorted by path.

    Raises:
        ConfigError: there is nothing there, or nothing that can be read.
    """
    path = Path(pattern).expanduser()
    if path.is_dir():
        inside = (found for found in path.rglob("*") if not _hidden(found.relative_to(path)))
        files = _readable(inside)
        if not files:
            raise ConfigError("data.path", f"the folder {path} holds no file that ends in {ENDINGS}")
        return files
    if path.is_file():
        matches = [path]
    elif glob.has_magic(pattern):
        matches = [Path(match) for match in glob.glob(str(path), recursive=True)]  # noqa: PTH207
        if not matches:
            raise ConfigError("data.path", f"nothing matches {pattern}")
    else:
        raise ConfigError("data.path", f"{path} does not exist")
    files = _readable(matches)
    if not files:
        raise ConfigError("data.path", f"{pattern}: can only read files that end in {ENDINGS}")
    return files


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _readable(paths: Iterable[Path]) -> list[LocalFile]:
    found = [LocalFile(path.absolute(), _ending(path.name)) for path in paths if path.is_file()]
    return sorted((file for file in found if file.ending), key=lambda file: file.path)


def _ending(name: str) -> str:
    """The key of READERS that `name` ends in, `.gz` aside, or nothing."""
    stem = name.lower().removesuffix(".gz")
    return next((ending for ending in READERS if stem.endswith(ending)), "")


def read(files: list[LocalFile], column: str, folder: Path) -> Documents:
    """The texts of `files`; `datasets` keeps what it needs under `folder`, which must outlive them.

    Files of one kind are read together, in the order of READERS; within a kind the order of `files` is kept.

    Raises:
        DataError: a file cannot be read as what its name says; the message names it.
        ConfigError: the column is not there.
    """
    parts = []
    for ending in READERS:
        same = [file.path for file in files if file.ending == ending and not file.empty()]
        if same:
            name = TEXT_COLUMN if ending == ".txt" else column
            dataset = _load(same, ending, folder)
            where = str(same[0]) if len(same) == 1 else f"{same[0]} and the like ({len(same)} files)"
            check_column(dataset.features, dataset.column_names, name, where)
            parts.append(Rows(dataset, name))
    return Documents(Chain(tuple(parts)))


@dataclass(frozen=True)
class Chain:
    """Several texts after each other, as often as wanted."""

    parts: tuple[Iterable[str], ...]

    def __iter__(self) -> Any:
        return (text for part in self.parts for text in part)


def _load(paths: list[Path], ending: str, folder: Path) -> Any:
    """The dataset of files of one kind; where that fails, the file that is at fault is looked for."""
    try:
        return _dataset(paths, ending, folder)
    except Exception as error:  # `datasets` lets through what pandas, pyarrow and the file system raise
        _raise_full_disk(error)
        if len(paths) == 1:
            raise _unreadable(paths[0], ending, error) from error
        for path in paths:
            try:
                _dataset([path], ending, folder)
            except Exception as single:
                raise _unreadable(path, ending, single) from single
        problem = f"the {len(paths)} {ending} files do not fit together, {paths[0]} first: {reason(error)}"
        raise DataError(f"data.path: {problem}") from error


def _dataset(paths: list[Path], ending: str, folder: Path) -> Any:
    reader, settings = READERS[ending]
    if ending == ".parquet":
        paths = [_unzipped(path, folder) for path in paths]
    # `datasets` takes names as globs.
    names = [glob.escape(str(path)) for path in paths]
    with library(local=True) as datasets:
        return datasets.load_dataset(
            reader, data_files={"train": names}, split="train", cache_dir=str(folder / "hf"), **settings
        )


def _unzipped(path: Path, folder: Path) -> Path:
    """`path`, or a plain copy where it ends in .gz: the reader of parquet, alone of them, does not unzip."""
    if path.suffix.lower() != ".gz":
        return path
    copy = folder / f"{hashlib.sha256(str(path).encode()).hexdigest()[:16]}.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "rb") as zipped, copy.open("wb") as plain:
        shutil.copyfileobj(zipped, plain)
    return copy


def _unreadable(path: Path, ending: str, error: Exception) -> DataError:
    problem = (_bad_line(path) if ending == ".jsonl" else "") or reason(error)
    return DataError(f"data.path: cannot read {path} as {ending}: {problem}")


def _bad_line(path: Path) -> str:
    """What is wrong with the first line that is not a JSON object; the reader only says that there is one."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip() and not isinstance(json.loads(line), dict):
                    return f"line {number} is not a JSON object"
    except json.JSONDecodeError as error:
        return f"line {number} is not JSON: {error.msg} at character {error.pos + 1}"
    except (OSError, EOFError, ValueError):
        pass
    return ""


def _raise_full_disk(error: Exception) -> None:
    """A full disk is no fault of the file; the cache, which is what fills it, says so."""
    for cause in causes(error):
        if is_full(cause):
            raise cause

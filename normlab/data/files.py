"""Local files: which they are, what is in them (by a hash of their bytes), and their texts."""

import dataclasses
import glob
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from normlab.catalogue.datasets import TextData
from normlab.catalogue.tokenizers import TOKENIZERS
from normlab.config import DataConfig
from normlab.data import readers
from normlab.data.documents import Documents, clean
from normlab.data.hf import causes, reason
from normlab.disk.whole_files import is_full
from normlab.errors import ConfigError, DataError, UserError

#: What reads the texts of a file (path, column, folder for a copy), by the end of the file's name.
READERS: dict[str, Callable[[Path, str, Path], Iterator[str]]] = {
    ".txt": readers.read_txt,
    ".jsonl": readers.read_jsonl,
    ".parquet": readers.read_parquet,
    ".csv": readers.read_csv,
}
ENDINGS = f"{', '.join(READERS)} (each also with .gz)"
#: The column of a text that has none.
TEXT_COLUMN = "text"
#: Characters that are written at a time.
CHARACTERS = 1 << 22


@dataclass(frozen=True)
class LocalFile:
    """A file and the ending (a key of READERS) that says how it is read."""

    path: Path
    ending: str

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
    path = expand(pattern, "data.path")
    if path.is_dir():
        files = _readable(_inside(path))
        if not files:
            raise ConfigError("data.path", f"the folder {path} holds no file that ends in {ENDINGS}")
        return files
    if path.is_file():
        matches = [path]
    elif glob.has_magic(pattern):
        found = map(Path, glob.glob(str(path), recursive=True))  # noqa: PTH207
        top = Path(f"{str(path).partition('**')[0]}_").parent
        matches = [match for match in found if not _in_circle(match.parent, top)]
        if not matches:
            raise ConfigError("data.path", f"nothing matches {pattern}")
    else:
        odd = "is a device, a pipe or a socket; give a file or a folder"
        raise ConfigError("data.path", f"{path} {odd if path.exists() else 'does not exist'}")
    files = _readable(matches)
    if not files:
        raise ConfigError("data.path", f"{pattern}: can only read files that end in {ENDINGS}")
    return files


def located(config: DataConfig, folder: Path) -> DataConfig:
    """`config` with its paths from the root on, those that are not as seen from `folder`."""
    found = config
    if isinstance(found, TextData) and found.path:
        found = dataclasses.replace(found, path=_located(found.path, folder))
    if is_file_of_tokens(found.tokenizer):
        found = dataclasses.replace(found, tokenizer=_located(found.tokenizer, folder))
    return found


def is_file_of_tokens(tokenizer: str) -> bool:
    """Whether `data.tokenizer` is no name of one."""
    return tokenizer not in TOKENIZERS


def _located(path: str, folder: Path) -> str:
    if path.startswith("~") or Path(path).is_absolute():
        return path
    pattern = glob.has_magic(path) and not (folder / path).exists()
    # Not as a Path, which would take the end off a glob.
    return os.path.join(glob.escape(str(folder)) if pattern else folder, path)  # noqa: PTH118


def expand(path: str, key: str) -> Path:
    """`path` with a `~` at its start as the home folder.

    Raises:
        ConfigError: there is no such user, or none that has a home here.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(key, f"{path}: it is not known here where that home folder is") from error


def _inside(folder: Path) -> Iterator[Path]:
    """The files below `folder`, in linked folders too, as a glob would find them; none that are hidden."""
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [
            name for name in folders if not name.startswith(".") and not _in_circle(Path(place, name), folder)
        ]
        yield from (Path(place, name) for name in names if not name.startswith("."))


def _in_circle(folder: Path, top: Path) -> bool:
    """Whether links on the way from `top` to `folder` lead back up: all in it is there already."""
    way = [part for part in (folder, *folder.parents) if part.is_relative_to(top)]
    if not any(part.is_symlink() for part in way[:-1]):
        return False
    return len({(found.st_dev, found.st_ino) for found in map(os.stat, way)}) < len(way)


def _readable(paths: Iterable[Path]) -> list[LocalFile]:
    found = [LocalFile(path.absolute(), _ending(path.name)) for path in paths if path.is_file()]
    return sorted((file for file in found if file.ending), key=lambda file: file.path)


def _ending(name: str) -> str:
    """The key of READERS that `name` ends in, `.gz` aside, or nothing."""
    stem = name.lower().removesuffix(".gz")
    return next((ending for ending in READERS if stem.endswith(ending)), "")


def read(files: list[LocalFile], column: str, folder: Path) -> Documents:
    """The texts of `files`, copied into a file under `folder`, which must outlive them.

    Files of one kind come together, in the order of READERS; within a kind the order of `files` is kept.

    Raises:
        DataError: a file cannot be read as what its name says; the message names it.
        ConfigError: the column is not there, or holds no text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ordered = [file for ending in READERS for file in files if file.ending == ending]
    texts = (text for file in ordered for text in clean(_texts(file, column, folder)))
    return Documents(Stored.of(texts, folder / "texts.arrow"))


def _texts(file: LocalFile, column: str, folder: Path) -> Iterator[str]:
    try:
        yield from READERS[file.ending](file.path, column, folder)
    except UserError:
        raise
    except Exception as error:  # what pandas, pyarrow, gzip and the file system raise
        _raise_full_disk(error)
        problem = str(error) if isinstance(error, readers.DamagedFileError) else reason(error)
        raise DataError(f"data.path: cannot read {file.path} as {file.ending}: {problem}") from error


@dataclass(frozen=True)
class Stored:
    """Texts in an Arrow file, mapped: they can be walked over again without reading their sources again."""

    path: Path

    @classmethod
    def of(cls, texts: Iterable[str], path: Path) -> "Stored":
        """`texts`, written to `path`."""
        import pyarrow as pa

        schema = pa.schema([(TEXT_COLUMN, pa.large_string())])
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
            for batch in _batched(texts):
                stream.write_batch(pa.record_batch([pa.array(batch, pa.large_string())], schema=schema))
        return cls(path)

    def __iter__(self) -> Iterator[str]:
        import pyarrow as pa

        with pa.memory_map(str(self.path)) as file, pa.ipc.open_stream(file) as stream:
            for batch in stream:
                yield from (text.as_py() for text in batch.column(0))


def _batched(texts: Iterable[str]) -> Iterator[list[str]]:
    """`texts` in lists of about CHARACTERS characters."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _raise_full_disk(error: Exception) -> None:
    """A full disk is no fault of the file; the cache, which is what fills it, says so."""
    for cause in causes(error):
        if is_full(cause):
            raise cause

"""Tokens on disk, made once: a folder for each request, complete or not there at all.

A folder is built under another name, flushed to the disk and renamed; whoever comes second finds it done.
Nothing is locked: two runs that start together may both do the work, and the first to finish wins.
"""

import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from normlab.data.hf import causes
from normlab.disk.whole_files import flush, is_full
from normlab.errors import DataError

META = "meta.json"
BUILDING = ".building-"
#: A folder that was left unfinished, by a killed run, is removed after this many seconds.
STALE = 24 * 3600
#: What a check reads of each file: this many blocks of this size, evenly over it; all of it up to 16 MiB.
BLOCKS, BLOCK = 256, 1 << 16

#: Held while the form of warnings, which is one for all threads, is changed.
_WARNING = threading.Lock()

T = TypeVar("T")
#: Fills a folder and returns what its meta.json is to hold.
Build = Callable[[Path], dict[str, Any]]
#: Opens a complete folder, given what its meta.json holds.
Open = Callable[[Path, dict[str, Any]], T]


class DataWarning(UserWarning):
    """The text is not what it seems to be; the run goes on."""


class CacheWarning(DataWarning):
    """The token cache was damaged or cannot be used; the run goes on."""


class DamagedError(Exception):
    """A cache folder that is not what its meta.json says."""


class TakenError(DataError):
    """An unfinished folder that another run removed as one that was left: its clock was set forward."""


def root() -> Path:
    """`$NORMLAB_CACHE`, else normlab's folder in the user's cache.

    Raises:
        RuntimeError: it is in a home folder, and there is none.
    """
    own = os.environ.get("NORMLAB_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache").absolute() / "normlab"


def key_of(request: Mapping[str, Any]) -> str:
    """A hash of plain values; that of a request is the name of its folder."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:32]


def fetch(request: Mapping[str, Any], build: Build, open_folder: Open[T]) -> T:
    """What `request` asks for, opened; built where it is not there, and again, with a warning, where damaged.

    Raises:
        DataError: the disk is full.
    """
    try:
        place = root() / key_of(request)
    except RuntimeError:  # a user id without a name, as a container may have it, or a `~nobody`
        return _without_cache("there is no home folder", build, open_folder)
    for _ in range(3):  # another run may replace a damaged folder between the check and the opening
        try:
            return open_folder(place, _check(place))
        except FileNotFoundError:
            pass
        except DamagedError as damage:
            warn(f"the token cache {place} is damaged ({damage}); making it again")
            _remove(place)
        try:
            folder = _building(place.parent)
        except OSError as error:
            # Without the name of the folder that could not be made: it is another one each time.
            return _without_cache(f"{place.parent}: {error.strerror}", build, open_folder)
        with suppress(TakenError):
            _fill(folder, build)
            _publish(folder, place)
    raise DataError(f"the token cache {place} does not stay there; set NORMLAB_CACHE to another folder")


def warn(message: str, kind: type[DataWarning] = CacheWarning) -> None:
    """A warning that is printed once a process, as one line without a piece of this source."""
    with _WARNING:
        usual = warnings.formatwarning
        warnings.formatwarning = lambda text, *more, **named: f"warning: {text}\n"
        try:
            warnings.warn(message, kind, stacklevel=1)
        finally:
            warnings.formatwarning = usual


def _check(place: Path) -> dict[str, Any]:
    """The meta.json of a complete folder.

    Raises:
        FileNotFoundError: there is no such folder.
        DamagedError: a file is missing, cut off or changed.
    """
    if not place.exists():
        raise FileNotFoundError(place)
    try:
        meta: dict[str, Any] = json.loads((place / META).read_text("utf-8"))
        if meta.pop("check") != key_of(meta):
            raise DamagedError(f"{META} is not what was written")
        for name, (size, digest) in meta["files"].items():
            if (place / name).stat().st_size != size:
                raise DamagedError(f"{name} is not as long as it was")
            if _digest(place / name) != digest:
                raise DamagedError(f"{name} is not what was written")
    except FileNotFoundError as error:
        raise DamagedError(f"{Path(error.filename).name} is missing") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DamagedError(f"{META} cannot be read") from error
    return meta


def _digest(path: Path) -> str:
    """A hash of blocks spread over the file, so that opening a large cache stays fast."""
    size = path.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    step = max(BLOCK, size // BLOCKS)
    with path.open("rb") as file:
        for start in range(0, size, step):
            file.seek(start)
            digest.update(file.read(BLOCK))
    return digest.hexdigest()


def _building(parent: Path) -> Path:
    """A new folder beside those that are complete; old unfinished ones go."""
    parent.mkdir(parents=True, exist_ok=True)
    for old in parent.glob(f"{BUILDING}*"):
        with suppress(FileNotFoundError):
            if time.time() - old.stat().st_mtime > STALE:
                shutil.rmtree(old, ignore_errors=True)
    return _new_folder(parent)


def _new_folder(parent: Path) -> Path:
    """An unfinished folder; unlike one of `tempfile` it is as open to others as the user's files are."""
    folder = parent / f"{BUILDING}{uuid.uuid4().hex}"
    folder.mkdir()
    return folder


def _fill(folder: Path, build: Build) -> dict[str, Any]:
    """Build into `folder`, meta.json last, everything flushed; on an error the folder is removed."""
    try:
        meta = build(folder)
        files = sorted(path for path in folder.iterdir() if path.is_file())
        meta["files"] = {path.name: [path.stat().st_size, _digest(path)] for path in files}
        for path in files:
            flush(path)
        (folder / META).write_text(json.dumps({**meta, "check": key_of(meta)}, indent=1), "utf-8")
        flush(folder / META)
        flush(folder)
    except BaseException as error:
        if isinstance(error, Exception) and not folder.exists():
            raise TakenError(f"{folder} was removed while a text was written there") from error
        shutil.rmtree(folder, ignore_errors=True)
        if any(map(is_full, causes(error))):  # `datasets` wraps them
            problem = "the disk is full; set NORMLAB_CACHE to a folder elsewhere"
            raise DataError(f"cannot write the token cache in {folder.parent}: {problem}") from error
        raise
    return meta


def _publish(folder: Path, place: Path) -> None:
    """Give the complete `folder` its name, unless another run was faster."""
    try:
        folder.rename(place)
        flush(place.parent)
    except OSError as error:
        if not folder.exists() and not place.exists():
            raise TakenError(f"{folder} was removed before it had its name") from error
        if not place.exists():
            raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove(place: Path) -> None:
    """Take a damaged folder out of the way at once, then delete it."""
    try:
        aside = _new_folder(place.parent)
        place.rename(aside / place.name)
        shutil.rmtree(aside, ignore_errors=True)
    except OSError:
        shutil.rmtree(place, ignore_errors=True)


def _without_cache(why: str, build: Build, open_folder: Open[T]) -> T:
    """Build into a folder of this run alone."""
    problem = f"cannot write the token cache ({why}); the text is read again by every run"
    warn(f"{problem}. Set NORMLAB_CACHE to a folder that can be written")
    folder = Path(tempfile.mkdtemp(prefix="normlab-"))
    try:
        return open_folder(folder, _fill(folder, build))
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # the mapped files stay readable

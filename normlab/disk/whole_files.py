"""Files that are whole or not there, whenever the process or the machine stops."""

import errno
import os
from contextlib import suppress
from io import FileIO
from pathlib import Path

#: What a file is called until it is whole.
PART = ".part"


def replace_file(path: Path, data: bytes | memoryview) -> None:
    """Write `data`; a reader sees the old file or the new one, never a part.

    Raises `OSError`, a full disk for instance, with the name of the file.
    """
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb", buffering=0) as file:
            write(file, data)
            os.fsync(file.fileno())
        part.replace(path)
        flush(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def is_full(error: BaseException | None) -> bool:
    """Whether it says that no more can be written: the disk is full, or a quota or `ulimit -f` is reached."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def append(file: FileIO, line: bytes) -> None:
    """Write `line` at the end of an unbuffered file, or leave the file as it was.

    Raises `OSError` with the name of the file.
    """
    end = os.fstat(file.fileno()).st_size
    try:
        write(file, line)
    except OSError as error:
        with suppress(OSError):
            os.truncate(file.fileno(), end)
        raise OSError(error.errno, error.strerror, str(file.name)) from error


def overwrite(path: Path, data: bytes) -> None:
    """Write `data` into a file's own room, for a full disk on which `replace_file` has none.

    A reader, and a kill, can meet it half written.
    """
    with path.open("r+b", buffering=0) as file:
        write(file, data)
        file.truncate()
        os.fsync(file.fileno())


def write(file: FileIO, data: bytes | memoryview) -> None:
    """Write all of `data` into an unbuffered file."""
    left = memoryview(data)
    # Such a write may take a part only; on a full disk it is the next one that raises.
    while left:
        left = left[file.write(left) :]


def flush(path: Path) -> None:
    """A file's bytes onto the disk, before its name says that they are there; a folder's names, where the
    system can."""
    if path.is_file():
        try:
            with path.open("r+b") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        return
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

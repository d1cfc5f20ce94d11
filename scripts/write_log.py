"""Write down what this process does to a folder, and lay out what a crash at each point would leave of it.

For `crash_points.py`. The operations are those of Python: files made, written, cut and flushed, names given,
linked and removed, folders made. The lock of a run is left out: it says nothing once its process is gone.
"""

import builtins
import io
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from normlab.rundir.writer import LOCK

#: What was done: a name, the path within the folder, and what the operation takes.
Operation = tuple[Any, ...]
#: A folder: the content of each file by its path; None is a folder.
State = dict[str, bytes | None]
#: May say what goes wrong with an operation, given its number and whether it takes room on the disk.
Fault = Callable[[int, bool], OSError | None]

_BLOCK = 4096


class Log:
    """The operations below `root`, in their order."""

    def __init__(self, root: Path, fault: Fault = lambda number, room: None) -> None:
        self._root, self._fault = root.resolve(), fault
        self.operations: list[Operation] = []
        self._number = 0

    def path(self, path: Any) -> str | None:
        """A path relative to the root; None for others, and for a lock."""
        if isinstance(path, int):
            path = Path(f"/proc/self/fd/{path}").readlink()
        if not isinstance(path, str | os.PathLike):
            return None
        given = Path(os.fspath(path))
        full = given.parent.resolve() / given.name
        inside = full.is_relative_to(self._root) and given.name != LOCK
        return str(full.relative_to(self._root)) if inside else None

    def add(self, kind: str, *what: Any, room: bool = False) -> None:
        """Note an operation that is about to be done. Raises its fault instead, where it has one."""
        error = self._fault(self._number, room)
        self._number += 1
        if error is not None:
            raise error
        self.operations.append((kind, *what))


class _LoggedFile(io.FileIO):
    """A file whose writes are logged; a write that fails takes half of its bytes."""

    def __init__(self, log: Log, path: str, name: Any, mode: str) -> None:
        if "w" in mode or not os.path.lexists(name):
            log.add("create", path, room=True)
        super().__init__(name, mode)
        self._log, self._path = log, path

    def write(self, data: Any) -> int:
        whole, size = bytes(data), os.fstat(self.fileno()).st_size
        place = size if "a" in self.mode else self.tell()
        grows = -(-(place + len(whole)) // _BLOCK) > -(-size // _BLOCK)
        try:
            self._log.add("write", self._path, place, whole, room=grows)
        except OSError:
            half = whole[: len(whole) // 2]
            self._log.operations.append(("write", self._path, place, half))
            super().write(half)
            raise
        return super().write(whole)

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        self._log.add("truncate", self._path, size)
        return super().truncate(size)


@contextmanager
def logged(log: Log) -> Iterator[Log]:
    """Write down what this process does below the log's root."""
    plain_open, raw_open, cut = io.open, os.open, os.truncate

    def open_(name: Any, mode: str = "r", buffering: int = -1, *rest: Any, **named: Any) -> Any:
        path = log.path(name) if set("wax+") & set(mode) and not isinstance(name, int) else None
        if path is None:
            return plain_open(name, mode, buffering, *rest, **named)
        raw = _LoggedFile(log, path, name, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        binary = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return binary if "b" in mode else io.TextIOWrapper(binary, *rest, **named)

    def open_raw(name: Any, flags: int, *rest: Any, **named: Any) -> int:
        path = log.path(name)
        if path is not None and flags & os.O_CREAT and not os.path.lexists(name):
            log.add("create", path, room=True)
        return raw_open(name, flags, *rest, **named)

    def fsync(handle: int) -> None:  # the real one only costs time here
        path = log.path(handle)
        if path is not None:
            log.add("fsync", path)

    def truncate(name: Any, size: int) -> None:
        path = log.path(name)
        if path is not None:
            log.add("truncate", path, size)
        cut(name, size)

    def noted(kind: str, real: Callable[..., Any], names: int = 1) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            paths = [log.path(name) for name in arguments[:names]]
            if paths[0] is not None:
                log.add(kind, *paths, room=kind in ("mkdir", "link"))
            return real(*arguments, **named)

        return call

    with ExitStack() as stack:
        for holder, name, new in (
            (io, "open", open_),
            (builtins, "open", open_),
            (os, "open", open_raw),
            (os, "fsync", fsync),
            (os, "truncate", truncate),
            (os, "replace", noted("rename", os.replace, 2)),
            (os, "rename", noted("rename", os.rename, 2)),
            (os, "link", noted("link", os.link, 2)),
            (os, "unlink", noted("unlink", os.unlink)),
            (os, "remove", noted("unlink", os.remove)),
            (os, "mkdir", noted("mkdir", os.mkdir)),
            (os, "rmdir", noted("unlink", os.rmdir)),
            (shutil, "_USE_CP_SENDFILE", False),  # which writes past Python's files
        ):
            stack.enter_context(mock.patch.object(holder, name, new))
        yield log


@dataclass(eq=False)
class _File:
    """A file's bytes, those of it that were flushed, and where its last write began."""

    data: bytes = b""
    flushed: bytes = b""
    last: int = 0


@dataclass
class _Disk:
    """A folder as the system shows it, and the names in it that the disk has for sure."""

    names: dict[str, _File | None] = field(default_factory=dict)
    safe: dict[str, _File | None] = field(default_factory=dict)

    @classmethod
    def of(cls, state: State) -> "_Disk":
        names = {
            name: content if content is None else _File(content, content) for name, content in state.items()
        }
        return cls(names, dict(names))

    def do(self, operation: Operation) -> None:
        kind, path, *what = operation
        if kind == "mkdir":
            self.names[path] = None
        elif kind == "rename":
            self.names[what[0]] = self.names.pop(path)
        elif kind == "link":
            self.names[what[0]] = self.names[path]
        elif kind == "unlink":
            self.names.pop(path, None)
        elif kind == "fsync" and self.names.get(path) is None:
            self._flush_names(path)
        elif kind == "create":
            self.names[path] = self.names.get(path) or _File()
            self._file(path).data = b""
        else:
            self._change(kind, self._file(path), what)

    def _change(self, kind: str, file: _File, what: list[Any]) -> None:
        if kind == "fsync":
            file.flushed = file.data
        elif kind == "truncate":
            file.data = file.data[: what[0]].ljust(what[0], b"\0")
        else:
            place, data = what
            file.data, file.last = written(file.data, place, data), place

    def _file(self, path: str) -> _File:
        file = self.names[path]
        assert file is not None, path
        return file

    def _flush_names(self, folder: str) -> None:
        for name in {*self.names, *self.safe}:
            if str(Path(name).parent) == folder:
                self.safe.pop(name, None)
                self.safe |= {name: self.names[name]} if name in self.names else {}

    def after_kill(self) -> State:
        """All that was done is there."""
        return {name: file and file.data for name, file in self.names.items()}

    def after_power_failure(self) -> Iterator[tuple[str, State]]:
        """What was flushed is there; of the rest several things may be."""
        for what, left in (("lost", _flushed), ("zeros", _zeros), ("hole", _hole)):
            yield what, {name: file and left(file) for name, file in self.names.items()}
        # But for the first folder, without whose name nothing would be there at all.
        top = {name: None for name, file in self.names.items() if file is None and "/" not in name}
        state: State = {}
        for name, file in sorted({**top, **self.safe}.items()):
            if "/" not in name or str(Path(name).parent) in state:
                state[name] = file and file.flushed
        yield "names lost", state


def _flushed(file: _File) -> bytes:
    return file.flushed


def _zeros(file: _File) -> bytes:
    """As long as it was, and zeros where it was not flushed."""
    kept = file.flushed if file.data.startswith(file.flushed) else b""
    return kept.ljust(len(file.data), b"\0")


def _hole(file: _File) -> bytes:
    """Zeros where it was not flushed, but for the last write."""
    if not file.data.startswith(file.flushed) or file.last < len(file.flushed):
        return file.data
    return file.flushed.ljust(file.last, b"\0") + file.data[file.last :]


def written(content: bytes, place: int, data: bytes) -> bytes:
    """`content` with `data` at `place`."""
    return content[:place].ljust(place, b"\0") + data + content[place + len(data) :]


def crashes(operations: Sequence[Operation], before: State) -> Iterator[tuple[int, str, State]]:
    """What each crash leaves of a folder that was `before`: the operation's number, what came, the folder."""
    disk = _Disk.of(before)
    for number, operation in enumerate([*operations, ("end", "")]):
        kind, path, *what = operation
        where = f"operation {number} ({kind} {path})"
        yield number, f"kill before {where}", disk.after_kill()
        for name, state in disk.after_power_failure():
            yield number, f"power failure ({name}) before {where}", state
        if kind == "write":
            place, data = what
            state = disk.after_kill()
            torn = written(state[path] or b"", place, data[: len(data) // 2])
            yield number, f"kill within {where}", {**state, path: torn}
        if kind != "end":
            disk.do(operation)


def after(operations: Sequence[Operation]) -> State:
    """The folder after these."""
    disk = _Disk()
    for operation in operations:
        disk.do(operation)
    return disk.after_kill()


def lay_out(state: State, folder: Path) -> None:
    """Make a folder that is `state`."""
    folder.mkdir(parents=True)
    for name, content in sorted(state.items()):
        if content is None:
            (folder / name).mkdir(parents=True, exist_ok=True)
        else:
            (folder / name).write_bytes(content)

"""Checkpoints: plain tensors and numbers, whole or not there, sealed by a checksum, read with `weights_only`.

A file is what `torch.save` writes and a line with the SHA-256 of that; `torch.load` reads it as it is.
"""

import hashlib
import io
import os
import pickle
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from normlab.config import CheckpointConfig
from normlab.disk.untrusted import open_file
from normlab.disk.whole_files import PART, flush, replace_file
from normlab.errors import CheckpointError, quoted

#: Raised when what a state holds changes, so that nothing is read as what it is not.
FORMAT = 2
#: The state with the lowest validation loss, and the last one from before an event: kept beside the newest.
BEST = "best"
BEFORE = "before-{step:06d}-{kind}"
_SEAL = b"\nnormlab sha256 %b\n"
_SEALED = re.compile(re.escape(_SEAL).replace(b"%b", b"[0-9a-f]{64}"))
_SEAL_LENGTH = len(_SEAL) - len(b"%b") + 64


class Cadence:
    """When one is due: every N steps, every M minutes by a clock that nobody sets, or neither."""

    def __init__(self, config: CheckpointConfig) -> None:
        self._every, self._last = config.every, time.monotonic()
        self._seconds = float("inf") if config.minutes is None else 60 * config.minutes

    def due(self, step: int) -> bool:
        now = time.monotonic()
        by_steps = self._every is not None and step % self._every == 0
        if not by_steps and now - self._last < self._seconds:
            return False
        self._last = now
        return True


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint that is whole."""

    path: Path
    state: dict[str, Any]
    #: What is wrong with newer ones.
    damaged: tuple[str, ...]


def save(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write `step_XXXXXXXX.pt` (the next step to take) and delete all such but the `keep` newest."""
    path = folder / f"step_{step:08d}.pt"
    content = io.BytesIO()  # torch.save hides a full disk behind an error of its own
    torch.save({"format": FORMAT, **state}, content)
    with content.getbuffer() as whole:
        seal = _seal(whole)
    content.seek(0, io.SEEK_END)
    content.write(seal)
    replace_file(path, content.getbuffer())
    for old in [*checkpoints(folder)[:-keep], *folder.glob(f"*{PART}")]:
        old.unlink()
    flush(folder)  # else a power failure brings an old one back, beside those that are to be kept
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder` that are named by their step, oldest first."""
    return sorted(path for path in folder.glob("step_*.pt") if re.fullmatch(r"step_\d+\.pt", path.name))


def keep_as(name: str, folder: Path, step: int) -> None:
    """Keep the newest checkpoint of at most `step` as `name`.pt too; nothing where there is none."""
    found = [path for path in checkpoints(folder) if _step(path) <= step]
    if not found:
        return
    path = folder / f"{name}.pt"
    part = path.with_name(path.name + PART)
    part.unlink(missing_ok=True)
    try:
        os.link(found[-1], part)
    except OSError:  # a file system without links
        shutil.copyfile(found[-1], part)
        flush(part)
    part.replace(path)
    part.unlink(missing_ok=True)  # it stays where both are one file already
    flush(folder)


def drop_after(folder: Path, step: int) -> None:
    """Delete the checkpoints named by a later step: damaged ones, which the run will write again."""
    for path in checkpoints(folder):
        if _step(path) > step:
            if path.is_dir():
                raise CheckpointError(
                    f"{path} is a folder, and the run will write a file there: move it away"
                )
            path.unlink()


def drop_kept(folder: Path, step: int) -> None:
    """Delete what was kept from before events of `step` or later, which the run has yet to come to."""
    for path in folder.glob("before-*.pt"):
        at = path.name.split("-")[1]
        if at.isdecimal() and int(at) >= step:
            path.unlink()


def mend_best(folder: Path, best: int, device: torch.device) -> str:
    """Have best.pt be the state of the step `best` (0: none yet); a kill can come before it is kept.

    Returns what is wrong where there is no such checkpoint any more.
    """
    path = folder / f"{BEST}.pt"
    state = _read(path, device, []) if path.exists() else None
    if state is not None and state.get("step") == best:
        return ""
    source = folder / f"step_{best:08d}.pt"
    if best and source.exists() and _read(source, device, []) is not None:
        keep_as(BEST, folder, best)
        return ""
    path.unlink(missing_ok=True)
    return f"{path.name}, of step {best}, is lost" if best else ""


def load_latest(
    folder: Path, device: torch.device, wrong: Callable[[dict[str, Any]], str] = lambda state: ""
) -> LoadedCheckpoint | None:
    """The newest checkpoint that is whole, its tensors on `device`; None where there is none at all.

    Args:
        wrong: what else is wrong with a state, as text; empty where it can be gone on from.
    Raises:
        CheckpointError: all are damaged, or the newest whole one is of another format; names the files.
    """
    damaged: list[str] = []
    unfit: list[str] = []
    for path in reversed(checkpoints(folder)):
        if (state := _sound(path, device, wrong, damaged, unfit)) is not None:
            return LoadedCheckpoint(path, state, (*damaged, *unfit))
    others = sorted(path for path in folder.glob("*.pt") if path not in checkpoints(folder))
    read = [(path, _sound(path, device, wrong, damaged, unfit)) for path in others]
    whole = [LoadedCheckpoint(path, state, ()) for path, state in read if state is not None]
    if whole:
        newest = max(whole, key=lambda found: found.state["step"])
        return LoadedCheckpoint(newest.path, newest.state, (*damaged, *unfit))
    if damaged and not unfit:
        raise CheckpointError(
            f"no checkpoint in {folder} can be read: {'; '.join(damaged)}. "
            "Delete them to train the run from its first step again"
        )
    return None


def _sound(
    path: Path,
    device: torch.device,
    wrong: Callable[[dict[str, Any]], str],
    damaged: list[str],
    unfit: list[str],
) -> dict[str, Any] | None:
    """The state in a file; None where it cannot be gone on from, and a line on why in one of the lists."""
    state = _read(path, device, damaged)
    if state is not None and (problem := wrong(state)):
        unfit.append(f"{path.name} cannot be gone on from ({problem})")
        return None
    return state


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """The state in a file, its tensors on `device`. Raises CheckpointError if it is damaged."""
    damaged: list[str] = []
    state = _read(path, device, damaged)
    if state is None:
        raise CheckpointError(f"{path.parent}: {damaged[0]}")
    return state


def _read(path: Path, device: torch.device, damaged: list[str]) -> dict[str, Any] | None:
    """The state in a file; None, and a line in `damaged`, where it is not what was written."""
    try:
        with open_file(path) as file:  # a pipe would be waited for, a device has no end
            data = memoryview(file.read())
    except OSError as error:
        damaged.append(f"{path.name} cannot be read ({error.strerror})")
        return None
    body, seal = data[:-_SEAL_LENGTH], data[-_SEAL_LENGTH:]
    if not _SEALED.fullmatch(seal):
        damaged.append(f"{path.name} is cut short, or of another version: it does not end with a checksum")
        return None
    if seal != _seal(body):
        damaged.append(f"{path.name} is not what was written (its checksum differs)")
        return None
    try:
        with warnings.catch_warnings():  # torch's, on how else a foreign file could be read
            warnings.simplefilter("ignore")
            state: dict[str, Any] = torch.load(io.BytesIO(body), map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        reason = "it holds something else than tensors, numbers and texts"
        raise CheckpointError(f"cannot read the checkpoint {path}: {reason}") from error
    except Exception as error:  # torch raises half a dozen kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"cannot read the checkpoint {path}: {reason}") from error
    _check(path, state)
    return state


def _check(path: Path, state: Any) -> None:
    found = state.get("format") if isinstance(state, dict) else None
    if not isinstance(found, int) or found != FORMAT:
        what = f"the format {quoted(str(found))}" if isinstance(found, int | str) and found else "no format"
        raise CheckpointError(
            f"{path} has {what}, and this normlab reads {FORMAT}: "
            "resume the run with the normlab that it was trained with (environment.json says which)"
        )
    wrong = [name for name, fits in _SHAPES.items() if name in state and not fits(state[name])]
    wrong += [name for name, value in state.items() if isinstance(name, str) and _grows(value)]
    if wrong:
        names = ", ".join(dict.fromkeys(map(quoted, wrong)))
        raise CheckpointError(f"{path} is not the state of a run: {names} of another type")


def _grows(value: Any) -> bool:
    """Whether a tensor in nested values has more numbers than the file: one number, said to be millions."""
    level = [value]
    while level:
        for each in level:
            if isinstance(each, Tensor) and (
                each.layout is not torch.strided
                or each.device.type == "meta"
                or each.untyped_storage().nbytes() < each.numel() * each.element_size()
            ):
                return True
        level = [
            item
            for each in level
            if isinstance(each, dict | list | tuple)
            for item in (each.values() if isinstance(each, dict) else each)
        ]
    return False


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_best(value: Any) -> bool:
    return (
        isinstance(value, tuple | list)
        and len(value) == 2
        and type(value[0]) in (int, float)
        and _is_count(value[1])
    )


def _is_row(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _is_count(value.get("step"))
        and all(isinstance(item, int | float | str) for item in value.values())
    )


def _are_texts(keys: Iterable[Any]) -> bool:
    return all(isinstance(key, str) for key in keys)


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and _are_texts(value)


#: What a file of an event is called in the folder of a run; nothing outside it is kept, and so removed.
_KEPT = re.compile(r"(?:events/[^/\0]+\.npz|checkpoints/before-[^/\0]+\.pt)")

#: What each part of a state is; what is not there is not looked at.
_SHAPES: dict[str, Callable[[Any], bool]] = {
    "step": _is_count,
    "rows": _is_count,
    "best": _is_best,
    "config": _is_named,
    "model": lambda value: _is_named(value) and all(isinstance(each, Tensor) for each in value.values()),
    "optimizer": _is_named,
    "watch": _is_named,
    "ring": lambda value: isinstance(value, list) and all(map(_is_row, value)),
    "rng": lambda value: (
        isinstance(value, list)
        and all(isinstance(each, Tensor) and each.dim() > 1 and len(each) for each in value)
    ),
    "kept": lambda value: isinstance(value, list) and _are_texts(value) and all(map(_KEPT.fullmatch, value)),
}


def _seal(body: memoryview) -> bytes:
    return _SEAL % hashlib.sha256(body).hexdigest().encode()


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step_"))

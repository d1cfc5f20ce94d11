"""Checkpoints: plain tensors and numbers, written whole or not at all, read with `weights_only`."""

import io
import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from normlab.errors import CheckpointError


def save(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write `step_XXXXXXXX.pt` (the next step to take) and delete all but the `keep` newest."""
    path = folder / f"step_{step:08d}.pt"
    partial = path.with_suffix(".partial")
    whole = io.BytesIO()  # torch.save hides a full disk behind an error of its own
    torch.save(state, whole)
    try:
        with partial.open("wb") as file:
            file.write(whole.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        partial.unlink(missing_ok=True)
    for old in checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, oldest first."""
    return sorted(path for path in folder.glob("step_*.pt") if re.fullmatch(r"step_\d+\.pt", path.name))


def load_latest(folder: Path, device: torch.device) -> dict[str, Any]:
    """The newest checkpoint's state, on `device`.

    Raises:
        CheckpointError: there is none, or it cannot be read; names the file.
    """
    found = checkpoints(folder)
    if not found:
        raise CheckpointError(
            f"{folder} holds no checkpoint: the run stopped before its first one; start it anew"
        )
    path = found[-1]
    try:
        if not zipfile.is_zipfile(path):  # what torch.save writes; anything else it would only warn of
            raise ValueError("it is cut short or not a checkpoint")
        state = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(state, dict) or not {"step", "model", "optimizer", "watch"} <= state.keys():
            raise ValueError("it is not a checkpoint of normlab")
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        earlier = f" Delete it to go on from {found[-2].name}." if len(found) > 1 else ""
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"cannot read the checkpoint {path}: {reason}.{earlier}") from error
    return state

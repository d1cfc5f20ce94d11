"""Where a run that stopped goes on: its last good checkpoint, and the rows up to there."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from normlab.catalogue.naming import flat
from normlab.config import RunConfig
from normlab.disk.untrusted import open_file
from normlab.errors import CheckpointError, RunDirectoryError
from normlab.rundir.resuming import differences
from normlab.rundir.writer import (
    CHECKPOINTS,
    ROWS,
    SNAPSHOT_FOLDER,
    SUMMARY,
    forget,
    read_rows,
    read_summary,
    sound_steps,
    truncate,
)
from normlab.terminal.wording import counted, listed
from normlab.training import checkpoint
from normlab.training.job import Job

#: What a state must have to be gone on from.
_PARTS = ("step", "best", "config", "model", "optimizer", "watch", "rng")
#: Those of them that hold no tensor.
_PLAIN = ("step", "best", "config", "watch")
#: Bytes in the archive of an event, unpacked: far more than its rows take.
_LARGEST = 256 << 20


def summary_of(directory: Path) -> tuple[dict[str, Any], list[str]]:
    """The summary of the run in `directory`; empty if it was killed before it had one, or it is damaged.

    Of the latter a line too: rows and checkpoints make it again.
    """
    if not (directory / SUMMARY).exists():
        return {}, []
    try:
        return read_summary(directory), []
    except RunDirectoryError as error:
        return {}, [f"{error}; making it again"]


def find(
    config: RunConfig, directory: Path, device: torch.device, *, ended: bool
) -> checkpoint.LoadedCheckpoint | None:
    """The checkpoint to go on from; None where the run was stopped before its first one.

    Args:
        ended: the run ended in order, and so has left one: its rows are not to be made again.
    Raises:
        CheckpointError: none of those there can be read, it is of another experiment, or a run that ended has
            none; says which.
    """
    steps, damage = sound_steps(directory) if (directory / ROWS).exists() else ([], f"there is no {ROWS}")

    gap: list[str] = []

    def lacking(state: dict[str, Any]) -> str:
        """What the rows lack of those before the state: a power failure, or a hand, can take some."""
        step = state.get("step", 0)
        there = sum(each < step for each in steps)
        logged = state.get("rows", -(-step // config.train.log_every))
        if there < logged:
            gap.append(
                f"{ROWS} has {there} of the {logged} rows before step {step}{damage and f': {damage}'}"
            )
            return gap[-1]
        return ""

    found = checkpoint.load_latest(directory / CHECKPOINTS, device, lacking)
    if found is None and ended:
        why = f" ({gap[0]})" if gap else ""
        raise CheckpointError(
            f"{directory} holds no checkpoint to go on from{why}; start the run anew elsewhere"
        )
    if found and (lost := [name for name in _PARTS if name not in found.state]):
        raise CheckpointError(f"{found.path} is not the state of a run: it has no {', '.join(lost)}")
    if found and (odd := [name for name in _PLAIN if not _is_plain(found.state[name])]):
        raise CheckpointError(
            f"{found.path} is not the state of a run: there is a tensor in its {', '.join(odd)}"
        )
    different = differences(config, dict(flat(found.state["config"]))) if found else []
    if found and different:
        told = listed([f"{key} is {old} there and {new} here" for key, old, new in different], 5, "; ")
        raise CheckpointError(f"{found.path} is not a checkpoint of the run in config.yaml: {told}")
    return found


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)


def is_done(config: RunConfig, found: checkpoint.LoadedCheckpoint, summary: Mapping[str, Any]) -> str:
    """Why nothing is left to train of a run that ended in order; empty where something is."""
    step, outcome = found.state["step"], summary.get("outcome")
    if summary.get("status") != "finished":
        return ""
    if step >= config.train.steps:
        return f"has done all its {config.train.steps} steps; give it more with train.steps={2 * step}"
    if not all(torch.isfinite(value).all() for value in found.state["model"].values()):
        return f"is finished: at step {step} its parameters were not finite; nothing can go on from there"
    if config.divergence.action == "stop" and outcome not in (None, "stable"):
        return (
            f"is finished: divergence.action=stop ended it at step {step} ({outcome}); "
            "to train on all the same, add divergence.action=record"
        )
    return ""


def kept(directory: Path) -> list[str]:
    """What is kept of events: the steps before them, and checkpoints."""
    paths = [*directory.glob(f"{SNAPSHOT_FOLDER}/*.npz"), *directory.glob(f"{CHECKPOINTS}/before-*.pt")]
    return sorted(str(path.relative_to(directory)) for path in paths)


def _losses(directory: Path, names: Sequence[str], device: torch.device) -> list[str]:
    """A line on each of these that is not there or not whole. What is not whole is removed."""
    lines = []
    for name in names:
        path = directory / name
        try:
            if path.suffix == ".npz" and _is_whole(path):
                continue
            if path.suffix == ".pt" and checkpoint.load(path, device):
                continue
        except (OSError, CheckpointError):
            pass
        lines.append(f"{name}, kept of an event, is lost")
        with suppress(OSError):  # a folder in its place
            path.unlink()
    return lines


def _is_whole(path: Path) -> bool:
    """Whether all in an archive is as its checksums say; one that would grow beyond all bounds is not."""
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            size = sum(member.file_size for member in archive.infolist())
            return size <= _LARGEST and archive.testzip() is None
    # An archive that is none, cut, locked, or packed in a way that Python does not know.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError):
        return False


def restore(job: Job, found: checkpoint.LoadedCheckpoint | None, directory: Path) -> list[str]:
    """Put `job` where the checkpoint was, or leave it at its first step, and the directory with it.

    Returns a line on what was lost, where more was than since the newest checkpoint.
    """
    if found:
        try:
            job.load_state_dict(found.state)
        except Exception as error:  # whatever a part finds in its place in the state
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{found.path} does not fit the model in config.yaml: {reason}") from error
    folder = directory / CHECKPOINTS
    there = checkpoint.checkpoints(folder)
    lost = truncate(directory, job.step)
    forget(directory, job.step)
    checkpoint.drop_after(folder, job.step)
    checkpoint.drop_kept(folder, job.step)
    gone = checkpoint.mend_best(folder, job.best[1], job.device)
    rows = read_rows(directory)
    unlogged = found.state.get("ring", []) if found else []
    latest = {row["step"]: row for row in [*unlogged, *rows]}
    job.ring.fill(latest[step] for step in sorted(latest))
    job.seconds = rows[-1].get("time/seconds", 0.0) if rows else 0.0
    again = f"{counted(lost, 'step')} trained again"
    warnings = [gone] if gone else []
    warnings += _losses(directory, found.state.get("kept", []), job.device) if found else []
    if found and found.damaged:
        where = f"{found.path.name} at step {job.step}"
        return [f"{'; '.join(found.damaged)}: going on from {where}, {again}", *warnings]
    if there and not found:
        return [f"{ROWS} lacks rows from before every checkpoint: beginning again, {again}"]
    return [f"the run stopped before its first checkpoint: {again}"] if lost and not found else warnings

"""Where a run that stopped goes on: its last good checkpoint, and the rows up to there."""

from pathlib import Path
from typing import Any

import torch

from normlab.config import RunConfig
from normlab.errors import CheckpointError
from normlab.naming import flat
from normlab.resuming import differences
from normlab.sinks.run_directory import CHECKPOINTS, SUMMARY, read_rows, read_summary, truncate
from normlab.training import checkpoint
from normlab.training.job import Job


def summary_of(directory: Path) -> dict[str, Any]:
    """The summary of the run in `directory`; empty if it was killed before it had written one."""
    return read_summary(directory) if (directory / SUMMARY).exists() else {}


def find(config: RunConfig, directory: Path, device: torch.device, *, ended: bool) -> checkpoint.Found | None:
    """The checkpoint to go on from; None where the run was stopped before its first one.

    Args:
        ended: the run ended in order, and so has left one: its rows are not to be made again.
    Raises:
        CheckpointError: none of those there can be read, it is of another experiment, or a run that ended has
            none; says which.
    """
    found = checkpoint.load_latest(directory / CHECKPOINTS, device)
    if found is None and ended:
        raise CheckpointError(f"{directory} holds no checkpoint to go on from; start the run anew elsewhere")
    if found and not {"config", "step"} <= found.state.keys():
        raise CheckpointError(f"{found.path} is not the state of a run: it has no config, or no step")
    different = differences(config, dict(flat(found.state["config"]))) if found else []
    if found and different:
        told = "; ".join(f"{key} is {old} there and {new} here" for key, old, new in different[:5])
        more = f"; and {len(different) - 5} more" if len(different) > 5 else ""
        raise CheckpointError(f"{found.path} is not a checkpoint of the run in config.yaml: {told}{more}")
    return found


def restore(job: Job, found: checkpoint.Found | None, directory: Path) -> list[str]:
    """Put `job` where the checkpoint was, or leave it at its first step, and the directory with it.

    Returns a line on what was lost, where more was than since the newest checkpoint.
    """
    if found:
        try:
            job.load_state_dict(found.state)
        except (RuntimeError, KeyError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{found.path} does not fit the model in config.yaml: {reason}") from error
    lost = truncate(directory, job.step)
    checkpoint.drop_after(directory / CHECKPOINTS, job.step)
    rows = read_rows(directory)
    job.ring.fill(rows)
    job.seconds = rows[-1]["time/seconds"] if rows else 0.0
    again = f"{lost} step{'s' if lost != 1 else ''} trained again"
    if found and found.damaged:
        return [f"{'; '.join(found.damaged)}: going on from {found.path.name} at step {job.step}, {again}"]
    return [f"the run stopped before its first checkpoint: {again}"] if lost and not found else []

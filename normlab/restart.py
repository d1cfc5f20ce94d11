"""Where a run that stopped goes on: the same experiment, its last good checkpoint, the rows up to there."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from normlab.config import RunConfig
from normlab.errors import CheckpointError, ConfigError, RunDirectoryError, require
from normlab.naming import flat
from normlab.sinks.run_directory import CHECKPOINTS, CONFIG, SUMMARY, read_rows, read_summary, truncate
from normlab.tables.schedules import SCHEDULES
from normlab.training import checkpoint
from normlab.training.loop import Job

#: Settings that a resumed run may take anew. More steps stretch a schedule that ends with the last step, and
#: other threads can round differently; nothing else of them reaches a step.
MAY_CHANGE = ("train.steps", "train.checkpoint", "train.threads", "tracker")


def check_same(config: RunConfig, directory: Path) -> list[str]:
    """Refuse to go on with another experiment than the one in `directory`; returns what to warn of."""
    path = directory / CONFIG
    if not path.is_file():
        raise RunDirectoryError(f"{directory} is not a run directory: there is no {CONFIG}")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    before = dict(flat(content))
    for key, old, new in _differences(content, config):
        raise ConfigError(
            key,
            f"was {old} when the run was started and cannot become {new} in a resumed one; "
            f"what may change: {', '.join(MAY_CHANGE)}",
        )
    old, new = before.get("train.steps", config.train.steps), config.train.steps
    require(new >= old, "train.steps", f"can only be raised in a resumed run; it was {old}, not {new}")
    if new > old and SCHEDULES[config.schedule.name].by_steps:
        name = config.schedule.name
        return [f"the {name} schedule is laid out anew over {new} steps, so the learning rate jumps"]
    return []


def _differences(before: Mapping[str, Any], config: RunConfig) -> list[tuple[str, Any, Any]]:
    """Key, old and new value of the settings that make another experiment."""
    old = dict(flat(before))
    pairs = [(key, old.get(key, value), value) for key, value in flat(dataclasses.asdict(config))]
    return [pair for pair in pairs if pair[1] != pair[2] and not pair[0].startswith(MAY_CHANGE)]


def summary_of(directory: Path) -> dict[str, Any]:
    """The summary of the run in `directory`; empty if it was killed before it had written one."""
    return read_summary(directory) if (directory / SUMMARY).exists() else {}


def find(config: RunConfig, directory: Path, device: torch.device) -> checkpoint.Found | None:
    """The checkpoint to go on from; None where the run was stopped before its first one.

    Raises:
        CheckpointError: there are some and none can be read, or it is of another experiment; says which.
    """
    found = checkpoint.load_latest(directory / CHECKPOINTS, device)
    differences = _differences(found.state["config"], config) if found else []
    if found and differences:
        told = "; ".join(f"{key} is {old} there and {new} here" for key, old, new in differences[:5])
        more = f"; and {len(differences) - 5} more" if len(differences) > 5 else ""
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

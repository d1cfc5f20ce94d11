"""What Hydra calls for each job; a plain function, since launchers send it to other processes by its name."""

import logging
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from normlab.config import RunConfig
from normlab.errors import RunDirectoryError, UserError
from normlab.launch import child, messages, preflight, resolvers, standing
from normlab.launch.codes import OK
from normlab.launch.folders import remove_unstarted
from normlab.launch.schema import to_run_config
from normlab.launch.signals import Interrupted, import_run
from normlab.screen import mirrored
from normlab.sinks.run_directory import read_summary
from normlab.sweep import TO_TRAIN

log = logging.getLogger(__name__)
resolvers.register()  # a worker process imports this module first


@mirrored()
def train(config: DictConfig) -> float:
    """Train one job in the folder that Hydra made for it; returns its final loss, inf where there is none.

    A job of a sweep has a process of its own. One that fails or is lost is noted, not raised: the sweep
    goes on.

    Raises:
        Interrupted: a signal ended it.
    """
    hydra = HydraConfig.get()
    directory = Path(hydra.runtime.output_dir)
    in_turn = hydra.runtime.choices.get("hydra/launcher") == "basic"
    try:
        settings = to_run_config(config)
        if hydra.mode == RunMode.MULTIRUN:
            return _train_apart(settings, directory, plain=not in_turn)
        summary = import_run().run(settings, directory, sweep=settings.sweep.name)
    except Interrupted:
        if in_turn or hydra.mode != RunMode.MULTIRUN:
            raise
        return math.inf  # what started this process waits for the other jobs too
    except Exception as error:
        if preflight.session.raw:
            raise
        _note(error, directory)
        return math.inf
    if summary["status"] == "interrupted":
        raise Interrupted(summary["signal"])
    return _loss(summary)


def _train_apart(config: RunConfig, directory: Path, *, plain: bool) -> float:
    """A sweep's job, unless it was done before, is being done or is not to be."""
    found = standing.standing(config, directory)
    if found in TO_TRAIN and not standing.is_stopped(config, directory.parent):
        job = child.Task(
            config=config,
            directory=directory,
            sweep=config.sweep.name or directory.parent.name,
            plain=plain,
            environment={**os.environ, **preflight.session.environment},
        )
        child.settle(directory, child.apart(job))
    elif found == "running":
        child.settle(directory, OK)
    try:
        summary = read_summary(directory)
    except RunDirectoryError:
        return math.inf
    if (summary.get("wandb") or {}).get("unreachable"):
        preflight.session.environment["WANDB_MODE"] = "offline"  # the next jobs need not wait for it again
    return _loss(summary)


def _loss(summary: Mapping[str, Any]) -> float:
    loss = summary.get("loss/final")
    return loss if isinstance(loss, float) and math.isfinite(loss) else math.inf


def _note(error: Exception, directory: Path) -> None:
    """Say what went wrong, once; the trace goes to the job's log."""
    preflight.session.failures[directory] = error
    before = preflight.session.before.get(directory, frozenset())
    if isinstance(error, UserError):
        print(f"error: {error}", file=sys.stderr)
        remove_unstarted(directory, before)
        return
    if isinstance(error, OSError) and messages.is_full(error) and remove_unstarted(directory, before):
        print(f"error: {messages.of_disk(error, directory)}", file=sys.stderr)
        return
    log.error("the run failed", exc_info=error)
    where = f"\n  the trace is in {directory}/train.log"
    print(f"error: the run failed: {messages.describe(error)}{where}", file=sys.stderr)

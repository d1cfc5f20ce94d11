"""What Hydra calls for each job; a plain function, since launchers send it to other processes by its name."""

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from normlab.compose import resolvers
from normlab.compose.schema import to_run_config
from normlab.config import RunConfig
from normlab.disk.whole_files import is_full
from normlab.errors import HeldError, RunDirectoryError, UserError
from normlab.launch import child, preflight, standing
from normlab.launch.run_log import tell
from normlab.launch.signals import OK, Interrupted, import_run
from normlab.rundir.folders import remove_unstarted
from normlab.rundir.resuming import located
from normlab.rundir.writer import hold, read_summary, tidy
from normlab.sweep import TO_TRAIN
from normlab.terminal.screen import mirrored

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
    session = preflight.current()
    try:
        settings = session.checked.get(directory.absolute()) or to_run_config(config)
        # Paths as they were typed: with hydra.job.chdir=true this is the job's folder already.
        settings = located(settings, Path(hydra.runtime.cwd))
        if hydra.mode == RunMode.MULTIRUN:
            return _train_apart(settings, directory, session, plain=not in_turn)
        summary = import_run().run(settings, directory, sweep=settings.sweep.name, corpus=session.corpus)
    except Interrupted:
        if in_turn or hydra.mode != RunMode.MULTIRUN:
            raise
        return math.inf  # what started this process waits for the other jobs too
    except Exception as error:
        if session.raw:
            raise
        _note(error, directory, session)
        return math.inf
    if summary["status"] == "interrupted":
        raise Interrupted(summary["signal"])
    return _loss(summary)


def _train_apart(config: RunConfig, directory: Path, session: preflight.Session, *, plain: bool) -> float:
    """A sweep's job, unless it was done before, is being done or is not to be."""
    found = standing.standing(config, directory)
    if found in TO_TRAIN and not standing.is_stopped(config, directory.parent):
        job = child.Task(
            config=config,
            directory=directory,
            sweep=config.sweep.name or directory.parent.name,
            plain=plain,
            environment={**os.environ, **session.environment},
        )
        child.settle(directory, child.apart(job))
    elif found == "running":
        child.settle(directory, OK)
    elif found == "finished":
        with suppress(HeldError), hold(directory):
            tidy(directory)
    try:
        summary = read_summary(directory)
    except RunDirectoryError:
        return math.inf
    if (summary.get("wandb") or {}).get("unreachable"):
        session.environment["WANDB_MODE"] = "offline"  # the next jobs need not wait for it again
    return _loss(summary)


def _loss(summary: Mapping[str, Any]) -> float:
    loss = summary.get("loss/final")
    return loss if isinstance(loss, float) and math.isfinite(loss) else math.inf


def _note(error: Exception, directory: Path, session: preflight.Session) -> None:
    """Say what went wrong, once."""
    session.failures[directory] = error
    before = session.before.get(directory, frozenset())
    tell(error, directory)
    if isinstance(error, UserError) or is_full(error):
        remove_unstarted(directory, before)

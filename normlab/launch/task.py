"""What Hydra calls for each job; a plain function, since launchers send it to other processes by its name."""

import logging
import math
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from normlab.errors import UserError
from normlab.launch import messages, preflight, resolvers
from normlab.launch.schema import to_run_config
from normlab.launch.signals import Interrupted, import_run

log = logging.getLogger(__name__)
resolvers.register()  # a worker process imports this module first


def train(config: DictConfig) -> float:
    """Train one job in the folder that Hydra made for it; returns its final loss, inf where there is none.

    A job that fails is noted and logged, not raised: the other jobs of a sweep go on.

    Raises:
        Interrupted: a signal ended it.
    """
    run = import_run()
    hydra = HydraConfig.get()
    directory = Path(hydra.runtime.output_dir)
    in_turn = hydra.runtime.choices.get("hydra/launcher") == "basic"
    sweep = directory.parent.name if hydra.mode == RunMode.MULTIRUN else None
    try:
        settings = to_run_config(config)
        summary = run.run(settings, directory, sweep=settings.sweep.name or sweep, plain=not in_turn)
    except Exception as error:
        if preflight.session.raw:
            raise
        _note(error, directory)
        return math.inf
    # One that came after this run's last step still ends the sweep around it.
    if summary.get("signal") and (summary["status"] == "interrupted" or hydra.mode == RunMode.MULTIRUN):
        raise Interrupted(summary["signal"])
    loss = summary.get("loss/final")
    return loss if isinstance(loss, float) and math.isfinite(loss) else math.inf


def _note(error: Exception, directory: Path) -> None:
    """Say what went wrong, once; the trace goes to the job's log."""
    preflight.session.failures[directory] = error
    before = preflight.session.before.get(directory, frozenset())
    if isinstance(error, UserError):
        print(f"error: {error}", file=sys.stderr)
        preflight.remove_unstarted(directory, before)
        return
    if (
        isinstance(error, OSError)
        and messages.is_full(error)
        and preflight.remove_unstarted(directory, before)
    ):
        print(f"error: {messages.of_disk(error, directory)}", file=sys.stderr)
        return
    log.error("the run failed", exc_info=error)
    print(
        f"error: the run failed: {describe(error)}\n  the trace is in {directory}/train.log", file=sys.stderr
    )


def describe(error: BaseException) -> str:
    """An exception on one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")

"""What runs the jobs of a sweep, and how many of them share this machine."""

import os
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, open_dict, read_write

from normlab import threads


def share_cores(config: DictConfig, jobs: int) -> None:
    """Tell the jobs of a sweep, in place, how many threads each has, where several run here at once.

    Args:
        config: Hydra's config of the sweep.
        jobs: how many there are to train; 0 where that is not known.
    """
    there, hydra = threads.cores(), config.hydra
    together = at_once(hydra.launcher, hydra.sweeper, jobs, there)
    if together > 1 and threads.WISH not in hydra.job.env_set:
        each = threads.share(there, os.environ, together)
        with read_write(hydra), open_dict(hydra):
            words = [*hydra.overrides.hydra, f"+hydra.job.env_set.{threads.WISH}='{each}'"]
            hydra.overrides.hydra = words


def at_once(launcher: Mapping[str, Any], sweeper: Mapping[str, Any], jobs: int, cores: int) -> int:
    """How many of `jobs` run on this machine at once: as many as launcher and sweeper start together.

    To a job of SLURM or Ray it is as if it were alone: what it was given, it finds in its process.
    """
    kind = str(launcher.get("_target_", "")).rpartition(".")[2]
    batch = sweeper.get("max_batch_size") or sweeper.get("n_jobs") or jobs or cores  # n_jobs is Optuna's
    together = {"JoblibLauncher": _joblib(launcher.get("n_jobs"), cores), "LocalLauncher": batch}.get(kind, 1)
    return min(together, batch, jobs or batch)


def _joblib(jobs: int | None, cores: int) -> int:
    """joblib's `n_jobs`: -1 is all cores, -2 all but one."""
    jobs = 1 if jobs is None else jobs
    return max(1, cores + 1 + jobs if jobs < 0 else jobs)

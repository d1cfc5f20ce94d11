"""What runs the jobs of a sweep, and how many of them share this machine."""

import os
import shutil
import signal
import socket
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from normlab.compose import messages, plugins
from normlab.errors import UserError
from normlab.launch.signals import Interrupted
from normlab.machine import threads

# Our files of launchers have the names of the packages' own schemas, so that these check what is typed.
warnings.filterwarnings(
    "ignore", r"\s*'hydra/\S+' is validated against ConfigStore schema with the same name"
)

#: What `pip install 'normlab[...]'` calls the packages that launchers and sweepers come in.
_EXTRAS = {
    "hydra_joblib_launcher": "joblib",
    "hydra_submitit_launcher": "slurm",
    "hydra_ray_launcher": "ray",
    "hydra_optuna_sweeper": "optuna",
}
#: Seconds that a Ray somewhere else has to answer.
_PATIENCE = 10


def check(config: DictConfig) -> None:
    """Raise a UserError where the launcher or the sweeper lacks something it needs, or cannot work."""
    for kind in plugins.KINDS:
        package, *rest = str(config.hydra[kind].get("_target_", "")).split(".")
        extra = _EXTRAS.get(rest[0]) if package == "hydra_plugins" and rest else None
        if extra and not (find_spec(package) and find_spec(f"{package}.{rest[0]}")):
            chosen = f"hydra/{kind}={config.hydra.runtime.choices[f'hydra/{kind}']}"
            raise UserError(f"{chosen}: its package is not installed; pip install 'normlab[{extra}]'")
    if plugins.kind(config.hydra.launcher) == "SlurmLauncher" and not shutil.which("srun"):
        raise UserError("there is no SLURM here (no srun); hydra/launcher=submitit_local does without")
    plugins.check_values(config)


def start(config: DictConfig) -> None:
    """Start Ray, or join one that runs, where that is the launcher: it would take SIGTERM from the command.

    Raises:
        UserError: there is none to join, it does not start, or has less than each job asks for.
    """
    if plugins.kind(config.hydra.launcher) != "RayLauncher":
        return
    import ray

    settings: Any = OmegaConf.to_container(config.hydra.launcher.ray.init, resolve=True)
    address, ours = settings.get("address"), signal.getsignal(signal.SIGTERM)
    try:
        _knock(address or os.environ.get("RAY_ADDRESS", ""))
        ray.init(**settings)
    except SystemExit as end:  # what Ray makes of a SIGTERM while it starts
        raise Interrupted(signal.SIGTERM) from end
    except Exception as error:
        given = f"hydra.launcher.ray.init.address={address}"
        raise UserError(f"{given}: Ray cannot be reached or started: {messages.describe(error)}") from error
    finally:
        signal.signal(signal.SIGTERM, ours)
    if not (address or os.environ.get("RAY_ADDRESS")):  # a cluster may grow
        there = ray.cluster_resources()
        plugins.check_share(config.hydra.launcher, {name: there.get(name, 0) for name in ("CPU", "GPU")})


def _knock(address: str) -> None:
    """Raise an OSError where nothing answers at HOST:PORT or ray://HOST:PORT: Ray would try for minutes."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()


def share_cores(config: DictConfig, jobs: int, processes: int) -> None:
    """See to it, in place, that the jobs of a sweep do not ask for more cores than there are.

    Jobs of which several run here at once are told their threads. submitit starts all that it is given; here
    it is given as many as there are cores.

    Args:
        config: Hydra's config of the sweep.
        jobs: how many there are to train; 0 where that is not known.
        processes: how many train each job together.
    """
    there, hydra = threads.cores(), config.hydra
    with read_write(hydra), open_dict(hydra):
        if plugins.kind(hydra.launcher) == "LocalLauncher" and "n_jobs" not in hydra.sweeper:
            hydra.sweeper.max_batch_size = hydra.sweeper.get("max_batch_size") or max(1, there // processes)
        together = at_once(hydra.launcher, hydra.sweeper, jobs, there)
        if together > 1 and threads.WISH not in hydra.job.env_set:
            each = threads.share(there, os.environ, together * processes)
            words = [*hydra.overrides.hydra, f"+hydra.job.env_set.{threads.WISH}='{each}'"]
            hydra.overrides.hydra = words


def at_once(launcher: Mapping[str, Any], sweeper: Mapping[str, Any], jobs: int, cores: int) -> int:
    """How many of `jobs` run on this machine at once: as many as launcher and sweeper start together.

    To a job of SLURM or Ray it is as if it were alone: what it was given, it finds in its process.
    """
    batch = sweeper.get("max_batch_size") or sweeper.get("n_jobs") or jobs or cores  # n_jobs is Optuna's
    every = {"JoblibLauncher": _joblib(launcher.get("n_jobs"), cores), "LocalLauncher": batch}
    return min(every.get(plugins.kind(launcher), 1), batch, jobs or batch)


def _joblib(jobs: int | None, cores: int) -> int:
    """joblib's `n_jobs`: -1 is all cores, -2 all but one."""
    jobs = 1 if jobs is None else jobs
    return max(1, cores + 1 + jobs if jobs < 0 else jobs)

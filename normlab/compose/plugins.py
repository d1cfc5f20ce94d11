"""The settings of launchers and sweepers: which one has what, and values with which none can work."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from normlab.catalogue import groups
from normlab.errors import ConfigError, require, require_one_of

KINDS = ("launcher", "sweeper")
_SUBMITIT = {
    "timeout_min": 1,
    "cpus_per_task": 1,
    "gpus_per_node": 0,
    "tasks_per_node": 1,
    "nodes": 1,
    "mem_gb": 1,
}
#: The least of each number, by the class that takes it: below it nothing is started, or nothing ends.
_LEAST: dict[str, dict[str, int]] = {
    "JoblibLauncher": {"batch_size": 1, "pre_dispatch": 1},
    "LocalLauncher": _SUBMITIT,
    "SlurmLauncher": {
        **_SUBMITIT,
        "array_parallelism": 1,
        "max_num_timeout": 0,
        "signal_delay_s": 0,
        "gpus_per_task": 0,
        "cpus_per_gpu": 1,
    },
    "RayLauncher": {
        "ray.init.num_cpus": 1,
        "ray.init.num_gpus": 0,
        "ray.remote.num_cpus": 0,
        "ray.remote.num_gpus": 0,
        "ray.remote.max_retries": -1,
    },
    "BasicSweeper": {"max_batch_size": 1},
    "OptunaSweeper": {"n_trials": 1, "n_jobs": 1, "max_failure_rate": 0},
}


def kind(settings: Mapping[str, Any]) -> str:
    """`JoblibLauncher`, say, whatever package it is in."""
    return str(settings.get("_target_", "")).rpartition(".")[2]


def check_values(config: DictConfig) -> None:
    """Raise a ConfigError where a number of the launcher or the sweeper is one with which it cannot work."""
    for name in KINDS:
        settings = config.hydra[name]
        for key, least in _LEAST.get(kind(settings), {}).items():
            value = _number(OmegaConf.select(settings, key))
            if value is not None and not value >= least:
                raise ConfigError(f"hydra.{name}.{key}", f"must be {least} or more, got {value:g}")
    launcher, sweeper = config.hydra.launcher, config.hydra.sweeper
    none = kind(launcher) == "JoblibLauncher" and launcher.get("n_jobs") == 0
    require(
        not none, "hydra.launcher.n_jobs", "must be 1 or more, or -1 for as many as there are cores, got 0"
    )
    if kind(sweeper) == "OptunaSweeper":
        most = f"must be 1 or less, got {sweeper.max_failure_rate:g}"
        require(sweeper.max_failure_rate <= 1, "hydra.sweeper.max_failure_rate", most)
        if isinstance(sweeper.direction, str):
            require_one_of(sweeper.direction, ("minimize", "maximize"), "hydra.sweeper.direction")
    if kind(launcher) == "RayLauncher":
        given = launcher.ray.init
        check_share(launcher, {"CPU": given.get("num_cpus"), "GPU": given.get("num_gpus")})


def check_share(launcher: DictConfig, there: Mapping[str, float | None]) -> None:
    """Raise a ConfigError where a job asks a Ray of ours for more than `there` is: it would wait for ever."""
    for what, most in there.items():
        key = f"ray.remote.num_{what.lower()}s"
        asked = OmegaConf.select(launcher, key)
        if asked is not None and most is not None and asked > most:
            problem = f"a job asks for {asked:g}, and Ray has {most:g} here"
            raise ConfigError(f"hydra.launcher.{key}", f"{problem} (hydra.launcher.ray.init)")


def _number(value: Any) -> float | None:
    """A number, also where the setting is text; None for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def unknown(error: OmegaConfBaseException, key: str, overrides: Sequence[str]) -> ConfigError:
    """The error for a setting of Hydra's own, `hydra.launcher.NAME` say, that is not there."""
    _, name, *rest = key.split(".")
    having = [option for option, keys in _settings(name) if ".".join(rest) in keys] if rest else []
    chosen = [word.partition("=")[2] for word in overrides if word.startswith(f"hydra/{name}=")] or ["basic"]
    if having and chosen[-1] not in having:
        has = " or ".join(f"hydra/{name}={option}" for option in having)
        return ConfigError(key, f"the {chosen[-1]} {name} has no such setting; {has} has")
    above, _, leaf = key.rpartition(".")
    siblings = [f"{above}.{each}" for each in error.parent_node or () if each != "_target_"]
    every = [f"hydra.{name}.{each}" for _, keys in _settings(name) for each in keys]
    every = every if chosen[-1] == "basic" else []
    near = groups.nearest_leaf(leaf, siblings) or groups.nearest_leaf(leaf, every)
    return ConfigError(key, f"there is no such setting.{near}")


def _settings(name: str) -> Iterator[tuple[str, list[str]]]:
    """What each of our files of launchers, or of sweepers, sets."""
    for option, path in groups.files(f"hydra/{name}").items() if name in KINDS else ():
        yield option, list(_leaves(yaml.safe_load(path.read_text(encoding="utf-8"))))


def _leaves(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        yield f"{prefix}{key}"

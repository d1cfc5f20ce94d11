"""What `conf/config.yaml` says of names: `${normlab.time:}`, `${normlab.slug:}` and so on."""

from datetime import datetime
from typing import Any

from omegaconf import DictConfig, OmegaConf

from normlab.catalogue import naming
from normlab.compose import job_names
from normlab.machine import threads

_started = datetime.now()


def restart_clock() -> None:
    """A new command begins: `normlab.time` is its time from now on."""
    global _started
    _started = datetime.now()


def register() -> None:
    """Make the resolvers known; the cached ones travel with the config to wherever a job runs."""
    new = OmegaConf.register_new_resolver
    new("normlab.time", _time, replace=True, use_cache=True)
    new("normlab.sweep", lambda name: name or _time(), replace=True, use_cache=True)
    new("normlab.slug", lambda _root_: naming.slug(plain(_root_)), replace=True)
    new("normlab.cores", threads.cores, replace=True, use_cache=True)
    new("normlab.power", lambda base, exponent: float(base) ** float(exponent), replace=True)
    new("normlab.job", lambda sweep, _root_: job_names.name_of(sweep, plain(_root_)), replace=True)


def _time() -> str:
    return naming.timestamp(_started)


def plain(config: DictConfig) -> dict[str, Any]:
    """The run's part of a composed config as plain values."""
    part = {str(key): config._get_node(key) for key in config if key != "hydra"}
    return {
        key: OmegaConf.to_container(config[key], resolve=True) if OmegaConf.is_config(node) else config[key]
        for key, node in part.items()
    }

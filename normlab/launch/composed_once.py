"""Compose each job of a sweep once: Hydra does so three times, a tenth of a second each."""

import pickle
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

#: Configs that are kept, of about 30 kB each; later jobs are composed whenever one asks.
_KEPT = 2000


class ComposedOnce:
    """Hydra's config loader, whose `load_sweep_config` remembers what it composed.

    Our check of the jobs, the sweeper's and the launcher each ask for the config of a job. What one of them
    sets in its config, the others do not see.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader = loader
        self._composed: dict[tuple[str, ...], bytes] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __reduce__(self) -> tuple[Any, ...]:
        """In a process that a launcher makes there is nothing to remember."""
        return _same, (self._loader,)

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The config of a job, as Hydra's loader composes it."""
        key = (*master_config.hydra.overrides.hydra, "", *sweep_overrides)
        if key not in self._composed:
            composed = self._loader.load_sweep_config(master_config, sweep_overrides)
            if len(self._composed) == _KEPT:
                return composed
            self._composed[key] = pickle.dumps(composed)
        job: DictConfig = pickle.loads(self._composed[key])
        # Such as the time of a `${now:}`, which is one for all jobs.
        OmegaConf.copy_cache(from_config=master_config, to_config=job)
        return job


def compose_jobs_once() -> None:
    """From now on, for the sweep that Hydra has begun."""
    hydra: Any = GlobalHydra.instance().hydra
    hydra.config_loader = ComposedOnce(hydra.config_loader)


def _same(loader: ConfigLoader) -> ConfigLoader:
    return loader

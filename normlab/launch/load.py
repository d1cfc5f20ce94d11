"""A run's config from its `config.yaml`, without Hydra's groups: for resuming and for child processes."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from normlab import groups
from normlab.config import RunConfig
from normlab.errors import ConfigError, RunDirectoryError, quoted
from normlab.launch import messages
from normlab.launch.schema import open_node, open_run, to_run_config
from normlab.launch.typed import check_words


def as_plain(config: RunConfig) -> dict[str, Any]:
    """The config as nested plain values, as `config.yaml` and wandb hold it."""
    return dataclasses.asdict(config)


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The config in a `config.yaml`, with `overrides` such as `train.steps=600` laid over it.

    Raises:
        RunDirectoryError: the file is not there or is not the config of a run.
        ConfigError: an override, or a value in the file, that cannot be used.
    """
    config = _typed(path, _read(path))
    check_words(overrides)
    for word in overrides:
        _apply(config, word)
    return to_run_config(config)


def from_plain(content: dict[str, Any]) -> RunConfig:
    """The config that `as_plain` gave, of a process that has checked it."""
    return to_run_config(_typed(Path("config"), content))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except FileNotFoundError:
        raise RunDirectoryError(f"{path} is not there") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise RunDirectoryError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    lacking = [name for name in groups.GROUPS if not isinstance(_get(content, name), Mapping)]
    if lacking:
        raise RunDirectoryError(f"{path} is not the config of a run: it has no {', '.join(lacking)}")
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _get(content: Any, name: str) -> Any:
    return content.get(name) if isinstance(content, Mapping) else None


def _typed(path: Path, content: dict[str, Any]) -> DictConfig:
    config = open_run()
    try:
        for name in groups.GROUPS:
            config[name] = open_node(groups.config_class(name, content[name]))
        config.merge_with(content)
    except OmegaConfBaseException as error:
        raise RunDirectoryError(f"{path}: {messages.explain(error)}") from None
    OmegaConf.set_struct(config, True)
    return config


def _apply(config: DictConfig, word: str) -> None:
    key, equals, _ = word.partition("=")
    if not equals or not re.fullmatch(r"\w+(\.\w+)*", key):
        raise ConfigError(quoted(word), "is not KEY=VALUE")
    if key in groups.GROUPS:
        raise ConfigError(key, "another option cannot be chosen for a run that exists")
    try:
        OmegaConf.update(config, key, OmegaConf.select(OmegaConf.from_dotlist([word]), key), merge=True)
    except OmegaConfBaseException as error:
        raise ConfigError(key, messages.problem(error, word)) from None
    except yaml.YAMLError:
        raise ConfigError(key, f"'{quoted(word)}' cannot be read") from None

"""A run's config from its `config.yaml`, without Hydra's groups: for resuming and for child processes."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from normlab.catalogue import groups
from normlab.catalogue.groups import check_names
from normlab.compose import messages
from normlab.compose.schema import open_node, open_run, to_run_config
from normlab.compose.typed import check_words
from normlab.config import RunConfig
from normlab.disk.untrusted import read_config
from normlab.errors import ConfigError, RunDirectoryError, quoted
from normlab.rundir.settings import check_size


def as_plain(config: RunConfig) -> dict[str, Any]:
    """The config as nested plain values, as `config.yaml` and wandb hold it."""
    return dataclasses.asdict(config)


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The config in a `config.yaml`, with `overrides` such as `train.steps=600` laid over it.

    The file is plain data: a `${...}` in it is refused, never resolved, since it could read what the file's
    author may not know, such as the environment.

    Raises:
        RunDirectoryError: the file is not there or is not the config of a run.
        ConfigError: an override, or a value in the file, that cannot be used.
    """
    return config_in(path, read_config(path), overrides)


def config_in(path: Path, content: Mapping[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """As `load_config`, of a file at `path` that has been read."""
    config = _typed(path, _checked(path, content))
    check_words(overrides)
    for word in overrides:
        _apply(config, word)
    try:
        found = to_run_config(config)
        check_names(found)
    except ConfigError as error:
        if overrides:  # it is the file's where it has none of them either
            config_in(path, content)
        else:
            error.args = (f"{path}: {error}",)
        raise
    return found


def from_plain(content: dict[str, Any]) -> RunConfig:
    """The config that `as_plain` gave, of a process that has checked it."""
    return to_run_config(_typed(Path("config"), _literal(content)))


def _checked(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    lacking = [name for name in groups.GROUPS if not isinstance(content.get(name), Mapping)]
    if lacking:
        raise RunDirectoryError(f"{path} is not the config of a run: it has no {', '.join(lacking)}")
    check_size(path, content)
    for key, text in _texts(content):
        if "${" in text:
            raise RunDirectoryError(
                f"{path}: {key}: refers to a value by ${{...}}, which is not resolved in the file of a run; "
                "put the value itself there"
            )
    return dict(content)


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in nested values, with where it is."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{key}[{index}]")


def _literal(value: Any) -> Any:
    """`value` as OmegaConf takes it for what it is: a text with `${` would be a reference."""
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", value)
    if isinstance(value, Mapping):
        return {key: _literal(item) for key, item in value.items()}
    return [_literal(item) for item in value] if isinstance(value, list | tuple) else value


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

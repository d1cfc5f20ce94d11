"""Every table row as a Hydra option, and what Hydra composed as a frozen RunConfig."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from normlab.catalogue import groups
from normlab.config import RunConfig
from normlab.errors import ConfigError


def register() -> None:
    """Put the schema and every row of every table into Hydra's ConfigStore; twice is as good as once."""
    # Hydra copies all of it for every config that it composes, and each node once more when it is read:
    # half of the time that a job of a sweep takes to compose.
    ConfigStore.__deepcopy__ = lambda store, memo: store  # type: ignore[attr-defined]
    store = ConfigStore.instance()
    store.store(name="schema", node=open_run())
    for name, group in groups.GROUPS.items():
        for option, row in group.rows.items():
            store.store(group=name, name=option, node=open_node(row.config))


def open_run() -> DictConfig:
    """The schema of a run: every group's fields, values still missing where only a row has them."""
    schema = open_node(RunConfig)
    for name, group in groups.GROUPS.items():
        # Left missing, Hydra would expand it from its type, and read-only at that.
        schema[name] = open_node(group.base)
    return schema


def open_node(config: Any) -> DictConfig:
    """A dataclass as a node that can be merged into, though the dataclass is frozen."""
    node: DictConfig = OmegaConf.structured(config)
    for nested in _containers(node):
        OmegaConf.set_readonly(nested, None)
    return node


def _containers(node: DictConfig | ListConfig) -> Iterator[DictConfig | ListConfig]:
    yield node
    keys: Any = list(node) if isinstance(node, DictConfig) else range(len(node))
    for key in keys:
        child = node._get_node(key)
        if isinstance(child, DictConfig | ListConfig):
            if child._is_missing() or child._is_none():
                OmegaConf.set_readonly(child, None)
            else:
                yield from _containers(child)


def without_hydra(config: DictConfig) -> DictConfig:
    """A copy without Hydra's own node: the run's part."""
    if "hydra" not in config:
        return config
    own = config.copy()
    with read_write(own), open_dict(own):
        del own["hydra"]
    return own


def to_run_config(config: DictConfig) -> RunConfig:
    """The frozen config of a run, every range checked.

    Raises:
        ConfigError: a key that is unknown or without a value, a wrong type, a value out of range.
    """
    own = without_hydra(config)
    for key in _strangers(own):
        raise groups.unknown_key(key, _option_of(own, key))
    for key in _removed(own):
        raise ConfigError(key, "cannot be removed")
    for key in sorted(OmegaConf.missing_keys(own)):
        raise _missing(key)
    try:
        built = OmegaConf.to_object(own)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error.full_key or "config"), str(error).splitlines()[0]) from None
    assert isinstance(built, RunConfig)
    return built


def _strangers(node: DictConfig, prefix: str = "") -> Iterator[str]:
    """Keys that the schema does not have: `+key=value` lets them in."""
    kind = OmegaConf.get_type(node)
    known = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else None
    for key in map(str, node):
        child = node._get_node(key)
        if known is not None and key not in known:
            yield f"{prefix}{key}"
        elif isinstance(child, DictConfig) and not (child._is_missing() or child._is_none()):
            yield from _strangers(child, f"{prefix}{key}.")


def _removed(node: DictConfig) -> list[str]:
    """Settings at the top that `~key` took away; in groups OmegaConf does not let it."""
    return [field.name for field in dataclasses.fields(RunConfig) if field.name not in node]


def _option_of(config: DictConfig, key: str) -> str | None:
    group = key.partition(".")[0]
    if group not in groups.GROUPS:
        return None
    label = "source" if group == "data" else "name"
    return str(OmegaConf.select(config, f"{group}.{label}", throw_on_missing=False))


def _missing(key: str) -> ConfigError:
    group, _, rest = key.partition(".")
    if group in groups.GROUPS and rest in ("", "name") and key != "data.name":
        known = ", ".join(groups.options(group))
        return ConfigError(
            group, f"has no name; choose one of {known}, or give {group}.name in your own file"
        )
    example = "OWNER/NAME" if key == "data.name" else "VALUE"
    return ConfigError(key, f"has no value; give it with {key}={example}")

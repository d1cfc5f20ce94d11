"""What a user has written, in their own files or as lists on the command line, against the fields it is for.

Hydra finds the same faults later, but cannot say where inside a list they are, or in which file.
"""

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from normlab.catalogue import groups
from normlab.compose import messages
from normlab.config import RunConfig
from normlab.errors import ConfigError, nearest, quoted


def check(overrides: Sequence[str], folder: Path | None) -> None:
    """Refuse fields that are not there and values of another shape.

    Args:
        folder: the user's own options, GROUP/OPTION.yaml.
    Raises:
        ConfigError: with the full path of the field, and the file that it is in.
    """
    _check_recipes(overrides)
    parser = OverridesParser.create()
    for word in overrides:
        try:
            parsed = parser.parse_override(word)
        except HydraException:
            continue  # which Hydra will say
        for value in _values(parsed):
            if parsed.key_or_group in (*groups.GROUPS, *groups.RECIPES) and isinstance(value, list | dict):
                key = parsed.key_or_group
                raise ConfigError(
                    key, f"an option is a name, not {quoted(str(value))}; a setting of it is {key}.NAME"
                )
            if parsed.key_or_group in groups.GROUPS and folder is not None:
                _check_file(parsed.key_or_group, folder / parsed.key_or_group / f"{value}.yaml")
            elif (hint := _hint(parsed.key_or_group)) is not None and _is_shape(value, hint):
                _check(value, hint, parsed.key_or_group)


def _is_shape(value: Any, hint: Any) -> bool:
    """Whether its shape says more than Hydra will: Hydra takes any number for true."""
    return isinstance(value, list | dict) or (hint is bool and isinstance(value, int | float))


def _check_recipes(overrides: Sequence[str]) -> None:
    """Two of them would not be laid over each other: Hydra takes the last."""
    for recipe in groups.RECIPES:
        given = [word.partition("=")[2] for word in overrides if word.startswith(f"{recipe}=")]
        if len(given) > 1:
            raise ConfigError(
                recipe,
                f"{' and '.join(given)} are both given, and a run takes one; "
                f"-m {recipe}={','.join(given)} makes a sweep of them",
            )


def _values(override: Override) -> Iterator[Any]:
    """What an override gives its key, each in turn where it is a sweep over some."""
    if override.type == OverrideType.DEL:
        return
    if override.is_sweep_override():
        if override.is_choice_sweep() and override.value_type != ValueType.GLOB_CHOICE_SWEEP:
            yield from override.sweep_string_iterator()
        return
    yield override.value()


def _hint(key: str) -> Any:
    """The type of what `key` leads to; None where there is no such setting."""
    name, *rest = key.split(".")
    hint = _group_fields(name) if name in groups.GROUPS else typing.get_type_hints(RunConfig).get(name)
    for part in rest:
        known = hint if isinstance(hint, dict) else _fields(hint)
        hint = known.get(part)
    return hint


def _group_fields(group: str) -> dict[str, Any]:
    """The fields of any option of a group, with their types."""
    kinds = [type(row.config) for row in groups.GROUPS[group].rows.values()]
    return {name: hint for kind in kinds for name, hint in typing.get_type_hints(kind).items()}


def _fields(hint: Any) -> dict[str, Any]:
    return typing.get_type_hints(hint) if dataclasses.is_dataclass(hint) else {}


def _check_file(group: str, path: Path) -> None:
    try:
        text = path.read_text(encoding="utf-8")
        content = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException):
        return  # which Hydra will say
    if not isinstance(content, Mapping) or "@package" in text:
        return
    own = {name: value for name, value in content.items() if name != "defaults"}
    try:
        _check_mapping(own, _group_fields(group), group)
    except ConfigError as error:
        raise ConfigError(f"in {group}/{path.stem}.yaml", str(error)) from None


def _check(value: Any, hint: Any, key: str) -> None:
    """Raise a ConfigError unless `value` has the shape of a `hint`; single words and numbers are Hydra's."""
    if isinstance(value, str) and ("${" in value or value == "???"):
        return
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        kinds = [part for part in parts if part is not type(None)]
        if value is not None and len(kinds) == 1:
            _check(value, kinds[0], key)
    elif dataclasses.is_dataclass(hint):
        _need(isinstance(value, Mapping), key, f"a mapping of some of {', '.join(_fields(hint))}", value)
        _check_mapping(value, _fields(hint), key)
    elif origin is list:
        _need(isinstance(value, list), key, "a list: [..., ...], or a line with a dash for each entry", value)
        for index, each in enumerate(value):
            _check(each, parts[0], f"{key}[{index}]")
    elif origin is dict:
        _need(isinstance(value, Mapping), key, "a mapping, name: value", value)
    else:
        fits = not isinstance(value, list | dict) and (hint is not bool or not isinstance(value, int | float))
        _need(fits or isinstance(value, bool), key, messages.expected(hint, ()), value)


def _check_mapping(content: Mapping[Any, Any], known: Mapping[str, Any], key: str) -> None:
    for name, value in content.items():
        if name not in known and "[" not in key:
            raise groups.unknown_key(f"{key}.{name}")
        if name not in known:
            raise ConfigError(f"{key}.{name}", f"there is no such setting.{nearest(str(name), known)}")
        _check(value, known[name], f"{key}.{name}")


def _need(ok: bool, key: str, what: str, value: Any) -> None:
    if not ok:
        raise ConfigError(key, f"must be {what}, got {quoted(str(value))}")

"""Read the settings of a run from its `config.yaml` as plain values, whatever version wrote it."""

import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from normlab.catalogue import groups
from normlab.disk.untrusted import read_config
from normlab.errors import RunDirectoryError, quoted
from normlab.terminal.wording import listed

#: Values in a part of a config, such as `placement`, and in `sweep` with the rows of all its jobs. OmegaConf
#: takes a millisecond for some, and each may be a column of a table.
_MOST, _MOST_OF_A_SWEEP = 5_000, 20_000


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a run's `config.yaml` as plain values of the right shapes, whatever version wrote it.

    Unlike `load_config` it checks no range, and takes settings that are not known here.

    Raises:
        RunDirectoryError: it cannot be read, or is not the config of a run.
    """
    content = read_config(path)
    check_size(path, content)
    if broken := _misfits(content):
        raise RunDirectoryError(f"{path} is not the config of a run: {listed(broken, 3)}")
    return content


def check_size(path: Path, content: Mapping[str, Any]) -> None:
    """Raise a RunDirectoryError where a part of a config has more values than any run's."""
    for key, part in content.items():
        most = _MOST if key != "sweep" else _MOST_OF_A_SWEEP
        if _count(part) > most:
            raise RunDirectoryError(f"{path}: {quoted(key)} has more than {most:,} values, which no run has")


def _count(value: Any) -> int:
    """How many values are in `value`, itself included."""
    below: Any = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return 1 + sum(map(_count, below))


def _misfits(config: Mapping[str, Any]) -> list[str]:
    """Groups without a name, else the settings whose values are of another shape; a file of another version
    may have more settings, or fewer."""
    parts = {key: config[key] for key in groups.GROUPS if key in config}
    nameless = [
        key
        for key, part in parts.items()
        if not isinstance(part, dict) or not isinstance(part.get("name"), str)
    ]
    known = {} if nameless else groups.known_keys()
    return nameless + [key for key, known_as in known.items() if not _fits(_at(config, key), known_as.type)]


def _at(config: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key; None where there is none."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value has the shape of a setting's type: a number, a word, a list or a mapping."""
    if value is None:
        return True
    kinds = hint.__args__ if isinstance(hint, types.UnionType) else (hint,)
    shapes = {typing.get_origin(kind) or kind for kind in kinds}
    if isinstance(value, list | dict):
        return type(value) in shapes
    return str in shapes or (not isinstance(value, str) and bool(shapes & {bool, int, float}))

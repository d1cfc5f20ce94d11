"""Zipped and listed sweeps: settings that go together, as rows that are not crossed with one another.

`sweep.zip` pairs the lists of some keys, `sweep.rows` lists rows. Each row becomes an option of a Hydra group
`row`, and the sweep one over row=r0,r1,...: so Hydra's own sweeper crosses the rows with the other lists,
groups can be in them as well as values, and every launcher gets plain overrides.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from normlab.catalogue import groups
from normlab.errors import ConfigError

GROUP = "row"

#: A row, as words: depth=8 optimizer.lr=1e-3.
Words = list[str]


def lay_out(config: DictConfig) -> list[Words]:
    """Make a multirun of `sweep.zip` or `sweep.rows` one over `row`, in place; returns the rows.

    Raises:
        ConfigError: both are given, a key of the zip has no list, the lists differ in length; a row has a key
            that is not there, or one that is set or swept beside the rows too.
    """
    keys, listed = list(config.sweep.zip), OmegaConf.to_container(config.sweep.rows, resolve=True)
    typed = [word for word in config.hydra.overrides.task if _key(word) in ("sweep.zip", "sweep.rows")]
    if not keys and not listed:
        for word in typed:
            raise ConfigError(_key(word), f"there is no job to run: the list is empty; leave {word} out")
        return []
    if keys and listed:
        raise ConfigError("sweep.zip", "goes without sweep.rows; put the values into the rows")
    assert isinstance(listed, list)
    rows = _zipped(config, keys) if keys else [_row(number, row) for number, row in enumerate(listed, 1)]
    if listed:
        _check_apart(config, rows)
    params = config.hydra.sweeper.get("params") or {}
    task = [word for word in config.hydra.overrides.task if _key(word) not in keys]
    _sweep_over(config, rows, task, {key: value for key, value in params.items() if key not in keys})
    return rows


def replace(config: DictConfig, jobs: Sequence[Words]) -> list[Words]:
    """Make a multirun, in place, one of these jobs, given by all their words; returns the rows."""
    common = [word for word in jobs[0] if all(word in job for job in jobs)]
    rows = [[word for word in job if word not in common] for job in jobs]
    _sweep_over(config, rows, common, {})
    return rows


def _sweep_over(
    config: DictConfig, rows: Sequence[Words], task: Sequence[str], params: dict[str, Any]
) -> None:
    names = [f"r{number}" for number in range(len(rows))]  # Hydra takes no number for a name
    for name, words in zip(names, rows, strict=True):
        ConfigStore.instance().store(group=GROUP, name=name, package="_global_", node=_option(words))
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.overrides.task = [f"{GROUP}={','.join(names)}", *task]
        config.hydra.sweeper.params = params


def spelt(overrides: Sequence[str], rows: Sequence[Words]) -> list[str]:
    """A job's overrides with its row's words for `row=rN` and for what made it."""
    every = []
    for word in overrides if rows else []:
        key, _, name = word.partition("=")
        if key not in ("sweep.zip", "sweep.rows"):
            every += rows[int(name.removeprefix("r"))] if key == GROUP else [word]
    return every if rows else list(overrides)


def _zipped(config: DictConfig, keys: Sequence[str]) -> list[Words]:
    if len(set(keys)) < len(keys):
        raise ConfigError("sweep.zip", f"names a key twice: {', '.join(keys)}")
    columns = {key: _column(config, key) for key in keys}
    lengths = {len(values) for values in columns.values()}
    if lengths == {0}:
        raise ConfigError("sweep.zip", f"there is no job to run: there are no values of {' and '.join(keys)}")
    if len(lengths) > 1:
        counts = ", ".join(f"{key} has {len(values)}" for key, values in columns.items())
        raise ConfigError("sweep.zip", f"needs lists of equal length, but {counts} values")
    return [list(words) for words in zip(*columns.values(), strict=True)]


def _column(config: DictConfig, key: str) -> Words:
    """Each of the values that a key has in the sweep, as a word; what was typed wins over a file."""
    params = config.hydra.sweeper.get("params") or {}
    words = [f"{name}={value}" for name, value in params.items()] + list(config.hydra.overrides.task)
    given = [word for word in words if _key(word) == key]
    if given:
        loader = GlobalHydra.instance().config_loader()
        override = OverridesParser.create(config_loader=loader).parse_override(given[-1])
        if override.is_discrete_sweep():
            return [f"{key}={value}" for value in override.sweep_string_iterator()]
    what = f"has one value, {given[-1]}" if given else "has no values"
    raise ConfigError("sweep.zip", f"{key} {what}; give it a list, {key}=A,B, or leave it out of the zip")


def _row(number: int, row: Any) -> Words:
    if not isinstance(row, dict) or not row:
        raise ConfigError("sweep.rows", f"row {number}: must be a mapping, {{KEY: VALUE, ...}}, got {row}")
    for key, value in row.items():
        if problem := _problem(str(key), value):
            raise ConfigError("sweep.rows", f"row {number}: {problem}")
    return [f"{key}={_text(value)}" for key, value in row.items()]


def _problem(key: str, value: Any) -> str:
    """Why no row can have this key; whether its value is one, the job's own check says."""
    known = groups.known_keys()
    if key in (*groups.GROUPS, *groups.RECIPES):
        name = isinstance(value, str)
        return "" if name else f"{key}: an option is a name, not {value}; a setting of it is {key}.NAME"
    if key.startswith("sweep."):
        return f"{key}: is for the whole sweep, not for a row"
    if key.startswith("hydra."):
        return f"{key}: is for the whole command, not for a row"
    part = any(name.startswith(f"{key}.") for name in known)
    if key in known or part or groups.mapping_of(key):
        return ""
    return str(groups.unknown_key(key))


def _check_apart(config: DictConfig, rows: Sequence[Words]) -> None:
    """What is typed, or swept by a file, lies over every row: a key of a row in it would lose its values."""
    params = config.hydra.sweeper.get("params") or {}
    beside = [f"{key}={value}" for key, value in params.items()] + list(config.hydra.overrides.task)
    own = {_key(word) for words in rows for word in words}
    for word in beside:
        key = _key(word).lstrip("+~").partition("@")[0]
        if key in own:
            raise ConfigError("sweep.rows", f"sets {key}, and so does {word}; leave one of them out")


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def _option(words: Words) -> DictConfig:
    """The row's option: what it chooses of groups, and its values."""
    chosen = [word for word in words if _key(word) in (*groups.GROUPS, *groups.RECIPES)]
    node = OmegaConf.from_dotlist([word for word in words if word not in chosen])
    node["defaults"] = [{f"override /{_key(word)}": word.partition("=")[2]} for word in chosen]
    return node


def _key(word: str) -> str:
    return word.partition("=")[0]

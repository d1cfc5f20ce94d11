"""The config groups: which options each has, which is the default, and every key there is.

The options are the rows of `normlab.catalogue` and the YAML files of `conf/`. This imports neither Hydra nor
torch, so that help, lists and completion are quick.
"""

import dataclasses
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

import normlab
from normlab import config as settings
from normlab.catalogue.activations import ACTIVATIONS
from normlab.catalogue.datasets import DATASETS
from normlab.catalogue.inits import GAINS, INITS
from normlab.catalogue.norms import NORMS
from normlab.catalogue.optimizers import OPTIMIZERS
from normlab.catalogue.placements import PLACEMENTS
from normlab.catalogue.schedules import SCHEDULES
from normlab.config import RunConfig
from normlab.config.row import Row
from normlab.errors import ConfigError, nearest, require_one_of

#: Groups of whole runs: a file of these sets anything.
RECIPES = ("preset", "experiment")


@dataclass(frozen=True, kw_only=True)
class OptionGroup:
    """One config group: `name=option` on the command line."""

    base: type
    meaning: str
    rows: Mapping[str, Row[Any]]


def _single(meaning: str, *configs: Any) -> OptionGroup:
    """A group whose options have no table: the defaults of their dataclass, or near them."""
    rows = {config.name: Row(config=config, meaning=meaning) for config in configs}
    return OptionGroup(base=type(configs[0]), meaning=meaning, rows=rows)


def _every(steps: int) -> dict[str, Any]:
    """All that `measure` has a cadence for, in steps."""
    return dict.fromkeys(settings.MEASURED, steps)


#: Settings of a group up to this number are all named where none is near a mistyped one.
_FEW = 6

#: In the order of `RunConfig`'s fields.
GROUPS: dict[str, OptionGroup] = {
    "norm": OptionGroup(base=settings.NormConfig, meaning="norm type", rows=NORMS),
    "placement": OptionGroup(
        base=settings.PlacementConfig, meaning="where norms and scales sit", rows=PLACEMENTS
    ),
    "activation": OptionGroup(
        base=settings.ActivationConfig, meaning="feed-forward activation", rows=ACTIVATIONS
    ),
    "model": _single("the GPT around the norms", settings.ModelConfig()),
    "init": OptionGroup(base=settings.InitConfig, meaning="initial weights", rows=INITS),
    "data": OptionGroup(base=settings.DataConfig, meaning="text and tokenizer", rows=DATASETS),
    "optimizer": OptionGroup(base=settings.OptimizerConfig, meaning="optimizer", rows=OPTIMIZERS),
    "schedule": OptionGroup(
        base=settings.ScheduleConfig, meaning="learning rate after warm-up", rows=SCHEDULES
    ),
    "train": _single("the training loop and its machine", settings.TrainConfig()),
    "measure": _single(
        "instruments",
        settings.MeasureConfig(),
        settings.MeasureConfig(name="minimal", **_every(0)),
        # What takes a pass of its own is measured as seldom as in the standard the others are.
        settings.MeasureConfig(name="full", **_every(5) | {"grad_norm": 1, "covariate_shift": 20}),
    ),
    "divergence": _single("what counts as a divergence event", settings.DivergenceConfig()),
    "tracker": _single("wandb", settings.TrackerConfig()),
}

#: What other tools call our keys.
ALIASES = {
    "learning_rate": "optimizer.lr",
    "batch": "train.batch_size",
    "bs": "train.batch_size",
    "layers": "depth",
    "n_layer": "depth",
    "n_layers": "depth",
    "num_layers": "depth",
    "d_model": "model.width",
    "n_embd": "model.width",
    "hidden_size": "model.width",
    "n_head": "model.heads",
    "num_heads": "model.heads",
    "block_size": "model.context",
    "seq_len": "model.context",
    "max_steps": "train.steps",
    "warmup_steps": "warmup",
    "optim": "optimizer",
    "dataset": "data",
    "act": "activation",
}

#: Keys that take one of a few words.
CHOICES: dict[str, tuple[str, ...]] = {
    "model.positions": settings.POSITIONS,
    "train.precision": settings.PRECISIONS,
    "train.device": settings.DEVICES,
    "train.parallel": settings.PARALLELS,
    "tracker.mode": settings.TRACKER_MODES,
    "init.gains": ("placement", "none", *GAINS),
    "data.val_split": ("auto", "document", "tail"),
    "divergence.action": ("record", "stop"),
    "fault.kind": settings.FAULT_KINDS,
    "sweep.retry": settings.RETRIES,
    "placement.weights": settings.WEIGHTS,
    **{f"placement.{name}": words for name, words in settings.SUBLAYER_WORDS.items()},
    "train.threads": ("auto",),
    "optimizer.decay": settings.DECAYS,
    **{f"measure.{name}": settings.WHEN for name in settings.PASSES},
}


def conf_dir() -> Path:
    """The folder of YAML files: inside the package when installed from a wheel, else beside it."""
    package = Path(normlab.__file__).resolve().parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise FileNotFoundError("normlab's conf/ folder is missing; install it again")


@cache
def default_options() -> dict[str, str]:
    """The option that each group has when nothing is said, as `conf/config.yaml` names it."""
    lines = yaml.safe_load((conf_dir() / "config.yaml").read_text())["defaults"]
    pairs = {key: option for line in lines if isinstance(line, dict) for key, option in line.items()}
    return {group: pairs[group] for group in GROUPS}


def files(group: str, *folders: Path) -> dict[str, Path]:
    """The YAML files of a group in `conf/` and in the user's `folders`, by option."""
    found = {}
    for folder in (conf_dir(), *folders):
        for path in sorted((folder / group).glob("*.yaml")):
            found[path.stem] = path
    return found


def options(group: str, *folders: Path) -> list[str]:
    """What can follow `group=`: rows first, then files."""
    rows = GROUPS[group].rows if group in GROUPS else {}
    return list(dict.fromkeys([*rows, *files(group, *folders)]))


@cache
def values(group: str) -> dict[str, dict[str, Any]]:
    """The settings of each option of a group as plain values: rows, and files laid over the row they name."""
    known = {name: dataclasses.asdict(row.config) for name, row in GROUPS[group].rows.items()}
    for name, path in files(group).items():
        content = dict(yaml.safe_load(path.read_text()) or {})
        settled = _field_defaults(GROUPS[group].base)
        for parent in content.pop("defaults", []):
            settled |= known.get(parent, {}) if isinstance(parent, str) else {}
        known[name] = settled | content
    return known


@cache
def defaults() -> dict[str, Any]:
    """The default run as plain values, in the order of `RunConfig`'s fields."""
    chosen = default_options()
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(settings.RunConfig):
        if field.name in GROUPS:
            plain[field.name] = values(field.name)[chosen[field.name]]
        else:
            plain[field.name] = _field_defaults(settings.RunConfig)[field.name]
    return plain


def _field_defaults(kind: type) -> dict[str, Any]:
    """The defaults of a dataclass's fields, as plain values, where they have one."""
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
            plain[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
            nested = dataclasses.is_dataclass(value) and not isinstance(value, type)
            plain[field.name] = dataclasses.asdict(value) if nested else value
    return plain


@dataclass(frozen=True, kw_only=True)
class Key:
    """A setting: its type, and the options of its group that have it (empty: the group has no table)."""

    type: Any
    options: tuple[str, ...] = ()


def _walk(kind: type, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from _walk(hint, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", hint


@cache
def known_keys() -> dict[str, Key]:
    """Every key of a run's config, in order; what only some options have is there too."""
    found: dict[str, Key] = {}
    for name, hint in typing.get_type_hints(settings.RunConfig).items():
        if name not in GROUPS:
            nested = isinstance(hint, type) and dataclasses.is_dataclass(hint)
            leaves = _walk(hint, f"{name}.") if nested else iter([(name, hint)])
            found |= {key: Key(type=kind) for key, kind in leaves}
            continue
        for option, row in GROUPS[name].rows.items():
            for key, kind in _walk(type(row.config), f"{name}."):
                found[key] = Key(type=kind, options=(*(found[key].options if key in found else ()), option))
    return found


def suggest(word: str) -> str:
    """` Did you mean ...?` for a mistyped key, also when its group is wrong or left out (`lr`)."""
    names = [*known_keys(), *GROUPS, *RECIPES]
    group, _, leaf = word.rpartition(".")
    if leaf in ALIASES:
        return f" Did you mean '{ALIASES[leaf]}'?"
    same = [name for name in names if "." in name and name.rpartition(".")[2] == leaf]
    if same:
        return " Did you mean " + " or ".join(f"'{name}'" for name in same[:3]) + "?"
    siblings = [name for name in names if name.startswith(f"{group}.") or (not group and "." not in name)]
    if near := nearest_leaf(leaf, siblings):
        return near
    if group and 0 < len(siblings) <= _FEW:
        return f" There are {', '.join(siblings)}."
    return nearest(word, names) or nearest_leaf(leaf, names)


def nearest_leaf(leaf: str, names: list[str]) -> str:
    """` Did you mean ...?` for those of `names` whose last part is closest to `leaf`."""
    by_leaf = {name.rpartition(".")[2]: name for name in reversed(names)}
    found = nearest(leaf, by_leaf)
    return re.sub(r"'([^']+)'", lambda match: f"'{by_leaf[match[1]]}'", found)


def unknown_key(key: str, option: str | None = None) -> ConfigError:
    """The error for a key that is not there; `option` is the one that its group has in this run."""
    group = key.partition(".")[0]
    known = known_keys().get(key)
    if mapping := mapping_of(key):
        return ConfigError(key, _no_entry(mapping, key.removeprefix(f"{mapping}."), option))
    if known is not None and option is not None and option not in known.options:
        having = " or ".join(f"{group}={name}" for name in known.options)
        return ConfigError(key, f"{group}={option} has no such setting; {having} has")
    return ConfigError(key, f"there is no such setting.{suggest(key)}")


def mapping_of(key: str) -> str | None:
    """The setting whose entry `key` is, where it is one of a setting that maps names to values."""
    known = known_keys().items()
    return next((k for k, v in known if key.startswith(f"{k}.") and typing.get_origin(v.type) is dict), None)


def _no_entry(mapping: str, entry: str, option: str | None) -> str:
    group, _, name = mapping.partition(".")
    rows = GROUPS[group].rows if group in GROUPS else {}
    there = getattr(rows[option].config, name, {}) if option and option in rows else {}
    found = nearest(entry, [f"{mapping}.{other}" for other in there]) or nearest(entry, there)
    return f"{mapping} has no entry '{entry}' here.{found} '+{mapping}={{NAME: VALUE}}' adds one"


def config_class(group: str, content: Mapping[str, Any]) -> type:
    """The dataclass that the plain values of a group belong to.

    By its `name`, for data by its `source`; for a name that no row has (a user's own file), by its fields.
    """
    rows = GROUPS[group].rows
    label = str(content.get("source" if group == "data" else "name"))
    if label in rows:
        return type(rows[label].config)
    fitting = (
        kind
        for kind in [GROUPS[group].base, *(type(row.config) for row in rows.values())]
        if set(content) == {field.name for field in dataclasses.fields(kind)}
    )
    return next(fitting, GROUPS[group].base)


def check_names(config: RunConfig) -> None:
    """Raise a ConfigError, with the nearest name, for a variant that no table has.

    A placement can have any name: it is all in its settings.
    """
    require_one_of(config.norm.name, NORMS, "norm")
    require_one_of(config.activation.name, ACTIVATIONS, "activation")
    require_one_of(config.init.name, INITS, "init")
    require_one_of(config.init.gains, ("placement", "none", *GAINS), "init.gains")
    require_one_of(config.optimizer.name, OPTIMIZERS, "optimizer")
    require_one_of(config.schedule.name, SCHEDULES, "schedule")

"""Whether the run in a folder is the one that a config describes, so that it can be gone on with."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from normlab.catalogue.naming import flat, is_own
from normlab.catalogue.schedules import SCHEDULES
from normlab.config import RunConfig
from normlab.data import files
from normlab.data.files import is_file_of_tokens
from normlab.disk.untrusted import read_config
from normlab.errors import ConfigError, RunDirectoryError, require
from normlab.rundir.writer import CONFIG

#: Where the text and its tokenizer lie. What is in them is known by its hash, which the run keeps.
FILES = ("data.path", "data.tokenizer")
#: Settings that a resumed run may take anew. More steps stretch a schedule that ends with the last step, and
#: another machine can round differently; nothing else of them reaches a step.
MAY_CHANGE = (
    "train.steps",
    "train.checkpoint",
    "train.threads",
    "train.device",
    "train.processes",
    "train.parallel",
    "divergence.action",
    *FILES,
    "tracker",
    "sweep",
)


def check_same(config: RunConfig, directory: Path) -> list[str]:
    """Refuse to go on with another experiment than the one in `directory`; returns what to warn of.

    Raises:
        ConfigError: with every setting that differs, for the first of them.
    """
    before = _before(directory)
    if different := differences(config, before):
        (key, old, new), *others = different
        also = "".join(f"; {name} was {was} and would be {now}" for name, was, now in others)
        raise ConfigError(
            key,
            f"was {old} when the run was started and cannot become {new} in a resumed one{also}; "
            f"what may change: {', '.join(MAY_CHANGE)}",
        )
    old, new = before.get("train.steps", config.train.steps), config.train.steps
    require(new >= old, "train.steps", f"can only be raised in a resumed run; it was {old}, not {new}")
    if new > old and SCHEDULES[config.schedule.name].by_steps:
        name = config.schedule.name
        return [f"the {name} schedule is laid out anew over {new} steps, so the learning rate jumps"]
    return []


def differences(config: RunConfig, before: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Key, old and new value of the settings that make another experiment of `before` (by dotted key)."""
    return [
        each for each in _changed(config, before) if not each[0].startswith(MAY_CHANGE) or _renamed(*each)
    ]


def located(config: RunConfig, folder: Path) -> RunConfig:
    """`config` with the paths of its text from the root on, so that the run can go on from anywhere."""
    return dataclasses.replace(config, data=files.located(config.data, folder))


def moved(config: RunConfig, directory: Path) -> str:
    """The setting of the text or tokenizer that is another than when the run in `directory` was started."""
    return next((key for key, _, _ in _changed(config, _before(directory)) if key in FILES), "")


def _renamed(key: str, old: Any, new: Any) -> bool:
    """Whether a tokenizer becomes another one, not a file that lies elsewhere."""
    return key == "data.tokenizer" and not (is_file_of_tokens(str(old)) and is_file_of_tokens(str(new)))


def check_own(config: RunConfig, directory: Path) -> None:
    """Raise a ConfigError, with what differs, if `directory` holds another job than `config`."""
    changed = [each for each in _changed(config, _before(directory)) if is_own(each[0])]
    if changed:
        what = "; ".join(f"{key} is {old} there, and {new} here" for key, old, new in changed)
        raise ConfigError(changed[0][0], f"{directory} holds another job: {what}")


def _before(directory: Path) -> dict[str, Any]:
    path = directory / CONFIG
    if not path.is_file():
        raise RunDirectoryError(f"{directory} is not a run directory: there is no {CONFIG}")
    return dict(flat(read_config(path)))


def _changed(config: RunConfig, before: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Settings with what they were and are.

    A setting that normlab did not have when the run was started was what it is by default. The laws that a
    placement names itself, gains and constants, have no default: there or not is a difference.
    """
    now, known = dict(flat(dataclasses.asdict(config))), {**dict(flat(_defaults(config))), **before}
    changed = [
        (key, known.get(key, _NOTHING), value)
        for key, value in now.items()
        if value != known.get(key, _NOTHING) and not _is_same_file(key, known.get(key), value)
    ]
    gone = [key for key in before if key.startswith(_NAMED) and key not in now]
    return changed + [(key, before[key], _NOTHING) for key in gone]


#: Stands for a law that is not there.
_NOTHING = "nothing"
_NAMED = ("placement.gains.", "placement.parameters.")


def _defaults(settings: Any) -> dict[str, Any]:
    """The defaults of a config of this kind, those of its parts nested; what has none is left out."""
    found: dict[str, Any] = {}
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if dataclasses.is_dataclass(value):
            found[item.name] = _defaults(value)
        elif item.default is not dataclasses.MISSING:
            found[item.name] = item.default
        elif item.default_factory is not dataclasses.MISSING:
            found[item.name] = item.default_factory()
    return found


def _is_same_file(key: str, old: Any, new: Any) -> bool:
    """Whether both are one path, as seen from here; runs of before had it as it was typed."""
    if key not in FILES or not (isinstance(old, str) and isinstance(new, str) and old and new):
        return False
    if key == "data.tokenizer" and not (is_file_of_tokens(old) and is_file_of_tokens(new)):
        return False
    return Path(old).absolute() == Path(new).absolute()

"""What the jobs of a sweep are called: by what the sweep varies, short, and by that alone.

`placement=post,pre warmup=0,100 seed=0,1` makes `post-warmup0-s0`, `pre-warmup100-s1` and so on. The names
are on file in the sweep's folder, so that a job has its name wherever it runs, and keeps it when the sweep is
run again or enlarged.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from normlab.catalogue import groups, naming
from normlab.disk.strict_json import document
from normlab.disk.untrusted import TABLE, read_json
from normlab.disk.whole_files import replace_file

FILE = ".names.json"
#: How knobs are called in a name; others by the last part of their key.
_LABELS = {"optimizer.lr": "lr", "seed": "s", "train.batch_size": "batch", "model.ffn.ratio": "ffn"}
_MAIN = ("placement", "norm", "activation", "depth", "warmup", "optimizer", "optimizer.lr", "seed")
#: Longest name; a longer one ends in the job's digest.
_LONGEST = 100
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}", re.ASCII)

Plain = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class JobNames:
    """The names of a sweep's jobs."""

    #: The keys that they tell of.
    keys: tuple[str, ...] = ()
    #: By the digest of the job.
    names: Mapping[str, str] = field(default_factory=dict)


def name_jobs(configs: Sequence[Plain], directory: Path) -> JobNames:
    """The names of these jobs and of those that the sweep in `directory` has had.

    A job that has a folder keeps it: by the file of names, or by the digest at the end of the folder's name,
    as earlier versions called them.
    """
    known = read_names(directory)
    there = {path.name for path in directory.glob("*") if path.is_dir()}
    by_digest = {name[-8:]: name for name in there if name[-9:-8] == "-"}
    swept = naming.swept(configs) if len(configs) > 1 else _main_knobs(configs[0]) if configs else []
    keys = list(dict.fromkeys([*known.keys, *filter(naming.is_own, swept)]))
    names, taken = dict(known.names), there | set(known.names.values())
    for config in configs:
        digest = naming.digest(config)
        if digest in names:
            continue
        name = by_digest.get(digest) or _name(config, keys)
        if name in taken and name != by_digest.get(digest):
            name = f"{name}-{digest}"
        names[digest] = name
        taken.add(name)
    return JobNames(keys=tuple(keys), names=names)


def name_of(directory: str, config: Plain) -> str:
    """The name of a job that runs in `directory`.

    One whose sweeper chose it meanwhile, and so in no file, is called by all in which it differs from the
    default run.
    """
    digest = naming.digest(config)
    return read_names(Path(directory)).names.get(digest) or f"{naming.slug(config)}-{digest}"


def read_names(directory: Path) -> JobNames:
    """The names on file; none where it is not there, or is no such file."""
    try:
        content = read_json(directory / FILE, TABLE)
        keys, names = content["keys"], content["names"].items()
        usual = {str(digest): name for digest, name in names if _NAME.fullmatch(name)}
        return JobNames(keys=tuple(key for key in keys if isinstance(key, str)), names=usual)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return JobNames()


def write_names(directory: Path, names: JobNames) -> None:
    """Put them on file, beside those that another command has put there meanwhile. Raises OSError."""
    there = read_names(directory)
    keys = list(dict.fromkeys([*there.keys, *names.keys]))
    replace_file(directory / FILE, document({"keys": keys, "names": {**there.names, **names.names}}))


def _main_knobs(config: Plain) -> list[str]:
    """Of a sweep of one job, those in which it differs from the default run."""
    return [key for key in _MAIN if naming.knob(config, key) != naming.knob(groups.defaults(), key)]


def _name(config: Plain, keys: Sequence[str]) -> str:
    """The options of groups first, the seed last."""
    labels = _labels(keys)
    ordered = sorted(keys, key=lambda key: (key == "seed", key not in groups.GROUPS))
    name = "-".join(_part(key, naming.knob(config, key), labels[key]) for key in ordered) or "run"
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 9].rstrip('-.')}-{naming.digest(config)}"


def _labels(keys: Sequence[str]) -> dict[str, str]:
    """Of keys that would be called the same, two parts."""
    short = {key: _LABELS.get(key, key.rpartition(".")[2]) for key in keys}
    counts = Counter(short.values())
    return {
        key: label if counts[label] == 1 else ".".join(key.split(".")[-2:]) for key, label in short.items()
    }


def _part(key: str, value: Any, label: str) -> str:
    if key in groups.GROUPS:
        return naming.safe(str(value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return naming.safe(f"{label}{_number(value)}")
    return naming.safe(f"{label}-{naming.spell(value)}")


def _number(value: float) -> str:
    """The shorter of 0.001 and 1e-3."""
    plain = naming.spell(value)
    if isinstance(value, int) or value == 0 or not math.isfinite(value):
        return plain
    mantissa, _, exponent = f"{value:.9e}".partition("e")
    short = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return plain if len(plain) < len(short) else short

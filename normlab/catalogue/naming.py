"""Names of runs: pure functions from a config, as plain values, to text that is safe as a file's name."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from normlab.catalogue import groups
from normlab.errors import ConfigError

#: Where a run lives and how it is reported is not what it is.
OUTSIDE = ("tracker", "sweep")
#: Nor is the machine, nor how often a run is looked at and saved: jobs that differ in these alone are one.
ASIDE = (
    "measure",
    "train.threads",
    "train.device",
    "train.processes",
    "train.parallel",
    "train.checkpoint",
)
#: In a slug what studies vary comes first, since the end may not fit; size, text and training come last.
_FIRST = ("placement", "norm", "activation", "depth", "warmup", "optimizer", "seed", "init", "schedule")
_LAST = ("model", "data", "train")
#: Longest slug, so that a folder's name fits everywhere.
_LONGEST = 80

Plain = Mapping[str, Any]


def timestamp(now: datetime) -> str:
    """`2026-11-20_17-26-05-123`, to the millisecond; sorts by time."""
    return f"{now:%Y-%m-%d_%H-%M-%S}-{now.microsecond // 1000:03d}"


def digest(config: Plain) -> str:
    """8 hex digits of what a job is: its config less `OUTSIDE` and `ASIDE`."""
    own = {key: value for key, value in flat(config) if is_own(key)}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:8]


def is_own(key: str) -> bool:
    """Whether a dotted key is part of what a job is."""
    return not _within(key, (*OUTSIDE, *ASIDE))


def _is_setting(key: str) -> bool:
    return not _within(key, OUTSIDE)


def _within(key: str, parts: Sequence[str]) -> bool:
    return any(f"{key}.".startswith(f"{part}.") for part in parts)


def slug(config: Plain) -> str:
    """What differs from the default run, as `placement-post_warmup-100`; `default` if nothing does.

    A group's option is named where it is not the default one; of its settings, those that differ from that
    option's own. At most 80 characters: what does not fit is counted.
    """
    pairs = sorted(_differences(config), key=lambda pair: _rank(pair[0]))
    items = [f"{safe(key)}-{safe(_text(value))}" for key, value in pairs]
    kept = len(items)
    while kept > 1 and len(_join(items, kept)) > _LONGEST:
        kept -= 1
    return _join(items, kept)[:_LONGEST] or "default"


def _rank(key: str) -> tuple[int, bool]:
    """Where a key stands in a slug: by its group, and a rate before the other settings of its optimizer."""
    group = key.partition(".")[0]
    order = [*_FIRST, "", *_LAST]
    return order.index(group if group in order else ""), key not in (group, "optimizer.lr")


def _join(items: Sequence[str], kept: int) -> str:
    more = [f"and-{len(items) - kept}-more"] if kept < len(items) else []
    return "_".join([*items[:kept], *more])


def words(config: Plain, *, aside: bool = False) -> list[str]:
    """The overrides that make `config` of the default run, as `normlab train` takes them.

    Where runs are kept and reported is left out; and, without `aside`, the machine and what is looked at.
    """
    counts = _is_setting if aside else is_own
    found = []
    for key, value in _differences(config, counts, by_rows=True):
        mapping = groups.mapping_of(key)
        if mapping and key not in dict(flat(groups.defaults())):
            # An entry that the default run has not; its name may hold a dot.
            found.append(f"+{mapping}={_typed({key.removeprefix(f'{mapping}.'): value})}")
        else:
            found.append(f"{key}={_typed(value)}")
    return found


def changed(words: Sequence[str], changes: Sequence[str]) -> list[str]:
    """`words` with `changes` made: a word for the same key is replaced, and another option of a group takes
    the settings of the old one away."""
    new = [_key(word) for word in changes]
    gone = [key for key in new if key in groups.GROUPS]
    kept = [word for word in words if (key := _key(word)) not in new and key.partition(".")[0] not in gone]
    return [*kept, *changes]


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _typed(value: Any) -> str:
    """A value in Hydra's grammar: lists in brackets, mappings in braces, words quoted where they need it."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_typed(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_typed, value)) + "]"
    if isinstance(value, str):
        return value if _is_plain(value) else quoted(value)
    if isinstance(value, float) and float(_text(value)) != value and not math.isnan(value):
        return repr(value)
    return _text(value)


def _is_plain(text: str) -> bool:
    """Whether Hydra reads `text` without quotes as just this text: it knows ASCII alone."""
    plain = re.fullmatch(r"[\w./:*+-]+( [\w./:*+-]+)*", text, re.ASCII)
    return plain is not None and not re.fullmatch(r"(?i)true|false|null|[+-]?(nan|inf|[\d._].*)", text)


def quoted(text: str) -> str:
    """`text` in Hydra's quotes: backslashes count only before a quote, and in OmegaConf before `${`."""
    literal = re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", text)
    literal = re.sub(r"(\\*)'", lambda found: 2 * found[1] + r"\'", literal)
    return "'" + re.sub(r"\\+\Z", lambda found: 2 * found[0], literal) + "'"


def _differences(
    config: Plain, counts: Callable[[str], bool] = is_own, *, by_rows: bool = False
) -> Iterator[tuple[str, Any]]:
    """Keys and values that are not the default run's; a group's option before its settings.

    Args:
        by_rows: what has a name of its own, such as a placement of the user's, is told as the nearest option
            there is and all in which it differs.
    """
    usual = groups.defaults()
    chosen = groups.default_options()
    for key, standard in usual.items():
        value = config.get(key, standard)
        if key in groups.GROUPS and counts(key):
            option, own = _option(key, value, by_rows=by_rows)
            if option != chosen[key]:
                yield key, option
            ours = dict(flat(value, f"{key}."))
            if not by_rows:
                ours.pop(f"{key}.name", None)
            for name, setting in ours.items():
                if (name not in own or own[name] != setting) and counts(name):
                    yield name, setting
        elif counts(key) and value != standard:
            was = dict(flat({key: standard}))
            yield from ((name, ours) for name, ours in flat({key: value}) if was.get(name) != ours)


def _option(group: str, value: Plain, *, by_rows: bool = False) -> tuple[str, dict[str, Any]]:
    """The option of `group` that `value` came from, with its settings: of those with its name, the nearest.

    A name that no option has stands for itself, with the settings as they are; or, `by_rows`, for the nearest
    option with the same kind of settings.
    """
    ours = dict(flat(value, f"{group}."))
    every = {option: dict(flat(each, f"{group}.")) for option, each in groups.values(group).items()}
    if by_rows:
        kind = groups.config_class(group, value)
        every = {
            option: settings
            for option, settings in every.items()
            if groups.config_class(group, groups.values(group)[option]) is kind
            # An entry can be added, and none be taken away.
            and not any(groups.mapping_of(key) and key not in ours for key in settings)
        }
    same = {option: each for option, each in every.items() if each.get(f"{group}.name") == value["name"]}
    same = same or (every if by_rows else {})
    if not same:
        source = groups.values(group).get(str(value.get("source"))) or value
        return value["name"], dict(flat(source, f"{group}."))
    return min(same.items(), key=lambda pair: sum(pair[1].get(key) != ours[key] for key in ours))


def flat(values: Plain, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested values by dotted key."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def knob(config: Plain, key: str) -> Any:
    """The value of a dotted key; of a group, its option's name. None where the config has no such key."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value["name"] if isinstance(value, Mapping) and "name" in value else value


def swept(configs: Sequence[Plain]) -> list[str]:
    """The keys in which some configs differ, in config order.

    A group counts once, by its option; its settings count where they differ under the same option. Those of
    what is no group, such as `fault`, count by themselves.
    """
    found = []
    every = dict.fromkeys([*groups.defaults(), *(key for config in configs for key in config)])
    for key in (key for key in every if key not in OUTSIDE):
        parts = [part for part in (config.get(key) for config in configs) if isinstance(part, Mapping)]
        if key not in groups.GROUPS and len(parts) == len(configs):
            found += _differing(key, parts)
            continue
        if len({_text(knob(config, key)) for config in configs}) > 1:
            found.append(key)
        if key in groups.GROUPS:
            found += _swept_settings(key, parts)
    return found


def _swept_settings(group: str, parts: Sequence[Plain]) -> list[str]:
    found: dict[str, None] = {}
    for name in dict.fromkeys(part["name"] for part in parts):
        found |= dict.fromkeys(_differing(group, [part for part in parts if part["name"] == name]))
    return list(found)


def _differing(prefix: str, parts: Sequence[Plain]) -> list[str]:
    every = [dict(flat(part, f"{prefix}.")) for part in parts]
    names = dict.fromkeys(key for leaves in every for key in leaves)
    return [key for key in names if len({_text(leaves.get(key)) for leaves in every}) > 1]


def same(known: str, typed: str) -> bool:
    """Whether `typed` means the value spelled `known`: 1e-3 is 0.001."""
    try:
        return known == typed or float(known) == float(typed)
    except ValueError:
        return False


def spell(value: Any) -> str:
    """A setting as it is typed on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(spell, value))}]"
    return str(value)


def spell_short(value: Any) -> str:
    """A setting for a table: of a long one the beginning."""
    text = spell(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def check_sweep_name(name: str | None) -> None:
    """Raise a ConfigError unless `name` can be one folder's name on any system, or is None."""
    if name is not None and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}", name):
        raise ConfigError(
            "sweep.name",
            f"'{name}' cannot be a folder's name; use letters, digits, '.', '_', '+' and '-', no separators",
        )


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list | tuple):
        return "-".join(_text(item) for item in value)
    return str(value)


def safe(text: str) -> str:
    """`text` as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.") or "x"

"""Hydra's and OmegaConf's errors in our words: what was typed, why not, and what is nearest."""

import errno
import re
import shlex
import types
from collections.abc import Callable, Sequence
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationKeyError,
    OmegaConfBaseException,
    ValidationError,
)

from normlab.catalogue import groups, naming
from normlab.compose import plugins
from normlab.disk.whole_files import is_full
from normlab.errors import QUOTED, ConfigError, UserError, nearest, quoted

#: Options that only their own package has a file of.
_EXTRAS = {"hydra/sweeper=optuna": "optuna", "hydra/launcher=ray_aws": "ray"}
#: Options that a package brings and we know nothing of.
_FOREIGN = ("ray_aws",)
#: Configs that begin a command: what they choose, the user has.
MAIN = ("config", "probe", "hydra/config")
#: What is wrong with words or files that a user wrote; anything else is a fault of ours.
KNOWN = (UserError, HydraException, OmegaConfBaseException, yaml.YAMLError)
_KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "null",
    list[float]: "a list of numbers such as [0.9,0.95]",
    list[str]: "a list such as [a,b]",
    dict[str, str]: "a mapping such as {a: b}",
    list[dict[str, Any]]: "a list of rows such as '[{depth: 4, optimizer.lr: 1e-3},{depth: 8}]'",
}


def is_known(error: BaseException) -> bool:
    """Whether it is for the user to put right: one of `KNOWN`, or a bare ValueError of Hydra's own."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return isinstance(error, KNOWN) or (type(error) is ValueError and module.startswith("hydra."))


def explain(error: BaseException, overrides: Sequence[str] = ()) -> str:
    """One message for an error of composing a config; `overrides` are the words that were typed."""
    text = _explain(error, overrides)
    for word in overrides:  # long words are repeated in part
        for part in (word, word.partition("=")[2]):
            if len(part) > QUOTED and "/" not in part:
                text = text.replace(part, quoted(part))
    return text


def _explain(error: BaseException, overrides: Sequence[str]) -> str:
    if isinstance(error, UserError):
        return _in_file(error, overrides) + str(error)
    if isinstance(error, OverrideParseException):
        return _unreadable(error)
    if isinstance(error, MissingConfigException):
        return _no_such_option(error)
    if isinstance(error, ConfigCompositionException) and "--multirun" in str(error):
        swept = _swept(overrides)
        return f"{swept}: several values; add -m to run them all, or put [ ] around a list"
    if str(error).startswith("Sweeping over Hydra's configuration"):
        word = _swept(overrides, lambda key: key.startswith("hydra"))
        return f"{_key(word)}: a sweep has one, got {word.partition('=')[2]}; give the command once for each"
    if isinstance(error, ValueError) and str(error).startswith("Config group override"):
        return _no_option(overrides)
    cause = _cause(error)
    where = re.match(r"In '([^']+)'", str(error))
    # A row is no file, though Hydra has it as one.
    prefix = f"in {where[1]}.yaml: " if where and not where[1].startswith("row/") else ""
    if cause is not None:
        return prefix + _setting(cause, overrides)
    if isinstance(error, yaml.YAMLError):
        return prefix + _not_yaml(error)
    return " ".join(str(error).split()) or type(error).__name__


def of_disk(error: OSError, directory: object = None) -> str:
    """One message for a folder or file that could not be made; it names the path."""
    path = error.filename or directory or "a file"
    if is_full(error):
        limit = "a file may not be larger here (ulimit -f)"
        return f"{path} cannot be written: {limit if error.errno == errno.EFBIG else 'the disk is full'}"
    what = "written" if error.errno == errno.EIO else "made"
    return f"{path} cannot be {what}: {error.strerror or error}"


def describe(error: BaseException) -> str:
    """An exception on one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")


def problem(error: OmegaConfBaseException, word: str = "") -> str:
    """What is wrong with one setting, without its key; `word` is the override as typed."""
    key = str(error.full_key or "")
    typed = word.partition("=")[2]
    if isinstance(error, ConfigKeyError | ConfigAttributeError):
        return str(groups.unknown_key(key)).partition(": ")[2]
    if word.startswith("~"):
        return "cannot be removed"
    if isinstance(error, ValidationError):
        known = groups.known_keys().get(key)
        below = [name for name in groups.known_keys() if name.startswith(f"{key}.")]
        if (mapping := groups.mapping_of(key)) and word.lstrip("+").partition("=")[0] == key:
            return f"must be a {'number' if mapping.endswith('parameters') else 'law'}, got {typed}"
        if mapping:
            return f"an entry with a dot in its name is added with '+{mapping}={{NAME: VALUE}}'"
        if known is None and below:
            return f"is not one setting; there are {', '.join(below)}"
        if known is not None:
            return f"must be {expected(known.type, groups.CHOICES.get(key, ()))}" + (
                f", got {typed}" if typed else _got(error)
            )
    if isinstance(error, InterpolationKeyError):
        return f"refers to a setting that is not there: {_first_line(error)}"
    return _first_line(error)


def _in_file(error: UserError, overrides: Sequence[str]) -> str:
    """`in GROUP/OPTION.yaml: ` where a setting has its value from a file of the user's, and no word's."""
    group = error.key.partition(".")[0] if isinstance(error, ConfigError) else ""
    chosen = [word.partition("=")[2] for word in overrides if _key(word) == group]
    spoken = any(_key(word).startswith(f"{group}.") for word in overrides)
    if group not in groups.GROUPS or not chosen or spoken or chosen[-1] in groups.options(group):
        return ""
    if chosen[-1].startswith(("{", "[")):  # no name of a file
        return ""
    return f"in {group}/{chosen[-1]}.yaml: "


def _setting(error: OmegaConfBaseException, overrides: Sequence[str]) -> str:
    key = str(error.full_key or "config")
    words = [word for word in overrides if _key(word) == key]
    if isinstance(error, ConfigKeyError | ConfigAttributeError):
        group = key.partition(".")[0]
        if group == "hydra":
            return str(plugins.unknown(error, key, overrides))
        if group in groups.RECIPES:
            return f"a file of {group}/ must begin with the line '# @package _global_'"
        return str(_unknown(key, overrides))
    return f"{key}: {problem(error, words[-1] if words else '')}"


def _unknown(key: str, overrides: Sequence[str]) -> ConfigError:
    group = key.partition(".")[0]
    chosen = groups.default_options().get(group)
    for word in overrides:
        if _key(word) == group:
            chosen = word.partition("=")[2]
    return groups.unknown_key(key, chosen)


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~").partition("@")[0]


def _unreadable(error: OverrideParseException) -> str:
    word = error.override
    if "=" not in word:
        return f"{word}: not KEY=VALUE"
    key, _, value = word.partition("=")
    hint = f"'{key}=\"{value}\"'"
    if set(value) & set("'\"\\"):
        hint = shlex.quote(f"{key}={naming.quoted(value)}")
    return (
        f"{word}: cannot be read; a value with any of = ( ) [ ] {{ }} : , or a quote in it, or a letter "
        f"beyond ASCII, needs quotes inside quotes, {hint}"
    )


def _no_such_option(error: MissingConfigException) -> str:
    group, _, option = str(error.missing_cfg_file or "").rpartition("/")
    where = re.match(r"In '([^']+)'", str(error))
    prefix = f"in {where[1]}.yaml: " if where and where[1] not in MAIN else ""
    if not group:
        return " ".join(str(error).split())
    name = group.removeprefix("hydra/")
    if extra := _EXTRAS.get(f"{group}={option}"):
        return f"{group}={option}: its package is not installed; pip install 'normlab[{extra}]'"
    known = list(error.options or (groups.options(group) if group in groups.GROUPS else []))
    known = [each for each in known if each not in _FOREIGN]
    listed = f"There are: {', '.join(known)}." if known else "There is none."
    return f"{prefix}{group}={option}: there is no {name} '{option}'.{nearest(option, known)} {listed}"


def _no_option(overrides: Sequence[str]) -> str:
    """Hydra does not say which group was given null, a number or a truth value."""
    for word in overrides:
        key, _, value = word.partition("=")
        if key in groups.GROUPS and re.fullmatch(r"null|true|false|[-+.\d].*", value.strip(), re.I):
            known = ", ".join(groups.options(key))
            return f"{key}={value}: an option is a name, not {value}. There are: {known}."
    return "a group takes the name of an option, not null, a number, true or false"


def _not_yaml(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return "a YAML file cannot be read: " + " ".join(str(error).split())
    where = f"{mark.name}, line {mark.line + 1}: "
    return where + " ".join(str(getattr(error, "problem", None) or "cannot be read").split())


def _swept(overrides: Sequence[str], wanted: Callable[[str], bool] = bool) -> str:
    parser = OverridesParser.create()
    for word in overrides:
        try:
            if wanted(_key(word)) and parser.parse_override(word).is_sweep_override():
                return word
        except HydraException:
            continue
    return ""


def _cause(error: BaseException) -> OmegaConfBaseException | None:
    follow: tuple[Callable[[BaseException], Any], ...] = (
        lambda e: e,
        lambda e: e.__cause__,
        lambda e: e.__context__,
    )
    found = (step(error) for step in follow)
    return next((each for each in found if isinstance(each, OmegaConfBaseException)), None)


def expected(kind: Any, words: Sequence[str]) -> str:
    """The values that a field of this type takes, as text; `words` are those it has for text."""
    if isinstance(kind, types.UnionType):
        return " or ".join(expected(part, words) for part in kind.__args__)
    if kind is str and words:
        return " or ".join(words)
    return _KINDS.get(kind, f"a {kind}")


def _got(error: OmegaConfBaseException) -> str:
    value = re.search(r"[Vv]alue '(.*?)'", str(error))
    return f", got {value[1]}" if value else ""


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__

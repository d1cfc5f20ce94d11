"""Words as typed, before Hydra reads them: refuses those that no command can take, whatever they mean.

Hydra's parser recurses, Python refuses to read long numbers, a terminal obeys control characters, and Hydra
builds whatever a `_target_` names: none of that is reached by words that stop here.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlparse

from normlab.errors import ConfigError, UserError, quoted

#: Characters of a word, brackets within brackets, digits of a number: more are a mistake.
MOST_CHARACTERS, MOST_NESTED, MOST_DIGITS = 100_000, 16, 40
#: Characters of a key.
MOST_KEY = 200
#: Characters of a folder's name, and of a path: what Linux takes.
MOST_NAME, MOST_PATH = 255, 4095
_TARGET = re.compile(r"(?:^|[.{,\s'\"])_target_['\"]?\s*[:=]")
#: A number in quotes with space around it, which reads as the number.
_SPACED = re.compile(r"(['\"])(?:\s+[-+]?[\d.][\w.+-]*\s*|[-+]?[\d.][\w.+-]*\s+)\1")
#: What logging builds by a name of ours.
_FACTORY = re.compile(r"\(\)|\bclass\b|\bext://")
#: What reorders the text around it on a screen.
_BIDIRECTIONAL = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
_MARKS = {"\u200e", "\u200f", "\u061c"}


def check_words(words: Sequence[str]) -> None:
    """Refuse a word that cannot be used.

    Raises:
        UserError: names the key, or quotes the word where there is none.
    """
    for word in words:
        _check_text(word)
        key, equals, value = word.partition("=")
        name = key.lstrip("+~").partition("@")[0]
        if equals and not name:
            raise UserError(f"{quoted(word)}: there is no key before the =")
        if name == "hydra":
            raise ConfigError("hydra", "is no setting; its parts are, such as hydra.run.dir=FOLDER")
        _check_number(name, value)
        _check_kept(name, word)
        if check := _CHECKS.get(name):
            check(name, value.strip("'\""))


def _check_text(word: str) -> None:
    key = quoted(word.partition("=")[0])
    for letter in word:
        category = unicodedata.category(letter)
        if category == "Cs":
            raise UserError(f"{quoted(word)}: is not UTF-8 text")
        hidden = letter in _MARKS or unicodedata.bidirectional(letter) in _BIDIRECTIONAL
        if hidden or (category == "Cc" and letter not in "\n\t"):
            raise UserError(
                f"{quoted(word)}: holds a control character, {unicodedata.name(letter, ascii(letter))}"
            )
    if "=" in word and len(word.partition("=")[0]) > MOST_KEY:
        raise UserError(f"{key}: is no setting: a key has at most {MOST_KEY} characters")
    if len(word) > MOST_CHARACTERS:
        raise UserError(f"{key}: has {len(word)} characters; a word has at most {MOST_CHARACTERS}")
    if word != word.strip():
        raise UserError(f"{quoted(word.strip())}: begins or ends with a space; leave it out")
    if _depth(word) > MOST_NESTED:
        raise UserError(f"{key}: has brackets within brackets, {_depth(word)} deep; at most {MOST_NESTED}")


def _depth(word: str) -> int:
    """How deep brackets stand within brackets."""
    deepest = depth = 0
    for letter in word:
        depth += (letter in "([{") - (letter in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _check_number(name: str, value: str) -> None:
    if spaced := _SPACED.search(value):
        raise ConfigError(name, f"{quoted(spaced[0])} holds a space beside the number; leave it out")
    longest = max(map(len, re.findall(r"\d+", value)), default=0)
    whole = re.fullmatch(r"[-+]?[\d_.]+", value) is not None
    if longest > (MOST_DIGITS if whole else 10 * MOST_DIGITS):
        raise ConfigError(name, f"is a number of {longest} digits; at most {MOST_DIGITS} make sense")


def _check_kept(name: str, word: str) -> None:
    """What checks the run stays, and nothing is built by a name that is typed."""
    if name.partition(".")[0] == "hydra" or name.startswith("hydra/"):
        if re.match(r"hydra[./]callbacks\b", name):
            raise ConfigError(name, "cannot be set: callbacks check the run before it begins")
        if re.match(r"hydra\.(job|hydra)_logging\b", name) and _FACTORY.search(word):
            raise ConfigError(name, "cannot name a class; give files, levels and formats")
    if name.endswith("_target_") or _TARGET.search(word.partition("=")[2]):
        raise ConfigError(name, "cannot be set: choose with hydra/launcher=NAME or hydra/sweeper=NAME")
    if word.startswith("~") and name.partition(".")[0] != "hydra":
        raise ConfigError(name, "cannot be removed")


def _check_folder(name: str, value: str) -> None:
    if not value:
        raise ConfigError(name, "is empty; give a folder")
    parts = Path(value).parts
    if "${" not in value and (
        len(value) > MOST_PATH or any(len(part.encode()) > MOST_NAME for part in parts)
    ):
        raise ConfigError(name, f"is too long: a name has at most {MOST_NAME} bytes, and a path {MOST_PATH}")


def _check_length(name: str, value: str) -> None:
    if value:
        _check_folder(name, value)


def _check_params(name: str, value: str) -> None:
    if value.startswith("{"):
        raise ConfigError(name, "is set one by one: hydra.sweeper.params.KEY=VALUES, or KEY=A,B with -m")


def _check_inside(name: str, value: str) -> None:
    _check_folder(name, value)
    if Path(value).is_absolute() or ".." in Path(value).parts:
        raise ConfigError(name, f"must stay within the folder that it is in, got {quoted(value)}")


def _check_subfolder(name: str, value: str) -> None:
    if value != "null":
        _check_inside(name, value)


def _check_verbose(name: str, value: str) -> None:
    loggers = [part.strip() for part in value.strip("[]").split(",")]
    if value not in ("true", "false", "null") and not all(_is_module(part) for part in loggers):
        raise ConfigError(name, f"must be true, false or names of modules, [a,b], got {quoted(value)}")


def _is_module(name: str) -> bool:
    return (
        name.isidentifier() and find_spec(name) is not None
        if "." not in name
        else _is_module(name.partition(".")[0])
    )


def _check_searchpath(name: str, value: str) -> None:
    for place in (part.strip(" '\"") for part in value.strip("[]").split(",")):
        scheme, _, rest = place.partition("://")
        found = True
        if scheme == "file":
            found = Path(unquote(urlparse(place).path if rest.startswith("/") else rest)).is_dir()
        elif scheme == "pkg":
            found = _is_module(rest.partition("/")[0])
        elif place:
            found = Path(place).is_dir()
        if not found:
            raise ConfigError(name, f"there is no folder {quoted(place)}")


#: Settings of Hydra's own that it takes whatever they are.
_CHECKS: dict[str, Callable[[str, str], None]] = {
    "hydra.run.dir": _check_folder,
    "hydra.sweep.dir": _check_folder,
    "hydra.sweep.subdir": _check_inside,
    "hydra.output_subdir": _check_subfolder,
    "hydra.sweeper.params": _check_params,
    "hydra.verbose": _check_verbose,
    "hydra.searchpath": _check_searchpath,
    "data.path": _check_length,
    "data.tokenizer": _check_length,
}

"""The words after `normlab describe`: whose config, against which other, printed how."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from normlab.compose import flags
from normlab.errors import UserError, nearest

AGAINST = "--against"
_JSON = "--json"
_VOCAB = "--vocab"
_OWN = (AGAINST, _JSON, _VOCAB, "--config-dir", "--help")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for. Both sides are overrides as `normlab train` takes them."""

    overrides: list[str]
    #: None where nothing is to be compared.
    against: list[str] | None = None
    as_json: bool = False
    config_dir: str | None = None
    #: Tokens in the vocabulary; None for what the config says of it.
    vocab: int | None = None


def parse(words: Sequence[str]) -> Request:
    """Everything after `--against` is the other config; other flags may stand anywhere.

    `--against` may be said again, may have its first word as `--against=placement=post`, and several words
    may come in one piece (quoted), if each of them has a `=`.

    Raises:
        UserError: a flag that is not there or lacks its value, a word that is no override, nothing after
            `--against`.
    """
    as_json, vocab, rest = _own_flags(_apart(words))
    split = _split([word for word in rest if word != AGAINST])
    for flag in split.flags[::2]:
        if flag != "--config-dir":
            raise UserError(
                f"describe has no {flag}; it describes one config, or two with {AGAINST}. "
                "See normlab describe --help"
            )
    others = None
    if AGAINST in rest:
        others = _split([word for word in rest[rest.index(AGAINST) :] if word != AGAINST]).overrides
        if not others:
            raise UserError(
                f"{AGAINST} needs the other config, as in normlab describe placement=post "
                f"{AGAINST} placement=pre; {AGAINST} seed=0 is the default run"
            )
    own = split.overrides[: len(split.overrides) - len(others or [])]
    folder = split.value("--config-dir")
    return Request(overrides=own, against=others, as_json=as_json, config_dir=folder, vocab=vocab)


def _split(words: Sequence[str]) -> flags.Words:
    """As `normlab train` sorts them; what it says of a word it cannot use is said of this command."""
    try:
        return flags.split(words)
    except flags.UsageError as error:
        unknown = re.match(r"there is no option ([^ ]+)\.", str(error))
        said = str(error).replace("normlab train", "normlab describe")
        if unknown:
            said = f"there is no option {unknown[1]}.{nearest(unknown[1], _OWN)} See normlab describe --help"
        raise UserError(said) from None


def _apart(words: Sequence[str]) -> list[str]:
    """`--against=WORD` as two words, and a quoted piece of several overrides as those."""
    found: list[str] = []
    for word in words:
        if word.startswith(f"{AGAINST}="):
            found.append(AGAINST)
            word = word.removeprefix(f"{AGAINST}=")
        pieces = word.split()
        # A value may have spaces in it: only where each piece is an override, they are several.
        several = len(pieces) > 1 and all("=" in piece.strip("=") for piece in pieces)
        found += pieces if several else [word]
    return found


def _own_flags(words: Sequence[str]) -> tuple[bool, int | None, list[str]]:
    """Whether JSON is wanted, the vocabulary, and the words that are left."""
    as_json, vocab, rest = False, None, []
    remaining = iter(words)
    for word in remaining:
        name, equals, value = word.partition("=")
        if word == _JSON:
            as_json = True
        elif name == _VOCAB:
            vocab = _tokens(value if equals else next(remaining, ""))
        else:
            rest.append(word)
    return as_json, vocab, rest


def _tokens(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"{_VOCAB} needs a number of tokens, 1 or more, as in {_VOCAB} 50257")
    return int(text)

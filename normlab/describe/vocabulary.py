"""How many tokens there are, as far as a config says it: the text itself is not read."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

from normlab.catalogue.datasets import MarkovData
from normlab.catalogue.tokenizers import FILE, TOKENIZERS
from normlab.config import DataConfig

#: Stands for the number of characters of a text that is not read: about what an English text has.
_CHARACTERS = 128
_SET = "--vocab N sets it"


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """A number of tokens, and how sure it is."""

    tokens: int
    #: Empty where it is certain.
    note: str = ""


def vocabulary(config: DataConfig, typed: int | None = None) -> Vocabulary:
    """The tokens of `config`, with the mask token of mlm, or those that the user `typed`.

    Raises:
        ConfigError: the tokenizer is not there, or its file cannot be read.
    """
    if typed is not None:
        return Vocabulary(tokens=typed, note="as --vocab says")
    said = SAYS.get(config.tokenizer, SAYS[FILE])(config)
    return replace(said, tokens=said.tokens + 1) if config.objective == "mlm" else said


def _byte(config: DataConfig) -> Vocabulary:
    from normlab.data.tokens import ByteTokenizer

    return Vocabulary(tokens=ByteTokenizer.vocab)


def _char(config: DataConfig) -> Vocabulary:
    if isinstance(config, MarkovData):
        return Vocabulary(tokens=config.symbols)
    note = f"assumed: the characters of the text are not known before it is read; {_SET}"
    return Vocabulary(tokens=_CHARACTERS, note=note)


def _bpe(config: DataConfig) -> Vocabulary:
    return Vocabulary(tokens=config.vocab_size, note=f"data.vocab_size: a small text may give fewer; {_SET}")


def _file(config: DataConfig) -> Vocabulary:
    from normlab.data.tokens import FileTokenizer, tokenizer_class

    assert tokenizer_class(config) is FileTokenizer
    no_text = cast(Any, None)  # a finished tokenizer is fitted to none
    return Vocabulary(tokens=FileTokenizer.fit(config, no_text, several=False).vocab)


#: By the rows of `TOKENIZERS`.
SAYS: dict[str, Callable[[DataConfig], Vocabulary]] = {
    "byte": _byte,
    "char": _char,
    "bpe": _bpe,
    FILE: _file,
}
assert SAYS.keys() == TOKENIZERS.keys()

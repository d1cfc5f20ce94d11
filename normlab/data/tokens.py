"""Tokenizers: text to ids and back. `catalogue/tokenizers.py` names the classes."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from normlab.catalogue.tokenizers import FILE, TOKENIZERS
from normlab.config import DataConfig
from normlab.config.row import implementation
from normlab.data.documents import pieces
from normlab.data.files import expand
from normlab.data.split import Split
from normlab.disk.untrusted import PlainDataError, read_bytes
from normlab.errors import ConfigError, nearest, require, shown

Ids = npt.NDArray[Any]

END_OF_TEXT = "<|endoftext|>"
#: Bytes of a tokenizer.json, and ids: the largest published ones have 40 MB, and a million.
_LARGEST_FILE, _MOST_IDS = 128 << 20, 1 << 22
#: What tokenizers made elsewhere call the token that ends a document.
ENDS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "[SEP]")


class Tokenizer(Protocol):
    """Ids below `vocab`; `end` is the id put after each document, or None."""

    vocab: int
    end: int | None
    #: Characters that are certain to hold a token, so that reading can stop at a number of tokens.
    reach: ClassVar[int]
    #: Whether an ASCII letter is one token, so that an entropy a letter is one a token.
    letters: ClassVar[bool]

    @classmethod
    def identity(cls, config: DataConfig) -> list[Any]:
        """What of the settings the tokens depend on, for the key of the cache."""

    @classmethod
    def fit(cls, config: DataConfig, split: Split, several: bool) -> Self:
        """Made for a text; `several`: it has more than one document."""

    @classmethod
    def load(cls, folder: Path) -> Self: ...

    def save(self, folder: Path) -> None: ...

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """One array of ids a text, without `end`."""

    def decode(self, ids: Iterable[int]) -> str: ...

    def lost(self, text: str) -> float:
        """The share of `text`, spaces aside, that no token stands for."""


def tokenizer_class(config: DataConfig) -> type[Tokenizer]:
    """The class that `data.tokenizer` means.

    Raises:
        ConfigError: neither a row of the table nor a file.
    """
    name = config.tokenizer
    if name in TOKENIZERS and name != FILE:
        return implementation(__name__, TOKENIZERS[name].module)  # type: ignore[no-any-return]
    if expand(name, "data.tokenizer").is_file():
        return FileTokenizer
    known = [row for row in TOKENIZERS if row != FILE]
    problem = f"'{name}' is not one of {', '.join(known)}, nor a file.{nearest(name, known)}"
    raise ConfigError("data.tokenizer", problem)


class ByteTokenizer:
    """The bytes of UTF-8. A byte 0 in the text reads as the end of a document."""

    vocab = 256
    end: int | None = 0
    reach: ClassVar[int] = 1
    letters: ClassVar[bool] = True

    @classmethod
    def identity(cls, config: DataConfig) -> list[Any]:
        return ["byte"]

    @classmethod
    def fit(cls, config: DataConfig, split: Split, several: bool) -> Self:
        return cls()

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls()

    def save(self, folder: Path) -> None:
        pass

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        return [np.frombuffer(text.encode(), np.uint8) for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        return bytes(int(index) for index in ids).decode(errors="replace")

    def lost(self, text: str) -> float:
        return 0.0


class CharTokenizer:
    """The characters of the whole text, sorted: one that only validation has must have an id as well."""

    reach: ClassVar[int] = 1
    letters: ClassVar[bool] = True
    FILE: ClassVar[str] = "alphabet.json"

    def __init__(self, alphabet: str, end: int | None) -> None:
        self.alphabet, self.end, self.vocab = alphabet, end, len(alphabet)
        self._codes = np.array([ord(character) for character in alphabet], np.uint32)

    @classmethod
    def identity(cls, config: DataConfig) -> list[Any]:
        return ["char"]

    @classmethod
    def fit(cls, config: DataConfig, split: Split, several: bool) -> Self:
        characters = {"\0"} if several else set()
        for text in split.all():
            characters.update(text)
        return cls("".join(sorted(characters)), 0 if several else None)

    @classmethod
    def load(cls, folder: Path) -> Self:
        state = json.loads((folder / cls.FILE).read_text("utf-8"))
        return cls(state["alphabet"], state["end"])

    def save(self, folder: Path) -> None:
        state = {"alphabet": self.alphabet, "end": self.end}
        (folder / self.FILE).write_text(json.dumps(state), "utf-8")

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        # The alphabet is sorted by code point, so an id is a place in it.
        points = [np.frombuffer(text.encode("utf-32-le"), "<u4") for text in texts]
        return [np.searchsorted(self._codes, each).astype(np.uint32) for each in points]

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(self.alphabet[int(index)] for index in ids)

    def lost(self, text: str) -> float:
        return 0.0


class FileTokenizer:
    """A tokenizer.json of HuggingFace's library; its own end-of-text token, if it has one, ends documents."""

    reach: ClassVar[int] = 8
    letters: ClassVar[bool] = False
    FILE: ClassVar[str] = "tokenizer.json"

    def __init__(self, text: str) -> None:
        from tokenizers import Tokenizer as Library

        self._text, self._library = text, Library.from_str(text)
        # What the file says for a model that takes sentences in batches: here it would cut the text off, fill
        # it up, and have the same text give other tokens each time.
        self._library.no_truncation()
        self._library.no_padding()
        for chance in ("dropout", "alpha", "nbest_size"):
            if getattr(self._library.model, chance, None) is not None:
                setattr(self._library.model, chance, None)
        ids = self._library.get_vocab(with_added_tokens=True)
        # Ids may have gaps: the embedding needs a row up to the last.
        self.vocab = max(ids.values(), default=0) + 1
        self.end: int | None = next((ids[name] for name in ENDS if name in ids), None)

    @classmethod
    def identity(cls, config: DataConfig) -> list[Any]:
        path = expand(config.tokenizer, "data.tokenizer")
        try:
            return ["file", hashlib.sha256(read_bytes(path, _LARGEST_FILE)).hexdigest()]
        except OSError as error:
            raise ConfigError("data.tokenizer", f"cannot read {path}: {error.strerror}") from error
        except PlainDataError as error:
            raise ConfigError("data.tokenizer", f"{path} {error}") from None

    @classmethod
    def fit(cls, config: DataConfig, split: Split, several: bool) -> Self:
        path = expand(config.tokenizer, "data.tokenizer")
        try:
            found = cls(read_bytes(path, _LARGEST_FILE).decode())
        except Exception as error:  # the library raises bare Exceptions
            problem = f"{path} is not a tokenizer.json of the tokenizers library: {shown(error, 300)}"
            raise ConfigError("data.tokenizer", problem) from error
        most = f"{path} has the id {found.vocab - 1:,}, and a model has a row for each up to it"
        require(found.vocab <= _MOST_IDS, "data.tokenizer", f"{most}; at most {_MOST_IDS:,} are taken")
        return found

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls((folder / cls.FILE).read_text("utf-8"))

    def save(self, folder: Path) -> None:
        (folder / self.FILE).write_text(self._text, "utf-8")

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        try:
            encodings = self._library.encode_batch(list(texts), add_special_tokens=False)
        except Exception as error:  # as in `fit`
            problem = f"the text has a word for which this tokenizer has no token: {error}"
            raise ConfigError("data.tokenizer", problem) from error
        return [np.array(encoding.ids, np.uint32) for encoding in encodings]

    def lost(self, text: str) -> float:
        written = 0
        last = 0
        for start, stop in sorted(self._library.encode(text, add_special_tokens=False).offsets):
            written += max(stop - max(start, last), 0)
            last = max(stop, last)
        # A tokenizer of words may leave out the spaces between them.
        return max(1 - written / max(len("".join(text.split())), 1), 0.0)

    def decode(self, ids: Iterable[int]) -> str:
        return str(self._library.decode([int(index) for index in ids], skip_special_tokens=False))


class BPETokenizer(FileTokenizer):
    """Byte-level byte-pair encoding, trained on the training split: any text can be written in it."""

    @classmethod
    def identity(cls, config: DataConfig) -> list[Any]:
        return ["bpe", config.vocab_size]

    @classmethod
    def fit(cls, config: DataConfig, split: Split, several: bool) -> Self:
        from tokenizers import Tokenizer as Library
        from tokenizers import decoders, models, pre_tokenizers, trainers

        library = Library(models.BPE())
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        library.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=config.vocab_size,
            special_tokens=[END_OF_TEXT],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        texts = (piece for text in split.train() for piece in pieces(text))
        library.train_from_iterator(texts, trainer)
        return cls(library.to_str())

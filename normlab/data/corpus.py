"""A text as token ids, from the cache or made for it."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from normlab.config import DataConfig
from normlab.data import cache
from normlab.data.documents import pieces
from normlab.data.floors import Floors, masked, measure
from normlab.data.sources import Source, open_source
from normlab.data.split import Split, split
from normlab.data.tokens import Tokenizer, tokenizer_class
from normlab.errors import DataError

#: Goes up when the same text and settings are to give other tokens or floors.
#: 2: what a tokenizer.json says of truncation and dropout is not heeded, linked folders are read, and a byte
#: order mark is not part of a text.
CODE_VERSION = 2
#: Goes into a corpus's key, and stays: a run can be resumed, and paired with later ones, where a newer
#: normlab still makes the same tokens of its text.
KEYED = 1
SIDES = ("train", "validation")
#: Characters encoded at a time.
BATCH = 1 << 22
#: Characters in which is looked for what the tokenizer leaves out, and the share of them that is told of.
SAMPLE, TOLD = 1 << 18, 0.001


@dataclass(frozen=True, eq=False)
class Corpus:
    """The tokens of a text, mapped from disk: [N], uint16 or uint32, ids below `vocab`.

    With data.objective=mlm `vocab` counts one token more than the tokenizer has: the mask token, whose id is
    the last. It is in no text; the model has a row of the embedding and a logit for it.
    """

    train: npt.NDArray[Any]
    validation: npt.NDArray[Any]
    vocab: int
    floors: Floors
    #: Hash of the tokens, the tokenizer and the version of this code.
    key: str
    documents: int
    tokenizer: Tokenizer
    #: The share of the text, spaces aside, that no token stands for, in the first characters of it.
    lost: float = 0.0
    #: The id of the mask token; None where the objective has none.
    mask: int | None = None

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, mask tokens as `[MASK]`."""
        if self.mask is None:
            return self.tokenizer.decode(ids)
        parts = [(hidden, list(part)) for hidden, part in groupby(ids, key=lambda index: index == self.mask)]
        return "".join(
            "[MASK]" * len(part) if hidden else self.tokenizer.decode(part) for hidden, part in parts
        )


def load_corpus(config: DataConfig, context: int) -> Corpus:
    """The tokens that `config` asks for, with at least one window of `context` + 1 tokens on each side.

    Raises:
        ConfigError, DataError: nothing to read, unreadable, empty or too short.
    """
    kind = tokenizer_class(config)
    source = open_source(config)
    request = {
        "code": CODE_VERSION,
        "source": source.request,
        "tokenizer": kind.identity(config),
        "split": [config.val_split, config.val_fraction],
        "max_tokens": config.max_tokens,
    }
    corpus = cache.fetch(
        request,
        build=lambda folder: _build(folder, config, source, kind),
        open_folder=lambda folder, meta: _open(folder, meta, kind),
    )
    _check_length(corpus, context, source.title)
    if corpus.lost > TOLD:
        cache.warn(
            f"data.tokenizer={config.tokenizer} leaves out {corpus.lost:.1%} of {source.title}: "
            "it has no token for that, nor one for what it does not know",
            cache.DataWarning,
        )
    return _with_mask_token(corpus) if config.objective == "mlm" else corpus


def _with_mask_token(corpus: Corpus) -> Corpus:
    floors = masked(corpus.floors, corpus.train, corpus.vocab)
    return replace(corpus, vocab=corpus.vocab + 1, mask=corpus.vocab, floors=floors)


def _check_length(corpus: Corpus, context: int, title: str) -> None:
    shortest = min(len(corpus.train), len(corpus.validation))
    if shortest <= context:
        raise DataError(
            f"{title} is too short: model.context={context} needs {context + 1} tokens each for training and "
            f"validation, and it has {len(corpus.train)} and {len(corpus.validation)}. Take a longer text, "
            "or change model.context, data.val_fraction or data.max_tokens"
        )


def _open(folder: Path, meta: dict[str, Any], kind: type[Tokenizer]) -> Corpus:
    train, validation = (_map(folder / f"{side}.bin", meta["dtype"]) for side in SIDES)
    tokenizer = kind.load(folder)
    return Corpus(
        train,
        validation,
        meta["vocab"],
        Floors(**meta["floors"]),
        meta["key"],
        meta["documents"],
        tokenizer,
        meta["lost"],
    )


def _map(path: Path, dtype: str) -> npt.NDArray[Any]:
    if path.stat().st_size == 0:  # which cannot be mapped
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, mode="r")


def _build(folder: Path, config: DataConfig, source: Source, kind: type[Tokenizer]) -> dict[str, Any]:
    """Read, divide, tokenize and measure the text, into `folder`; returns what is to be known of it."""
    work = folder / "work"
    limit = None if config.max_tokens is None else config.max_tokens * kind.reach
    documents = source.read(work, limit)
    if next(iter(documents.texts), None) is None:
        raise DataError(f"{source.title} is empty: there is no text in it")
    sides = split(documents, config, limit)
    count = 1 if documents.joined else sides.rows
    tokenizer = kind.fit(config, sides, count > 1)
    tokenizer.save(folder)
    dtype = "<u2" if tokenizer.vocab <= 1 << 16 else "<u4"
    _write_sides(folder, sides, tokenizer, dtype, config.max_tokens)
    lost = tokenizer.lost(_beginning(sides.train()))
    shutil.rmtree(work, ignore_errors=True)
    rate = source.entropy_rate if kind.letters else None
    return {
        "vocab": tokenizer.vocab,
        "dtype": dtype,
        "floors": measure(_map(folder / "train.bin", dtype), tokenizer.vocab, rate).as_dict(),
        "key": _key(folder, kind.identity(config)),
        "documents": count,
        "lost": lost,
        "source": source.request,
        "note": documents.note,
    }


def _beginning(texts: Iterator[str]) -> str:
    """The first characters of `texts`, about SAMPLE."""
    first: list[str] = []
    size = 0
    for text in texts:
        first.append(text[:SAMPLE])
        size += len(text)
        if size >= SAMPLE:
            break
    return "\n".join(first)


def _write_sides(
    folder: Path, sides: Split, tokenizer: Tokenizer, dtype: str, max_tokens: int | None
) -> None:
    """train.bin and validation.bin, both cut in proportion to leave `max_tokens` together."""
    paths = [folder / f"{side}.bin" for side in SIDES]
    joined = sides.documents.joined
    for path, texts in zip(paths, (sides.train(), sides.validation()), strict=True):
        _write(path, texts, tokenizer, dtype, joined)
    counts = [path.stat().st_size // np.dtype(dtype).itemsize for path in paths]
    if max_tokens is not None and sum(counts) > max_tokens:
        validation = round(max_tokens * counts[1] / sum(counts))
        for path, count in zip(paths, (max_tokens - validation, validation), strict=True):
            os.truncate(path, count * np.dtype(dtype).itemsize)


def _write(path: Path, texts: Iterator[str], tokenizer: Tokenizer, dtype: str, joined: bool) -> None:
    """The ids of `texts`, each followed by the token that ends a document, unless they are pieces of one."""
    end = [] if tokenizer.end is None or joined else [tokenizer.end]
    with path.open("wb") as file:
        for batch in _batched(texts):
            encoded = tokenizer.encode([piece for piece, _ in batch])
            for ids, (_, last) in zip(encoded, batch, strict=True):
                assert len(ids) == 0 or int(ids.max()) < tokenizer.vocab, "an id beyond the vocabulary"
                file.write(ids.astype(dtype).tobytes())
                file.write(np.array(end if last else [], dtype).tobytes())


def _batched(texts: Iterator[str]) -> Iterator[list[tuple[str, bool]]]:
    """`texts` in pieces, each with whether it is the last of its text, in lists of about BATCH characters."""
    batch: list[tuple[str, bool]] = []
    size = 0
    for text in texts:
        rest = len(text)
        for piece in pieces(text):
            rest -= len(piece)
            batch.append((piece, rest == 0))
            size += len(piece)
            if size >= BATCH:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _key(folder: Path, tokenizer: list[Any]) -> str:
    """Two corpora with the same key hold the same tokens with the same meaning, whatever `CODE_VERSION`."""
    digest = hashlib.sha256(json.dumps([KEYED, tokenizer]).encode())
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with path.open("rb") as file:
            digest.update(f"{path.name} {path.stat().st_size} ".encode())
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]

"""What a loss can be compared with: the entropies of the text itself, in nats a token."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from normlab.data.objectives import MASKED, RANDOM

Tokens = npt.NDArray[Any]
Counts = npt.NDArray[np.int64]

#: Tokens counted at a time.
CHUNK = 1 << 22
#: The largest table of pairs that is kept as a dense array; above it only the pairs that occur are kept.
DENSE = 1 << 22


@dataclass(frozen=True)
class Floors:
    """The loss of three models that have nothing to learn, and of the best possible one where it is known.

    For masked tokens see `masked`.
    """

    #: ln V: every token equally likely.
    uniform: float
    #: H(x), from the counts of the training tokens.
    unigram: float
    #: H(x_t | x_{t-1}), from the counts of the pairs. With few tokens for the vocabulary this is biased low.
    bigram: float | None
    #: The source's own, a token; only where it is known exactly.
    entropy_rate: float | None = None

    def as_dict(self) -> dict[str, float]:
        """The floors that are known, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def measure(tokens: Tokens, vocab: int, entropy_rate: float | None = None) -> Floors:
    """The floors of `tokens` [N], ids below `vocab`; 0 where there are too few tokens to count."""
    return Floors(math.log(vocab), _entropy(_counts(tokens, vocab)), _bigram(tokens, vocab), entropy_rate)


def masked(floors: Floors, tokens: Tokens, vocab: int) -> Floors:
    """The floors of predicting masked tokens (mlm), of `tokens` [N] of a tokenizer of `vocab`.

    uniform is ln(V + 1), since the mask token has a logit too. unigram is the least loss without context: of
    the best guess from what is read at the place itself, z. The mask token says nothing, H(x); any other z is
    the token itself or a random one, p(x, z) ~ p(x) ((1 - MASKED - RANDOM) [x = z] + RANDOM / V):

        unigram = MASKED * H(x) + (1 - MASKED) * H(x | z)

    which lies below H(x): a model that copies what it reads is no better for that. There is no bigram and no
    entropy rate: what is read on both sides, itself masked here and there, makes neither a bound.
    """
    counts = _counts(tokens, vocab)
    shares = counts / max(counts.sum(), 1)
    kept, random = 1 - MASKED - RANDOM, RANDOM / vocab
    same, other = shares * (kept + random), shares * random
    joint = _plogp(same) + (vocab - 1) * _plogp(other)
    unmasked = _plogp(kept * shares + random) - joint
    return Floors(math.log(vocab + 1), MASKED * floors.unigram + unmasked, None)


def _plogp(shares: npt.NDArray[np.float64]) -> float:
    """sum p ln p."""
    seen = shares[shares > 0]
    return float((seen * np.log(seen)).sum())


def _entropy(counts: Counts) -> float:
    """-sum p ln p of the shares of `counts`."""
    seen = counts[counts > 0]
    if len(seen) < 2:
        return 0.0
    shares = seen / seen.sum()
    return float(-(shares * np.log(shares)).sum())


def _counts(tokens: Tokens, vocab: int) -> Counts:
    """How often each id occurs: [vocab]."""
    counts = np.zeros(vocab, np.int64)
    for start in range(0, len(tokens), CHUNK):
        counts += np.bincount(tokens[start : start + CHUNK], minlength=vocab)
    return counts


def _bigram(tokens: Tokens, vocab: int) -> float:
    """H(x_t | x_{t-1}) = H(pair) - H(first of the pair)."""
    count = _dense_pairs if vocab * vocab <= DENSE else _sparse_pairs
    return max(0.0, _entropy(count(tokens, vocab)) - _entropy(_counts(tokens[:-1], vocab)))


def _pairs(tokens: Tokens, start: int, vocab: int) -> Counts:
    """The pairs whose first token lies in the chunk at `start`, each as first * vocab + second."""
    chunk = np.asarray(tokens[start : start + CHUNK + 1], np.int64)
    return chunk[:-1] * vocab + chunk[1:]


def _dense_pairs(tokens: Tokens, vocab: int) -> Counts:
    counts = np.zeros(vocab * vocab, np.int64)
    for start in range(0, len(tokens), CHUNK):
        counts += np.bincount(_pairs(tokens, start, vocab), minlength=vocab * vocab)
    return counts


def _sparse_pairs(tokens: Tokens, vocab: int) -> Counts:
    pairs, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for start in range(0, len(tokens), CHUNK):
        new_pairs, new_counts = np.unique(_pairs(tokens, start, vocab), return_counts=True)
        both, where = np.unique(np.concatenate([pairs, new_pairs]), return_inverse=True)
        merged = np.zeros(len(both), np.int64)
        np.add.at(merged, where, np.concatenate([counts, new_counts]))
        pairs, counts = both, merged
    return counts

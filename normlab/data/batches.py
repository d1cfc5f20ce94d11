"""Batches as a pure function of (seed, step): the same for all variants, and after a resume."""

import hashlib
import json

import numpy as np
import numpy.typing as npt

from normlab.data.corpus import Corpus

Ids = npt.NDArray[np.int64]

#: Goes up when the same (seed, step) is to give other batches.
RULE = 1
#: Steps whose offsets enter the hash of the order.
HASHED_STEPS = 64


class Batches:
    """Windows of `context` + 1 tokens: inputs are the first `context`, targets the last."""

    def __init__(self, corpus: Corpus, seed: int, batch_size: int, context: int) -> None:
        # A view without numpy's memmap class: indexing it costs half as much.
        self._train = corpus.train.view(np.ndarray)
        self._validation = corpus.validation.view(np.ndarray)
        self._seed, self._batch_size = seed, batch_size
        self._window = np.arange(context + 1)
        #: Hash of what is drawn and in which order; two runs with the same see the same batches.
        self.order = self._hash(corpus.key)

    def train(self, step: int) -> Ids:
        """The batch of `step`: [batch_size, context + 1], windows drawn anywhere in the training tokens."""
        return self._windows(self._train, self._offsets(step))

    def validation(self, count: int) -> list[Ids]:
        """`count` batches of fixed windows, evenly over the validation tokens; the same for every seed."""
        total = count * self._batch_size
        last = len(self._validation) - len(self._window)
        offsets = np.arange(total) * last // max(total - 1, 1)
        return [self._windows(self._validation, part) for part in offsets.reshape(count, self._batch_size)]

    def _offsets(self, step: int) -> Ids:
        """Where the windows of `step` begin: [batch_size]."""
        generator = np.random.PCG64(np.random.SeedSequence([self._seed, step]))
        # The raw stream of a bit generator never changes between numpy versions; `Generator`'s methods may.
        shares = (generator.random_raw(self._batch_size) >> np.uint64(11)) * 2.0**-53
        return (shares * (len(self._train) - len(self._window) + 1)).astype(np.int64)

    def _windows(self, tokens: npt.NDArray[np.generic], offsets: Ids) -> Ids:
        windows: Ids = tokens[offsets[:, None] + self._window].astype(np.int64)
        return windows

    def _hash(self, key: str) -> str:
        facts = [key, self._seed, self._batch_size, len(self._window) - 1, RULE]
        digest = hashlib.sha256(json.dumps(facts).encode())
        for step in range(HASHED_STEPS):
            digest.update(self._offsets(step).astype("<i8").tobytes())
        return digest.hexdigest()[:16]

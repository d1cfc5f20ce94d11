"""Batches as a pure function of (seed, step): the same for all variants, and after a resume."""

import hashlib
import json

import numpy as np
import numpy.typing as npt

from normlab.data.corpus import Corpus
from normlab.data.objectives import Ids, NextToken, Objective, uniform

#: Goes up when the same (seed, step) is to give other batches.
RULE = 1
#: Steps whose offsets enter the hash of the order.
HASHED_STEPS = 64
#: Streams of random numbers besides that of the offsets: what an objective draws in training, in validation.
TRAINING, VALIDATION = 1, 2


class Batches:
    """Windows of `context` + 1 tokens, and what an objective makes of them (`data/objectives.py`)."""

    def __init__(
        self, corpus: Corpus, seed: int, batch_size: int, context: int, objective: Objective | None = None
    ) -> None:
        # A view without numpy's memmap class: indexing it costs half as much.
        self._train = corpus.train.view(np.ndarray)
        self._validation = corpus.validation.view(np.ndarray)
        self._seed, self._batch_size = seed, batch_size
        self._window = np.arange(context + 1)
        self._objective = objective or NextToken()
        #: Hash of what is drawn and in which order; two runs with the same see the same batches.
        self.order = self._hash(corpus.key)

    def train(self, step: int) -> Ids:
        """The batch of `step`, of windows drawn anywhere in the training tokens.

        The windows are the same for every objective.
        """
        windows = self._windows(self._train, self._offsets(step))
        return self._objective.batch(
            windows, np.random.SeedSequence([self._seed, step], spawn_key=(TRAINING,))
        )

    def validation(self, count: int) -> list[Ids]:
        """`count` batches of fixed windows, evenly over the validation tokens; the same for every seed.

        So is what the objective draws for them.
        """
        total = count * self._batch_size
        last = len(self._validation) - len(self._window)
        offsets = np.arange(total) * last // max(total - 1, 1)
        seeds = np.random.SeedSequence(0, spawn_key=(VALIDATION,)).spawn(count)
        return [
            self._objective.batch(self._windows(self._validation, part), seed)
            for part, seed in zip(offsets.reshape(count, self._batch_size), seeds, strict=True)
        ]

    def _offsets(self, step: int) -> Ids:
        """Where the windows of `step` begin: [batch_size]."""
        generator = np.random.PCG64(np.random.SeedSequence([self._seed, step]))
        shares = uniform(generator, self._batch_size)
        return (shares * (len(self._train) - len(self._window) + 1)).astype(np.int64)

    def _windows(self, tokens: npt.NDArray[np.generic], offsets: Ids) -> Ids:
        windows: Ids = tokens[offsets[:, None] + self._window].astype(np.int64)
        return windows

    def _hash(self, key: str) -> str:
        facts = [key, self._seed, self._batch_size, len(self._window) - 1, RULE, *self._objective.facts]
        digest = hashlib.sha256(json.dumps(facts).encode())
        for step in range(HASHED_STEPS):
            digest.update(self._offsets(step).astype("<i8").tobytes())
        return digest.hexdigest()[:16]

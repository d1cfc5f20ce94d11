"""What is predicted of a window of text: the next token (clm), or tokens that are masked (mlm).

A batch is windows (B, T + 1), each token the target of those before it; or (B, 2, T), where what is read and
what is to be predicted differ: inputs, `PAD` where there is no token, then targets, `IGNORED` where nothing
is predicted.
"""

from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from normlab.config import PAD, DataConfig

Ids = npt.NDArray[np.int64]
#: Arrays of numpy or of torch.
Batch = TypeVar("Batch", bound=Any)

#: A target where nothing is predicted; torch's own, so that its cross-entropy leaves it out.
IGNORED = -100
#: Of the tokens that are predicted, the shares that the mask token and a random token stand in for; the rest
#: is read as it is (BERT, 1810.04805, section 3.1).
MASKED, RANDOM = 0.8, 0.1


def split(batch: Batch) -> tuple[Batch, Batch]:
    """Inputs (B, T) and targets (B, T) of a batch."""
    if batch.ndim == 2:
        return batch[:, :-1], batch[:, 1:]
    return batch[:, 0], batch[:, 1]


def uniform(generator: np.random.PCG64, count: int) -> npt.NDArray[np.float64]:
    """`count` numbers, even over [0, 1)."""
    # The raw stream of a bit generator never changes between numpy versions; `Generator`'s methods may.
    whole = generator.random_raw(count) >> np.uint64(11)
    return whole.astype(np.float64) * 2.0**-53


class Objective(Protocol):
    """Makes a batch of windows."""

    #: What of it decides on the batches, for the hash of their order.
    facts: list[Any]

    def batch(self, windows_BT: Ids, seed: np.random.SeedSequence, lengths_B: Ids | None = None) -> Ids:
        """The batch of windows (B, T + 1); all that it draws comes from `seed`.

        Where there are lengths, nothing beyond them is drawn; the caller pads.
        """


class NextToken:
    """Each token from those before it (clm)."""

    def __init__(self) -> None:
        self.facts: list[Any] = []

    def batch(self, windows_BT: Ids, seed: np.random.SeedSequence, lengths_B: Ids | None = None) -> Ids:
        return windows_BT


class MaskedTokens:
    """Tokens drawn from each window, which the inputs hide (mlm: BERT, 1810.04805).

    round(rate * length) tokens of a sequence, at least one, as in BERT's own code. A random token is any of
    the tokenizer's, evenly.
    """

    def __init__(self, rate: float, mask: int) -> None:
        #: The id of the mask token, and the number of the tokens below it.
        self.mask = mask
        self.rate = rate
        self.facts: list[Any] = ["mlm", rate, mask]

    def batch(self, windows_BT: Ids, seed: np.random.SeedSequence, lengths_B: Ids | None = None) -> Ids:
        text_BT = windows_BT[:, :-1]
        size, time = text_BT.shape
        lengths_B = np.full(size, time) if lengths_B is None else lengths_B
        draws = uniform(np.random.PCG64(seed), 3 * text_BT.size).reshape(3, *text_BT.shape)
        order_BT, fates_BT, others_BT = draws
        counts_B = np.maximum(1, np.rint(self.rate * lengths_B))
        order_BT = np.where(np.arange(time) < lengths_B[:, None], order_BT, 1.0)
        rank_BT = order_BT.argsort(axis=1, kind="stable").argsort(axis=1)
        chosen_BT = rank_BT < counts_B[:, None]
        inputs_BT = np.where(chosen_BT & (fates_BT < MASKED), self.mask, text_BT)
        replaced_BT = chosen_BT & (fates_BT >= MASKED) & (fates_BT < MASKED + RANDOM)
        inputs_BT = np.where(replaced_BT, (others_BT * self.mask).astype(np.int64), inputs_BT)
        return np.stack([inputs_BT, np.where(chosen_BT, text_BT, IGNORED)], axis=1)


class Padded:
    """Sequences of lengths drawn evenly from 1 to T: the first tokens of each window, then padding."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.facts: list[Any] = [*objective.facts, "padded"]

    def batch(self, windows_BT: Ids, seed: np.random.SeedSequence, lengths_B: Ids | None = None) -> Ids:
        size, time = windows_BT[:, :-1].shape
        draws = uniform(np.random.PCG64(seed.spawn(1)[0]), size)
        lengths_B = 1 + (draws * time).astype(np.int64)
        inputs_BT, targets_BT = split(self.objective.batch(windows_BT, seed, lengths_B))
        beyond_BT = np.arange(time) >= lengths_B[:, None]
        inputs_BT, targets_BT = (
            np.where(beyond_BT, filler, ids_BT)
            for filler, ids_BT in ((PAD, inputs_BT), (IGNORED, targets_BT))
        )
        return np.stack([inputs_BT, targets_BT], axis=1)


def build_objective(config: DataConfig, mask: int | None) -> Objective:
    """What `data.objective` and `data.lengths` name; `mask` is the id of the mask token, if there is one."""
    objective: Objective = NextToken() if mask is None else MaskedTokens(config.mask_rate, mask)
    return Padded(objective) if config.lengths == "padded" else objective

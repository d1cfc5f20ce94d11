"""Which text is for training and which for validation. The run's seed has no part in it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from normlab.config import DataConfig
from normlab.data.documents import Documents
from normlab.errors import require

#: Distinct documents from which `auto` splits by document.
ENOUGH = 20
#: Enters each document's hash, so that the ranks are of this rule alone.
SALT = b"normlab split 1"


@dataclass(frozen=True)
class Split:
    """The two sides of a text; a row number and a place in that row where a contiguous tail begins."""

    documents: Documents
    #: Rows in use; later ones lie beyond the limit.
    rows: int
    #: [rows] which are validation; None where a tail is.
    chosen: npt.NDArray[np.bool_] | None
    row: int = 0
    place: int = 0

    def train(self) -> Iterator[str]:
        """The training texts, in their order."""
        return self._side(validation=False)

    def validation(self) -> Iterator[str]:
        """The validation texts, in their order."""
        return self._side(validation=True)

    def all(self) -> Iterator[str]:
        """Every text in use."""
        for _, text in zip(range(self.rows), self.documents.texts, strict=False):
            yield text

    def _side(self, *, validation: bool) -> Iterator[str]:
        for index, text in enumerate(self.all()):
            if self.chosen is not None:
                part = text if self.chosen[index] == validation else ""
            elif index == self.row:
                part = text[self.place :] if validation else text[: self.place]
            else:
                part = text if (index > self.row) == validation else ""
            if part:
                yield part


def split(documents: Documents, config: DataConfig, limit: int | None) -> Split:
    """Divide the first `limit` characters (whole rows; None for all) as `config` says.

    Raises:
        ConfigError: `data.val_split=document` with only one document.
    """
    ranks, sizes = _survey(documents, limit)
    groups, group = np.unique(ranks, return_inverse=True)
    several = len(groups) > 1 and not documents.joined
    require(
        several or config.val_split != "document",
        "data.val_split",
        "document needs two different documents, and this text has not; use tail",
    )
    if config.val_split == "document" or (config.val_split == "auto" and several and len(groups) >= ENOUGH):
        chosen = _by_document(group, sizes, config.val_fraction)
        return Split(documents, len(sizes), chosen)
    row, place = _tail(sizes, config.val_fraction)
    return Split(documents, len(sizes), None, row, place)


def _survey(documents: Documents, limit: int | None) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """The rank and the characters of each row, up to the row that reaches `limit` characters."""
    ranks, sizes, total = [], [], 0
    for text in documents.texts:
        digest = hashlib.blake2b(text.encode(), digest_size=8, salt=SALT).digest()
        ranks.append(int.from_bytes(digest, "big"))
        sizes.append(len(text))
        total += len(text)
        if limit is not None and total >= limit:
            break
    return np.array(ranks, np.uint64), np.array(sizes, np.int64)


def _by_document(
    group: npt.NDArray[np.intp], sizes: npt.NDArray[np.int64], fraction: float
) -> npt.NDArray[np.bool_]:
    """Documents by the rank of their hash, until they make up `fraction` of the characters: [rows].

    Equal documents (one `group`, numbered by rank) go together, so that validation never asks what training
    holds. One that would more than double the share is passed over.
    """
    weights = np.bincount(group, weights=sizes)
    target = fraction * float(weights.sum())
    taken, so_far = [], 0.0
    for index, weight in enumerate(weights):
        if so_far >= target:
            break
        if so_far + weight <= 2 * target:
            taken.append(index)
            so_far += weight
    if not taken:
        taken = [int(weights.argmin())]
    return np.isin(group, taken)


def _tail(sizes: npt.NDArray[np.int64], fraction: float) -> tuple[int, int]:
    """Row and place where the last `fraction` of the characters begins."""
    ends = np.cumsum(sizes)
    total = int(ends[-1])
    first = min(max(total - round(total * fraction), 1), total)
    row = min(int(np.searchsorted(ends, first, side="right")), len(sizes) - 1)
    return row, first - int(ends[row] - sizes[row])

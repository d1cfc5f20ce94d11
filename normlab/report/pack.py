"""Arrays as text inside an HTML file: float32, squeezed, each only once. `js/data.js` undoes it."""

import base64
import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike


def packed(values: ArrayLike) -> str:
    """Base64 of the raw deflate stream (RFC 1951) of float32 values in rows of bytes.

    First the lowest byte of every value, then every second one and so on: signs and exponents, which hardly
    change from step to step, then stand side by side and squeeze well.
    """
    with np.errstate(over="ignore"):  # beyond float32 is infinity
        numbers = np.ascontiguousarray(values, dtype="<f4")
    return _squeezed(numbers.tobytes())


@lru_cache(maxsize=64)  # the steps of a run's metrics are mostly the same
def _squeezed(content: bytes) -> str:
    rows = np.frombuffer(content, np.uint8).reshape(-1, 4).T.tobytes()
    squeezer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return base64.b64encode(squeezer.compress(rows) + squeezer.flush()).decode()


class Pack:
    """Texts by number, equal ones under one."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def add(self, text: str) -> int:
        """The number under which the page finds `text`."""
        return self._numbers.setdefault(text, len(self._numbers))

    def __contains__(self, text: str) -> bool:
        return text in self._numbers

    @property
    def texts(self) -> Sequence[str]:
        """In the order of their numbers."""
        return list(self._numbers)

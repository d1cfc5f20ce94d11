"""Rows and runs that the figures' tests draw, and what they look at in a picture."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from written_runs import losses as losses
from written_runs import sweep as sweep
from written_runs import write as write

from normlab.figures.style import look

SITES = ("embedding", "layer_00", "layer_01", "final_norm", "head")


@pytest.fixture(autouse=True)
def _as_in_files() -> Iterator[None]:
    """Figures look as `normlab plot` makes them."""
    with look():
        yield


@pytest.fixture
def rows_of() -> Callable[..., list[dict[str, Any]]]:
    """`rows_of(steps, **more)`: a loss that falls from 5.5 and gradient norms from 0.01 to 0.05 by place."""

    def make(steps: int, **more: Any) -> list[dict[str, Any]]:
        rows = []
        for step in range(steps):
            row: dict[str, Any] = {"step": step, "loss": 5.5 - step / steps, "grad_norm/global": 9.0}
            row |= {f"grad_norm/{site}": 0.01 * (number + 1) for number, site in enumerate(SITES)}
            row["grad_norm/layer_00/attn.qkv"] = 0.5
            rows.append(row | more)
        return rows

    return make


@pytest.fixture
def count_pixels() -> Callable[..., int]:
    """`count_pixels(picture, "#FFAA00")`: how many pixels are about of this colour."""

    def count(picture: Any, colour: str, tolerance: int = 12) -> int:
        wanted = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)])
        return int((np.abs(np.asarray(picture).astype(int) - wanted).max(axis=2) <= tolerance).sum())

    return count


@pytest.fixture
def overlaps() -> Callable[..., list[tuple[str, str]]]:
    """`overlaps(figure, labels)`: the pairs of texts whose boxes overlap when the figure is drawn."""

    def find(figure: Any, labels: Any) -> list[tuple[str, str]]:
        figure.canvas.draw()
        boxes = [(text.get_text(), text.get_window_extent()) for text in labels if text.get_text()]
        # A line's box is a little higher than its letters.
        boxes = [(text, box.padded(-1.0)) for text, box in boxes]
        return [
            (text, other)
            for number, (text, box) in enumerate(boxes)
            for other, its in boxes[number + 1 :]
            if box.overlaps(its)
        ]

    return find

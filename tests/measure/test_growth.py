"""Growth exponents of signals that are known."""

import math

import pytest
import torch

from normlab.measure.growth import growth


def test_halves_and_the_whole():
    """The stream doubles in the first two blocks and triples in the other three; the gradient halves going
    down through the upper ones and keeps its size in the lower."""
    stream = torch.tensor([1, 2, 4, 12, 36, 108], dtype=torch.float64)
    gradient = torch.tensor([1, 1, 1, 2, 4, 8], dtype=torch.float64)
    assert growth(stream, gradient) == pytest.approx(
        {
            "growth/activation": math.log(108) / 5,
            "growth/activation/lower": math.log(2),
            "growth/activation/upper": math.log(3),
            "growth/gradient": -math.log(8) / 5,
            "growth/gradient/lower": 0.0,
            "growth/gradient/upper": -math.log(2),
        }
    )


def test_one_block_has_no_halves():
    assert growth(torch.tensor([1.0, math.e]), torch.tensor([1.0, 1.0])) == pytest.approx(
        {"growth/activation": 1.0, "growth/gradient": 0.0}
    )


def test_what_cannot_be_computed_is_nan():
    assert all(map(math.isnan, growth(torch.full((3,), math.nan), torch.zeros(3)).values()))

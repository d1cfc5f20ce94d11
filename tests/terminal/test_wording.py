"""Values as text, against sentences written out."""

import math

import pytest

from normlab.terminal import wording

FLOORS = {"uniform": 5.545, "unigram": 3.147, "bigram": 2.31}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0025, "0.00250"),
        (1.23e-7, "1.2e-07"),
        (34_512.0, "34.5k"),
        (4_300_000.0, "4.3M"),
        (2e9, "2G"),
        (1e30, "1.0e+30"),
        (1234.0, "1234"),
        (5.0, "5.00"),
        (0.0, "0"),
        (-2.5, "-2.50"),
        (math.nan, "NaN"),
        (-math.inf, "-inf"),
    ],
)
def test_numbers_are_short(value, text):
    assert wording.short(value) == text
    assert len(wording.short(value)) <= 8


def test_durations():
    assert [wording.duration(seconds) for seconds in (0, 7.4, 750, 11109, math.inf, math.nan)] == [
        "0:00",
        "0:07",
        "12:30",
        "3:05:09",
        "-:--",
        "-:--",
    ]


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (2.317, "0.83 nat below the unigram entropy (3.15), 0.01 nat above the bigram entropy (2.31)"),
        (3.2, "0.05 nat above the unigram entropy (3.15)"),
        (2.0, "1.15 nat below the unigram entropy (3.15), 0.31 nat below the bigram entropy (2.31)"),
        (6.0, "0.46 nat above ln V (5.54): worse than guessing"),
        (math.nan, "not finite"),
    ],
)
def test_a_loss_in_words(loss, words):
    assert wording.against(loss, FLOORS) == words


def test_a_loss_in_words_knows_the_entropy_rate_and_needs_no_floor():
    assert wording.against(1.5, {"entropy_rate": 1.25}) == "0.25 nat above the entropy rate (1.25)"
    assert wording.against(1.5, {}) == ""


def test_counts_and_lists():
    assert [wording.counted(number, "run") for number in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]
    assert [wording.listed("abcd", most) for most in (4, 3)] == ["a, b, c, d", "a, b, c and 1 more"]
    assert wording.listed([1, 2, 3], 2, "; ") == "1; 2 and 1 more" and wording.listed([], 3) == ""

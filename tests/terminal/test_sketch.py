"""Block pictures and words, against counts of eighths and sentences written out."""

import math

import pytest

from normlab.terminal import sketch

FLOORS = {"uniform": 5.545, "unigram": 3.147, "bigram": 2.31}


def height_of(lines, column):
    return sum(" ▁▂▃▄▅▆▇█".index(line[column]) for line in lines)


def test_a_curve_is_as_high_as_its_values_in_eighths():
    values = [0.0, 0.25, 0.5, 1.0, None, math.inf, 7.0, -3.0]
    lines = sketch.curve(values, height=4, low=0.0, high=1.0)
    assert [len(line) for line in lines] == [8] * 4
    assert [height_of(lines, column) for column in range(8)] == [1, 8, 16, 32, 0, 32, 32, 1]
    assert lines[0] == "   █ ██ "


def test_ascii_curves_and_bars_are_ascii():
    assert sketch.curve([0.0, 0.5, 1.0], 2, 0.0, 1.0, ascii_only=True) == ["  #", " ##"]
    assert sketch.bar(0.5, 10, ascii_only=True) == "#####"


@pytest.mark.parametrize(("share", "blocks"), [(0, "▏"), (0.5, "████▌"), (1, "█" * 9), (2, "█" * 9)])
def test_a_bar_fills_its_share(share, blocks):
    assert sketch.bar(share, 9) == blocks


def test_a_trace_holds_the_mean_of_each_stretch():
    trace = sketch.Trace(steps=1000, stretches=100)
    for step in range(500):
        trace.add(step, float(step))
    columns = trace.columns(10)
    assert columns == [49.5, 149.5, 249.5, 349.5, 449.5, None, None, None, None, None]
    # Wider than the trace is fine: each stretch is seen twice.
    assert trace.columns(200)[:4] == [4.5, 4.5, 14.5, 14.5]


def test_a_trace_shows_sparse_rows_without_gaps_and_keeps_what_is_not_finite():
    trace = sketch.Trace(steps=100)
    for step in (0, 50, 60):
        trace.add(step, 1.0 if step != 50 else math.nan)
    columns = trace.columns(10)
    assert columns == [1.0, 1.0, 1.0, 1.0, 1.0, math.inf, 1.0, None, None, None]
    trace.add(5000, 1.0)  # beyond the end: kept in the last stretch rather than lost
    assert trace.columns(10)[-1] == 1.0


@pytest.mark.parametrize("steps", [1, 7, 150, 1000])
@pytest.mark.parametrize("width", [1, 8, 32, 33, 240, 300])
def test_a_step_s_column_is_the_one_that_its_value_is_seen_in(steps, width):
    for step in {0, steps // 3, steps - 1}:
        trace = sketch.Trace(steps)
        for each in range(steps):
            trace.add(each, math.nan if each == step else 1.0)
        assert trace.columns(width)[trace.column(step, width)] == math.inf


def test_decades_hold_the_values():
    assert sketch.decades([0.002, 0.5, 0.0, math.nan, math.inf]) == (-3, 0)
    assert sketch.decades([0.1]) == (-2, -1)
    assert sketch.decades([math.nan]) == (-1, 0)


@pytest.mark.parametrize(("count", "room"), [(3, 24), (24, 24), (99, 24), (30, 2), (5, 1), (5, 0)])
def test_thinning_keeps_both_ends_in_order(count, room):
    kept = sketch.thin(count, room)
    assert len(kept) == min(count, room)
    assert kept == sorted(set(kept))
    if room >= 2:
        assert (kept[0], kept[-1]) == (0, count - 1)


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
    assert sketch.short(value) == text
    assert len(sketch.short(value)) <= 8


def test_durations():
    assert [sketch.duration(seconds) for seconds in (0, 7.4, 750, 11109, math.inf, math.nan)] == [
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
    assert sketch.against(loss, FLOORS) == words


def test_a_loss_in_words_knows_the_entropy_rate_and_needs_no_floor():
    assert sketch.against(1.5, {"entropy_rate": 1.25}) == "0.25 nat above the entropy rate (1.25)"
    assert sketch.against(1.5, {}) == ""


def test_strokes_are_dots_of_braille_from_low_to_high():
    lines = sketch.strokes([(0.0, 0.0), (0.0, 1.0), None, (1.0, 1.0), (0.5, 9.0)], height=2)
    # Two lines are eight dots high; a letter is two columns wide.
    assert lines == ["⢸⠈⡇", "⣸ ⠀".replace("⠀", " ")]
    assert sketch.strokes([(0.0, 1.0), None, None, None], 2, ascii_only=True) == ["* ", "* "]

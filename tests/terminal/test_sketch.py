"""Pictures in letters, against counts of eighths."""

import math

import pytest

from normlab.terminal import sketch


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


def test_strokes_are_dots_of_braille_from_low_to_high():
    lines = sketch.strokes([(0.0, 0.0), (0.0, 1.0), None, (1.0, 1.0), (0.5, 9.0)], height=2)
    # Two lines are eight dots high; a letter is two columns wide.
    assert lines == ["⢸⠈⡇", "⣸ ⠀".replace("⠀", " ")]
    assert sketch.strokes([(0.0, 1.0), None, None, None], 2, ascii_only=True) == ["* ", "* "]

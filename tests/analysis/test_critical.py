"""Critical rates and their slope against depth, against formulas and brute force."""

import itertools
import math

import numpy as np
import pytest

import normlab
from normlab.analysis.compare import compare
from normlab.analysis.critical import critical, scaling
from normlab.analysis.quantities import measure
from normlab.analysis.statistics import bracketed_power
from normlab.sweep.bisection import Variant

DEPTHS = [4.0, 8.0, 16.0, 48.0]


def variant(edge, factor=1.3, **knobs):
    """Tried on a grid, and stable below `edge`."""
    grid = [1e-4 * factor**step for step in range(60)]
    return Variant(knobs=knobs, outcomes={rate: ["stable" if rate < edge else "stuck"] for rate in grid})


def test_a_power_law_is_found_within_the_bounds_of_the_grid():
    for power in (-1.0, -0.5, 0.25):
        law = [variant(0.01 * depth**power, placement="pre", depth=int(depth)) for depth in DEPTHS]
        [row] = scaling(law).rows
        assert row["bounds"].low <= power <= row["bounds"].high
        assert row["slope"].value == pytest.approx(power, abs=0.1)


def test_the_bounds_are_those_of_all_rates_between_the_edges():
    rng = np.random.default_rng(0)
    for n in (2, 3, 4):
        low = np.exp(rng.normal(size=n))
        edges = [(value, value * factor) for value, factor in zip(low, 1 + rng.random(n), strict=True)]
        found = bracketed_power(DEPTHS[:n], edges)
        slopes = [
            np.polyfit(np.log(DEPTHS[:n]), np.log(corner), 1)[0] for corner in itertools.product(*edges)
        ]
        assert (found["bounds"].low, found["bounds"].high) == pytest.approx((min(slopes), max(slopes)))
        middles = [math.sqrt(a * b) for a, b in edges]
        fit, cover = np.polyfit(np.log(DEPTHS[:n]), np.log(middles), 1, cov="unscaled")
        assert found["slope"].value == pytest.approx(fit[0])
        if n == 2:
            assert found["slope"].half is None
        else:
            residuals = np.log(middles) - np.polyval(fit, np.log(DEPTHS[:n]))
            error = math.sqrt(cover[0, 0] * (residuals**2).sum() / (n - 2))
            t = {3: 12.7062, 4: 4.3027}[n]  # Student's 97.5 % points for 1 and 2 degrees
            assert found["slope"].half == pytest.approx(t * error, rel=1e-4)


def test_no_slope_where_a_rate_is_not_enclosed():
    law = [variant(0.01, depth=4), variant(1e9, depth=8), variant(1e-9, depth=16)]
    sheet = scaling(law)
    assert sheet.rows[0]["slope"] is None and sheet.rows[0]["bounds"] is None
    assert any("at depth 8, 16" in note for note in sheet.notes)


def test_the_border_is_told_with_what_was_seen_at_it_and_beyond():
    tried = {
        0.1: ["stable", "spiked"],
        0.2: ["stuck", "stable"],
        0.4: ["stable", "stable"],
        0.8: ["nonfinite"] * 2,
    }
    sheet = critical([Variant(knobs={"placement": "post"}, outcomes=tried)])
    texts = dict(zip([column.name for column in sheet.columns], sheet.texts()[0], strict=True))
    assert texts == {
        "placement": "post",
        "critical": "0.1",
        "fails": "0.2",
        "outcomes": "1 stuck, 1 stable",
    }
    assert sheet.notes == ["placement=post: not monotone: it fails at 0.2, and is stable again at 0.4"]


def test_a_lowest_rate_that_learns_nothing_is_told_from_one_that_diverges():
    slow = critical([Variant(knobs={}, outcomes={1e-4: ["untrained"], 1e-2: ["stuck"]})])
    assert slow.texts()[0][0] == "< 0.0001"
    assert len(slow.notes) == 1 and "0.0001 may be too low to learn in so few steps" in slow.notes[0]
    assert critical([Variant(knobs={}, outcomes={1e-4: ["nonfinite"]})]).notes == []


def test_a_search_that_could_not_go_on_says_so():
    sheet = critical([Variant(knobs={}, outcomes={0.1: ["stable"]}, stopped="at 0.2, 1 of 2 runs: lost")])
    assert sheet.notes == ["all runs: not at its end, at 0.2, 1 of 2 runs: lost"]
    assert sheet.texts()[0][0] == "≥ 0.1"


def test_a_comparison_of_a_grid_has_the_slope_too(tmp_path, write):
    for depth, top in ((4, 4), (8, 3), (16, 2)):
        for place in range(6):
            outcome = {"outcome": "stable" if place <= top else "exploded"}
            write(tmp_path / f"{depth}-{place}", depth=depth, optimizer__lr=1e-3 * 2**place, summary=outcome)
    sheets = {sheet.name: sheet for sheet in compare(normlab.load(tmp_path)).sheets}
    [row] = sheets["critical_depth"].records()
    assert row["slope"]["value"] == pytest.approx(-1) and row["depths"] == [4, 8, 16]
    assert row["slope"]["low"] == pytest.approx(-1) == pytest.approx(row["slope"]["high"])
    # Each may be off by half a step of 2, so the slope by the sum of |w_i| log(2) / 2.
    assert row["bounds"]["high"] - row["bounds"]["low"] == pytest.approx(1.0)


def test_a_run_that_learns_no_more_than_frequencies_has_not_trained(tmp_path, write):
    write(tmp_path / "a", 2.5, optimizer__lr=1e-3)
    write(tmp_path / "b", 9.5, optimizer__lr=1e-1)  # stable by its events; it began at 6
    write(tmp_path / "c", 3.2, optimizer__lr=1e-2)  # and the text's unigram entropy is 3.1
    sheets = {sheet.name: sheet for sheet in compare(normlab.load(tmp_path)).sheets}
    assert sheets["sensitivity"].records()[0]["critical"] == {"bound": "=", "at": 1e-3}
    assert [figures.word for figures in map(measure, normlab.load(tmp_path))] == [
        "stable",
        "untrained",
        "untrained",
    ]

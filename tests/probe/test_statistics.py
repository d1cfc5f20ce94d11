import math

import numpy as np
import pytest

from normlab.probe.statistics import log_slope, slope, summarize


@pytest.mark.parametrize(
    ("freedom", "published"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (19, 2.093), (30, 2.042), (120, 1.980)],
)
def test_the_interval_is_that_of_the_printed_tables_of_t(freedom, published):
    values = np.arange(freedom + 1.0)
    _, sd, (low, high) = summarize(values)
    assert (high - low) / 2 / (sd / math.sqrt(freedom + 1)) == pytest.approx(published, abs=6e-4)


def test_a_power_law_has_its_exponent_as_slope():
    x = [2, 4, 8, 32]
    assert log_slope(x, [3 * value**-0.535 for value in x]) == pytest.approx(-0.535, abs=1e-12)


def test_a_noisy_slope_is_that_of_least_squares():
    x, y = [2, 4, 8, 16], [1.0, 2.5, 2.4, 9.0]
    assert log_slope(x, y) == pytest.approx(np.polyfit(np.log(x), np.log(y), 1)[0], abs=1e-12)


def test_the_interval_of_three_values_by_hand():
    mean, sd, ci = summarize([1.0, 2.0, 3.0])
    assert (mean, sd) == (2.0, 1.0)
    assert ci == pytest.approx((2 - 4.3027 / math.sqrt(3), 2 + 4.3027 / math.sqrt(3)), abs=1e-4)


def row(depth, seed, value, **more):
    return {"placement": "pre", "depth": depth, "seed": seed, "q": value, **more}


GROUP = {"placement": "pre"}


def test_the_slope_is_the_mean_of_the_seeds_slopes():
    rows = [row(depth, seed, depth**power) for seed, power in enumerate((1.0, 2.0)) for depth in (4, 8, 16)]
    found = slope(GROUP, "q", rows)
    assert (found.mean, found.seeds, found.against) == (pytest.approx(1.5), 2, "depth")
    assert found.sd == pytest.approx(math.sqrt(0.5)) and found.problem == ""
    assert found.record()["ci"] == pytest.approx([1.5 - 12.7062 * 0.5, 1.5 + 12.7062 * 0.5], abs=1e-3)


def test_a_series_is_fitted_from_block_4_of_the_deepest_models():
    def series(depth, power):
        return [1e9 if block < 4 else block**power for block in range(1, depth + 1)]

    rows = [row(depth, seed, 1.0, s=series(depth, depth / 8)) for seed in (0, 1) for depth in (4, 8, 16)]
    found = slope(GROUP, "q", rows, "s")
    assert (found.mean, found.against, found.seeds) == (pytest.approx(2.0), "block", 2)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({4: 1.0}, "one depth"),
        ({4: 1.0, 8: math.nan}, "not finite at depth 8"),
        ({4: math.inf, 8: 1.0}, "not finite at depth 4"),
        ({4: 1.0, 8: 0.0}, "not above 0 at depth 8"),
        ({4: 1.0, 8: -1.0}, "not above 0 at depth 8"),
    ],
)
def test_where_there_is_no_slope_it_says_why(values, words):
    found = slope(GROUP, "q", [row(depth, seed, value) for seed in (0, 1) for depth, value in values.items()])
    assert found.mean is None and found.sd is None and found.ci is None and found.seeds == 0
    assert words in found.problem and found.record()["problem"] == found.problem


def test_a_series_too_short_says_what_it_needs():
    found = slope(GROUP, "q", [row(4, 0, 1.0, s=[1.0, 1.0, 1.0, 1.0])], "s")
    assert found.mean is None and "needs depth 5 or more" in found.problem


def test_seeds_that_cannot_be_used_are_left_out_and_counted():
    rows = [row(depth, seed, depth if seed else math.nan) for seed in (0, 1, 2) for depth in (4, 8)]
    found = slope(GROUP, "q", rows)
    assert (found.mean, found.seeds) == (pytest.approx(1.0), 2)
    assert found.problem == "1 of 3 seeds left out: not finite at depth 4"


def test_a_seed_that_was_stopped_in_the_middle_does_not_count():
    rows = [row(4, 0, 1.0), row(8, 0, 2.0), row(4, 1, 1.0)]
    found = slope(GROUP, "q", rows)
    assert (found.mean, found.sd, found.seeds, found.problem) == (
        pytest.approx(1.0),
        None,
        1,
        "one seed: no spread",
    )

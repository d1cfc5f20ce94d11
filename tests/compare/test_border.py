"""The border of training: its fit against scipy's optimizer, its interval against simulated searches."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import optimize, stats

from normlab.compare.border import Border, fit_border, slope_of_borders
from normlab.sweep.bisection import CriticalConfig, Variant, next_rate


def tried(rates, *seeds):
    """What became of each seed at each rate: T trained, F stuck, N nonfinite, U untrained."""
    words = {"T": "stable", "F": "stuck", "N": "nonfinite", "U": "untrained"}
    return {
        rate: {place: words[seed[index]] for place, seed in enumerate(seeds)}
        for index, rate in enumerate(rates)
    }


@pytest.mark.parametrize("seeds", [("TTFF", "TFTF"), ("TTFF", "TFFF")])
def test_the_fit_is_the_maximum_of_the_logistic_likelihood_and_its_interval_the_profile(seeds):
    rates = [1.0, 2.0, 4.0, 8.0]
    x, k = np.log(rates), np.array([sum(seed[index] == "T" for seed in seeds) for index in range(4)])

    def profile(border):
        def negative(log_width):
            z = (border - x) / math.exp(log_width)
            return float((k * np.logaddexp(0, -z) + (2 - k) * np.logaddexp(0, z)).sum())

        return optimize.minimize_scalar(negative, bounds=(-5, 4)).fun

    best = optimize.minimize_scalar(profile, bounds=(-3, 6))
    found = fit_border(tried(rates, *seeds))  # two seeds: the profile alone
    assert found.value == pytest.approx(math.exp(best.x), rel=0.03)
    drop = stats.chi2.ppf(0.95, 1) / 2
    for end, sign in ((found.low, -1), (found.high, 1)):
        if end is None:
            assert profile(best.x + 40 * sign) < best.fun + drop + 0.05
        else:
            assert profile(math.log(end)) == pytest.approx(best.fun + drop, abs=0.1)
            assert profile(math.log(end) + 0.1 * sign) > best.fun + drop


def test_cleanly_parted_trials_give_the_middle_and_more_seeds_a_closer_interval():
    rates = [1e-3, 2e-3, 4e-3, 8e-3]
    found = {n: fit_border(tried(rates, *["TTFF"] * n)) for n in (1, 3, 8)}
    for n, border in found.items():
        assert border.value == pytest.approx(math.sqrt(2e-3 * 4e-3), rel=0.01)
        assert (border.runs, border.seeds, border.trains, border.fails) == (4 * n, n, 2e-3, 4e-3)
    width = {n: math.log2(border.high / border.low) for n, border in found.items() if border.low}
    assert width[3] > 0.9 and width[8] <= width[3]
    assert found[1].low is None or width[1] > 2 * width[3]


def test_the_same_share_means_the_same_with_one_seed_and_with_ten():
    rates = [1.0, 2.0, 4.0]
    one, ten = (fit_border(tried(rates, *["TTF"] * n)) for n in (1, 10))
    assert one.value == pytest.approx(ten.value)
    four_of_five = fit_border(tried(rates, *["TTF"] * 4, "TFF"))
    assert four_of_five.value < one.value and four_of_five.trains == 2.0


def test_what_is_not_enclosed_has_an_open_end():
    all_train = fit_border(tried([1e-3, 1e-2], *["TT"] * 3))
    assert (all_train.value, all_train.high, all_train.trains, all_train.fails) == (None, None, 1e-2, None)
    assert all_train.low == pytest.approx(1e-2, rel=0.3)
    none_trains = fit_border(tried([1e-3, 1e-2], *["NN"] * 3))
    assert (none_trains.value, none_trains.low, none_trains.trains, none_trains.fails) == (
        None,
        None,
        None,
        1e-3,
    )


def test_rates_too_low_to_learn_are_left_out_and_those_that_break_are_not():
    rates = [1e-4, 1e-3, 1e-2, 1e-1]
    slow = fit_border(tried(rates, *["UTTN"] * 3))
    assert slow.slow == (1e-4,) and slow.value == pytest.approx(math.sqrt(1e-2 * 1e-1), rel=0.01)
    broken = fit_border(tried(rates, *["NTTN"] * 3))
    assert broken.slow == () and broken.gaps == (1e-4,)


def test_seeds_that_differ_widen_the_interval_to_students():
    rates = [2.0**step for step in range(8)]
    seeds = ["TTFFFFFF", "TTTTTTFF", "TTTTFFFF"]
    own = np.log([2**1.5, 2**5.5, 2**3.5])
    half = stats.t.ppf(0.975, 2) * stats.sem(own)
    found = fit_border(tried(rates, *seeds))
    assert (
        found.low <= math.exp(own.mean() - half) * 1.02 and found.high >= math.exp(own.mean() + half) / 1.02
    )
    assert found.low == pytest.approx(math.exp(own.mean() - half), rel=0.05)


def search(rng, true, between, steepness, seeds, slow=None):
    """A whole search for a border whose seeds differ by `between` octaves, each within `steepness`."""
    grid = CriticalConfig().grid()
    own = np.log(true) + between * math.log(2) * rng.normal(size=seeds)
    found = Variant(knobs={})
    while (rate := next_rate(grid, found.shares, 1)) is not None:
        trains = own + steepness * math.log(2) * rng.logistic(size=seeds) > math.log(rate)
        if slow is not None and rate < slow:
            found.outcomes[rate] = dict.fromkeys(range(seeds), "untrained")
        else:
            found.outcomes[rate] = {seed: "stable" if yes else "stuck" for seed, yes in enumerate(trains)}
    return fit_border(found.outcomes)


@pytest.mark.parametrize(("between", "steepness"), [(0.0, 0.3), (0.6, 0.01), (0.3, 0.2)])
def test_intervals_of_simulated_searches_hold_the_true_rate(between, steepness):
    rng, held, count = np.random.default_rng(1), 0, 60
    for _ in range(count):
        true = float(np.exp(rng.uniform(math.log(1e-3), math.log(0.2))))
        found = search(rng, true, between, steepness, 5)
        held += (found.low or 0.0) <= true <= (found.high or math.inf)
    assert held / count >= 0.93  # 0.97 to 0.99 in scripts/critical_simulation.py


def test_a_range_of_rates_that_train_is_found_though_the_lowest_learn_nothing():
    rng = np.random.default_rng(0)
    for true in (4e-3, 2e-2, 0.1):
        found = search(rng, true, 0.0, 0.001, 3, slow=true / 8)
        assert true / 2 <= found.trains <= true and found.low <= true <= found.high


def border(value, below=1.0, above=1.0, step=1.0):
    """With an interval that reaches by these factors beyond the bracket of a step of the grid."""
    bracket = (value / step**0.5, value * step**0.5)
    low, high = bracket[0] / below, bracket[1] * above
    return Border(
        value=value, low=low, high=high, bracket=bracket, runs=9, seeds=3, trains=bracket[0], fails=bracket[1]
    )


def test_the_slope_is_least_squares_and_its_interval_adds_the_grid_to_the_chance():
    depths = [4.0, 8.0, 16.0]
    law = slope_of_borders(depths, [border(0.1 / depth, below=2.0, above=3.0) for depth in depths])
    assert law.value == pytest.approx(-1)
    # Of three depths the middle one weighs nothing, the first -1 / (2 log 2) and the last as much.
    weight = 1 / (2 * math.log(2))
    half = weight * math.hypot(math.log(2.0), math.log(3.0))
    assert (law.low, law.high) == pytest.approx((-1 - half, -1 + half))
    stepped = slope_of_borders(depths, [border(0.1 / depth, step=2.0) for depth in depths])
    assert (stepped.low, stepped.high) == pytest.approx((-1.5, -0.5))  # all that a step of 2 leaves open
    assert slope_of_borders([4.0], [border(0.1)]) is None


def test_an_open_end_opens_the_slopes_and_a_border_not_enclosed_allows_none():
    depths = [4.0, 8.0, 16.0]
    steady = [border(0.05), border(0.02)]
    opened = slope_of_borders(depths, [dataclasses.replace(border(0.1), low=None), *steady])
    assert opened.high is None and opened.low is not None
    assert slope_of_borders(depths, [dataclasses.replace(border(0.1), value=None), *steady]) is None


def test_slopes_of_simulated_searches_hold_the_true_one():
    rng, held, count = np.random.default_rng(3), 0, 60
    for _ in range(count):
        power, scale = rng.uniform(-1.5, 0.0), rng.uniform(0.02, 0.2)
        depths = [4.0, 8.0, 16.0]
        found = [search(rng, scale * (depth / 4) ** power, 0.3, 0.1, 3) for depth in depths]
        slope = slope_of_borders(depths, found)
        held += slope.low is None or slope.high is None or slope.low <= power <= slope.high
    assert held / count >= 0.93

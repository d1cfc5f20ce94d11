"""Statistics against formulas written out, published values, and what is known of random numbers."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from normlab.analysis import statistics

GAPS = np.array([0.31, 0.27, 0.35, 0.30, 0.24])


def test_the_interval_of_a_mean_is_students():
    values = [2.50, 2.52, 2.49, 2.51, 2.53]
    found = statistics.mean(values)
    # t(0.975, 4) = 2.776 in the printed tables.
    half = 2.7764 * np.std(values, ddof=1) / math.sqrt(5)
    assert (found.value, found.n) == (pytest.approx(2.51), 5)
    assert (found.low, found.high) == (
        pytest.approx(2.51 - half, abs=1e-5),
        pytest.approx(2.51 + half, abs=1e-5),
    )


def test_one_value_has_no_interval_and_none_no_mean():
    assert statistics.mean([]) is None
    assert statistics.mean([2.5]) == statistics.Estimate(value=2.5, n=1)


@pytest.mark.parametrize(
    ("values", "middle"),
    [
        ([3, 1, 2], 2),
        ([1, 2, 3, 4], 2.5),
        ([1, math.inf, 2], 2),
        ([1, math.inf], math.inf),
        ([math.inf], math.inf),
    ],
)
def test_the_median_is_infinite_where_half_of_the_values_are(values, middle):
    assert statistics.median(values).value == middle


def test_a_share_has_wilsons_interval():
    z, n, share = stats.norm.ppf(0.975), 5, 0.4
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    found = statistics.rate(2, 5)
    assert (found.value, found.low, found.high) == pytest.approx((share, centre - half, centre + half))


def test_a_difference_is_tested_by_the_paired_t_test():
    this, that = 2.5 + GAPS, np.full(5, 2.5)
    found = statistics.difference(this, that, margin=0.02)
    t = GAPS.mean() / (GAPS.std(ddof=1) / math.sqrt(5))
    assert found.p == pytest.approx(2 * stats.t.sf(t, 4))
    assert found.p == pytest.approx(stats.ttest_rel(this, that).pvalue)
    assert (found.mean.value, found.mean.n) == (pytest.approx(GAPS.mean()), 5)


def test_the_bootstrap_interval_is_of_the_mean_and_the_same_every_time():
    found = [statistics.difference(GAPS, np.zeros(5), margin=0.02).mean for _ in range(2)]
    assert found[0] == found[1]
    draws = np.random.default_rng(1).choice(GAPS, (20_000, 5)).mean(axis=1)
    assert (found[0].low, found[0].high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.006)


@pytest.mark.parametrize(("mean", "expected"), [(0.0, True), (0.012, True), (0.019, False), (0.05, False)])
def test_parity_is_the_worse_of_two_one_sided_tests(mean, expected):
    gaps = mean + np.array([-0.004, 0.004, -0.002, 0.002, 0.0])
    error = gaps.std(ddof=1) / math.sqrt(5)
    above, below = (gaps.mean() + 0.02) / error, (gaps.mean() - 0.02) / error
    p = statistics.tost(gaps, 0.02)
    assert p == pytest.approx(max(stats.t.sf(above, 4), stats.t.cdf(below, 4)))
    assert (p < 0.05) is expected


def test_no_spread_is_certain_either_way():
    same, shifted = np.zeros(3), np.full(3, 0.5)
    assert (statistics.paired_t(same), statistics.tost(same, 0.02)) == (1, 0)
    assert (statistics.paired_t(shifted), statistics.tost(shifted, 0.02)) == (0, 1)
    found = statistics.difference([2.5] * 3, [2.0] * 3, margin=0.02)
    assert (found.mean.low, found.mean.high, found.effect) == (0.5, 0.5, None)


def test_one_pair_is_a_difference_and_no_test():
    found = statistics.difference([2.5], [2.25], margin=0.02)
    assert (found.mean.value, found.effect, found.p, found.p_parity) == (0.25, None, None, None)
    assert statistics.difference([], [], margin=0.02) is None


@pytest.mark.parametrize(("freedom", "factor"), [(2, 0.5642), (4, 0.7979), (10, 0.9228), (20, 0.9619)])
def test_hedges_factor_has_its_published_values(freedom, factor):
    """J of Hedges 1981, table 1."""
    gaps = np.arange(freedom + 1.0)
    assert statistics.effect_size(gaps) / (gaps.mean() / gaps.std(ddof=1)) == pytest.approx(factor, abs=6e-4)


def test_the_effect_size_is_unbiased():
    draws = np.random.default_rng(0).normal(0.8, 1, (20_000, 5))
    assert np.mean([statistics.effect_size(gaps) for gaps in draws]) == pytest.approx(0.8, abs=0.015)


def test_without_a_difference_one_test_in_twenty_finds_one():
    draws = np.random.default_rng(0).normal(0, 1, (2500, 5))
    share = np.mean([statistics.paired_t(gaps) < 0.05 for gaps in draws])
    assert share == pytest.approx(0.05, abs=0.0131)  # three standard errors


def test_the_t_test_agrees_with_flipping_the_pairs():
    gaps = np.random.default_rng(0).normal(0.5, 1, 14)
    flips = np.array(list(itertools.product([-1, 1], repeat=14)))
    as_extreme = np.abs((flips * gaps).mean(axis=1)) >= abs(gaps.mean()) - 1e-12
    assert statistics.paired_t(gaps) == pytest.approx(as_extreme.mean(), abs=0.01)


def test_holm_by_hand():
    # Sorted .01 .03 .04: times 3, 2, 1, and never falling.
    assert statistics.holm([0.01, None, 0.04, 0.03]) == [
        pytest.approx(0.03),
        None,
        *[pytest.approx(0.06)] * 2,
    ]
    assert statistics.holm([]) == [] and statistics.holm([None]) == [None]


def test_fisher_by_hand():
    # 3 of 3 against none of 3: two of the 20 ways to choose 3 of 6 are as extreme.
    assert statistics.fisher(3, 3, 0, 3) == pytest.approx(2 / 20)
    # The lady tasting tea (Fisher 1935), 3 of 4 right: 2 * (16 + 1) / 70.
    assert statistics.fisher(3, 4, 1, 4) == pytest.approx(34 / 70)

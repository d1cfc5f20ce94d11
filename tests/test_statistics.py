"""Statistics against formulas written out, published values, and what is known of random numbers."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from normlab import statistics

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
        ([-1e308, -1e308], -math.inf),  # without a warning
        ([-1.5e308, 1.5e308], 0),
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


def test_the_interval_of_a_difference_is_students():
    found = statistics.difference(2.5 + GAPS, np.full(5, 2.5), margin=0.02)
    assert (found.mean.low, found.mean.high) == pytest.approx(
        stats.ttest_1samp(GAPS, 0).confidence_interval()
    )
    assert found.deviation == pytest.approx(GAPS.std(ddof=1))


@pytest.mark.parametrize(("mean", "expected"), [(0.0, True), (0.012, True), (0.019, False), (0.05, False)])
def test_parity_is_the_worse_of_two_one_sided_tests(mean, expected):
    gaps = mean + np.array([-0.004, 0.004, -0.002, 0.002, 0.0])
    error = gaps.std(ddof=1) / math.sqrt(5)
    above, below = (gaps.mean() + 0.02) / error, (gaps.mean() - 0.02) / error
    p = statistics.tost(gaps, 0.02)
    assert p == pytest.approx(max(stats.t.sf(above, 4), stats.t.cdf(below, 4)))
    assert (p < 0.05) is expected


@pytest.mark.parametrize("that", [(2.5, 2.52, 2.49), (2.0, 2.02, 1.99)])
def test_differences_that_are_all_equal_are_not_tested(that):
    found = statistics.difference([2.5, 2.52, 2.49], that, margin=0.02)
    assert (found.mean.low, found.effect, found.p, found.p_parity) == (None, None, None, None)
    assert found.mean.value == pytest.approx(2.5 - that[0]) and not found.spreads


def test_two_pairs_are_a_difference_and_no_test():
    found = statistics.difference([2.5, 2.6], [2.25, 2.4], margin=0.02)
    assert (found.mean.value, found.mean.n) == (pytest.approx(0.225), 2)
    assert (found.mean.low, found.effect, found.p, found.p_parity) == (None, None, None, None)


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


@pytest.mark.parametrize("n", [6, 9])
def test_flipping_signs_is_every_way_to_choose_them(n):
    gaps = np.random.default_rng(n).normal(0.5, 1, n)
    flips = np.array(list(itertools.product([-1, 1], repeat=n)))
    expected = np.mean(np.abs((flips * gaps).mean(axis=1)) >= abs(gaps.mean()) - 1e-12)
    assert statistics.sign_flip(gaps) == pytest.approx(expected)


def test_flipping_signs_needs_six_pairs_and_draws_them_beyond_fourteen():
    assert statistics.difference(GAPS, np.zeros(5), margin=0.02).p_flip is None
    assert statistics.difference([*GAPS, 0.3], np.zeros(6), margin=0.02).p_flip == 2 / 2**6
    gaps = np.random.default_rng(0).normal(0.4, 1, 16)
    bits = np.arange(2**16)[:, None] >> np.arange(16) & 1
    every = np.mean(np.abs((1 - 2 * bits) @ gaps) >= abs(gaps.sum()) - 1e-12)
    # Of 9,999 draws: three standard errors.
    assert statistics.sign_flip(gaps) == pytest.approx(every, abs=3 * math.sqrt(every / 9999))
    assert statistics.sign_flip(gaps) == statistics.sign_flip(gaps)


def test_mcnemar_is_a_binomial_test_of_the_pairs_that_differ():
    for this, that in ((0, 0), (5, 0), (0, 6), (2, 2), (7, 1)):
        expected = stats.binomtest(this, this + that).pvalue if this + that else 1.0
        assert statistics.mcnemar(this, that) == pytest.approx(expected)


def times(*values):
    """Times; one that is negative did not come in so long."""
    return [statistics.Time(value=abs(value), happened=value > 0) for value in values]


def test_log_rank_is_the_statistic_by_hand_over_every_choice():
    # By hand: at 1, 3 and 4 one of 4, 2 and 1 comes; at 2 one is lost sight of.
    # Scores: 1 - 1/4, 0 - 1/4, 1 - 1/4 - 1/2, 1 - 1/4 - 1/2 - 1.
    scores = np.array([0.75, -0.25, 0.25, -0.75])
    sums = [abs(scores[list(pair)].sum()) for pair in itertools.combinations(range(4), 2)]
    expected = np.mean(np.array(sums) >= abs(scores[[0, 1]].sum()) - 1e-12)
    assert statistics.log_rank(times(1, -2), times(3, 4)) == pytest.approx(expected)


def test_log_rank_nears_scipys_with_many():
    draws = np.random.default_rng(0)
    this, that = draws.exponential(1, 40), draws.exponential(1.6, 40)
    kept = [np.where(each < 1.5, each, -1.5) for each in (this, that)]
    censored = [stats.CensoredData.right_censored(np.abs(each), each < 0) for each in kept]
    expected = stats.logrank(*censored).pvalue
    assert statistics.log_rank(times(*kept[0]), times(*kept[1])) == pytest.approx(expected, abs=0.01)


def test_log_rank_of_what_never_or_always_comes_at_once_is_no_test():
    assert statistics.log_rank(times(-9, -9, -9), times(-9, -9, -9)) is None
    assert statistics.log_rank(times(5, 5, 5), times(5, 5, 5)) is None


def test_the_seeds_that_parity_needs_are_enough_and_no_fewer():
    n = statistics.seeds_for_parity(0.03, 0.02)
    draws = np.random.default_rng(0).normal(0, 0.03, (1500, n))
    error = 3 * math.sqrt(0.8 * 0.2 / 1500)
    found = np.mean([statistics.tost(gaps, 0.02) < 0.05 for gaps in draws])
    less = np.mean([statistics.tost(gaps[:-1], 0.02) < 0.05 for gaps in draws])
    assert found >= 0.8 - error and less <= 0.8 + error
    assert statistics.seeds_for_parity(0.3, 0.002) is None


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

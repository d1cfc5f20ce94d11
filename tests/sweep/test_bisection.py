"""The search, against trying every rate."""

import itertools

import pytest

from normlab.errors import ConfigError
from normlab.sweep.bisection import CriticalConfig, next_rate


def search(grid, share, check):
    """What a search tries, in order, where `share` says which part of the runs trains at each rate."""
    shares = {}
    while (rate := next_rate(grid, shares, check)) is not None:
        assert rate not in shares, "tried twice"
        shares[rate] = float(share(rate))
    return shares


def highest(shares):
    return max((rate for rate, share in shares.items() if share >= 0.5), default=None)


@pytest.mark.parametrize("count", range(2, 18))
@pytest.mark.parametrize("check", [0, 1, 2])
def test_it_finds_the_border_that_trying_all_finds(count, check):
    grid = [2.0**step for step in range(count)]
    for trained in range(1, count + 1):
        tried = search(grid, lambda rate, top=trained: rate < 2.0**top, check)
        assert highest(tried) == 2.0 ** (trained - 1)
        assert 2.0**trained in tried or trained == count
        # A coarse grid in steps of 8 from the top, two halvings of a step, and `check` on either side.
        assert len(tried) <= -(-(count - trained) // 3) + 1 + 2 + 2 * check


def test_it_begins_at_the_highest_rate_and_goes_down_in_steps_of_8():
    grid = [2.0**step for step in range(14)]
    tried = list(search(grid, lambda rate: rate <= 16.0, 1))
    assert tried[:4] == [2.0**13, 2.0**10, 2.0**7, 2.0**4]


def test_a_range_that_trains_is_found_wherever_it_lies():
    grid = [2.0**step for step in range(14)]
    for low in range(12):
        for width in (3, 4, 6):
            top = min(low + width, 14)
            tried = search(grid, lambda rate, a=low, b=top: 2.0**a <= rate < 2.0**b, 1)
            assert highest(tried) == 2.0 ** (top - 1)


def test_where_no_rate_trains_every_octave_is_tried():
    grid = [2.0**step for step in range(14)]
    assert set(search(grid, lambda rate: 0, 1)) == set(grid)
    fine = [1.2**step for step in range(50)]
    assert len(search(fine, lambda rate: 0, 1)) < 20


def test_seeds_that_disagree_are_followed_outward():
    grid = [2.0**step for step in range(14)]
    shares = {2.0**5: 0.6, 2.0**4: 0.8, 2.0**3: 1.0, 2.0**6: 0.4, 2.0**7: 0.2, 2.0**8: 0.0}
    tried = search(grid, lambda rate: shares.get(rate, rate < 2.0**3), 1)
    assert set(shares) <= set(tried)


def test_whatever_trains_a_search_ends_at_a_border():
    grid = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    for pattern in itertools.product([1.0, 0.0], repeat=len(grid)):
        truth = dict(zip(grid, pattern, strict=True))
        tried = search(grid, truth.__getitem__, 1)
        found = highest(tried)
        if found is None:
            assert not any(pattern) and set(tried) == set(grid)
        else:
            assert found == 32.0 or tried[2 * found] == 0.0


def test_the_grid_is_logarithmic_and_ends_at_the_highest():
    grid = CriticalConfig(lowest=1e-4, highest=1e-1, factor=10**0.5).grid()
    assert grid == pytest.approx([1e-4 * 10 ** (step / 2) for step in range(7)], rel=1e-4)
    assert CriticalConfig(lowest=1e-3, highest=7e-3, factor=2).grid() == [0.001, 0.002, 0.004]


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"lowest": 0.0}, "critical.lowest"),
        ({"highest": float("inf")}, "critical.highest"),
        ({"factor": 1.0}, "critical.factor"),
        ({"factor": 1.0001}, "critical.factor: makes"),
        ({"lowest": 0.1, "highest": 0.15}, "critical.highest"),
        ({"check": -1}, "critical.check"),
        ({"check": 10**6}, "critical.check"),
    ],
)
def test_what_is_no_grid(settings, key):
    with pytest.raises(ConfigError, match=key):
        CriticalConfig(**settings)

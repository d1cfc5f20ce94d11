"""The search, against trying every rate."""

import itertools
import math

import pytest

from normlab.errors import ConfigError
from normlab.stability import border
from normlab.sweep.bisection import CriticalConfig, next_rate


def search(grid, trains, check):
    """What a search tries, in order, where `trains` says what becomes of each rate."""
    stable = {}
    while (rate := next_rate(grid, stable, check)) is not None:
        assert rate not in stable, "tried twice"
        stable[rate] = trains(rate)
    return stable


@pytest.mark.parametrize("count", range(2, 18))
@pytest.mark.parametrize("check", [0, 1, 2])
def test_it_finds_the_border_that_trying_all_finds(count, check):
    grid = [2.0**step for step in range(count)]
    for trained in range(count + 1):
        tried = search(grid, lambda rate, top=trained: rate < 2.0**top, check)
        every = {rate: rate < 2.0**trained for rate in grid}
        assert border(tried) == border(every)
        assert len(tried) <= math.ceil(math.log2(count + 1)) + 2 * check


def test_rates_beyond_the_border_tell_what_is_not_monotone():
    grid = [1.0, 2.0, 4.0, 8.0, 16.0]
    above = search(grid, lambda rate: rate in (1.0, 8.0), 1)
    assert border(above).at == 1.0 and border(above).fails == 2.0 and above[4.0] is False
    assert 8.0 not in search(grid, lambda rate: rate in (1.0, 8.0), 0) and 8.0 not in above
    assert border(search(grid, lambda rate: rate in (1.0, 8.0), 2)).above == (8.0,)
    # An unstable rate below moves the border, and the search goes on from there.
    below = search(grid, lambda rate: rate != 2.0, 3)
    assert border(below).at == 1.0 and border(below).fails == 2.0 and border(below).above == (4.0, 8.0, 16.0)


def test_whatever_trains_a_search_ends_and_tells_what_it_tried():
    grid = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    for pattern in itertools.product([True, False], repeat=len(grid)):
        truth = dict(zip(grid, pattern, strict=True))
        tried = search(grid, truth.__getitem__, 1)
        found = border(tried)
        places = sorted(map(grid.index, (found.at, found.fails or found.at)))
        assert places[1] - places[0] <= 1  # neighbours on the grid
        # With every rate within reach looked at, nothing is hidden.
        assert border(search(grid, truth.__getitem__, len(grid))) == border(truth)


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
    ],
)
def test_what_is_no_grid(settings, key):
    with pytest.raises(ConfigError, match=key):
        CriticalConfig(**settings)

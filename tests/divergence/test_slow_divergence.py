"""A loss that creeps up: seen after a hundred steps, and not where it is noise, a spike or a slow start."""

import math
import random
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest

from normlab.config import SlowDivergenceConfig
from normlab.divergence import Event, outcome

Fold = Callable[..., list[Event]]
Curve = Callable[..., list[float]]
#: The level over the long window alone.
LONG = SlowDivergenceConfig(hump=1e9)


def slow(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if event.kind == "slow_divergence"]


def noisy(levels: Sequence[float], sigma: float = 0.05, seed: int = 0) -> list[float]:
    noise = random.Random(seed)
    return [level + noise.gauss(0, sigma) for level in levels]


def line(*points: tuple[int, float]) -> list[float]:
    """The losses on straight lines through (step, loss)."""
    values: list[float] = []
    for (a, start), (b, end) in pairwise(points):
        values += [start + (end - start) * (t - a) / (b - a) for t in range(a, b)]
    return values


def brute(losses: Sequence[float], settings: SlowDivergenceConfig) -> int | None:
    """The first row at which the definition holds, from numpy and the whole past."""
    levels, above = {}, 0
    for t in range(settings.window - 1, len(losses)):
        recent = np.array(losses[t - settings.window + 1 : t + 1])
        levels[t] = float(np.median(recent))
        steps = np.diff(recent)
        scatter = 1.4826 / math.sqrt(2) * float(np.median(np.abs(steps - np.median(steps))))
        error = math.sqrt(math.pi / 2) * scatter / math.sqrt(settings.window)
        rise = levels[t] - min(levels.values())
        above = above + 1 if rise > max(settings.margin, settings.z * error) else 0
        if above >= settings.steps:
            return t
    return None


@pytest.mark.parametrize("rise", [0.0005, 0.002, 0.02])
@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.3])
def test_a_rise_is_seen_where_the_definition_says(fold: Fold, rise: float, sigma: float) -> None:
    losses = noisy(line((0, 5.0), (100, 2.0), (800, 2.0 + 700 * rise)), sigma)
    found = slow(fold(losses, slow_divergence=LONG))
    assert (found[0].step if found else None) == brute(losses, LONG)
    assert found or rise < 0.002, "nothing was seen"


def test_the_event_says_how_far_from_which_best(fold: Fold) -> None:
    losses = noisy(line((0, 5.0), (100, 2.0), (300, 2.0), (500, 3.0), (600, 3.0)), 0.01)
    (event,) = slow(fold(losses, slow_divergence=LONG))
    assert event.metric == "loss" and 340 < event.step < 395
    assert 2.09 < event.threshold < 2.15
    assert event.value == pytest.approx(float(np.median(losses[event.step - 49 : event.step + 1])))
    assert event.end is None and "its best was 1.99" in event.message
    assert outcome([event]) == "exploded"


@pytest.mark.parametrize("seed", range(6))
def test_a_healthy_curve_gives_nothing(fold: Fold, curve: Curve, seed: int) -> None:
    assert slow(fold(curve(seed, 2000, 0.15))) == []


@pytest.mark.parametrize("seed", range(6))
def test_a_level_that_stays_gives_nothing_however_noisy(fold: Fold, seed: int) -> None:
    assert slow(fold(noisy([2.0] * 2000, 0.5, seed))) == []
    heavy = np.random.default_rng(seed).standard_t(2.0, 2000) * 0.2
    assert slow(fold(list(2.0 + heavy))) == []


def test_spikes_and_short_humps_give_nothing(fold: Fold) -> None:
    losses = noisy([2.0] * 600)
    for t in range(200, 600, 20):
        losses[t : t + 8] = [30.0] * 8  # two rows in five: the median does not move so far
    assert slow(fold(losses)) == []
    hump = noisy([2.0] * 200 + [3.0] * 14 + [2.0] * 200)
    assert slow(fold(hump)) == []
    assert len(slow(fold(hump, slow_divergence=SlowDivergenceConfig(short=10)))) == 1


@pytest.mark.parametrize("width", [20, 50, 100])
@pytest.mark.parametrize("sigma", [0.05, 0.12])
def test_a_hump_is_found_and_said_to_be_over(fold: Fold, width: int, sigma: float) -> None:
    """1.5 nat up within `width` steps and down again."""
    for seed in range(5):
        losses = noisy(
            line((0, 5.5), (60, 2.2), (200, 2.2), (200 + width, 3.7), (200 + 2 * width, 2.2)), sigma, seed
        )
        losses += noisy([2.2] * 100, sigma, seed)
        (event,) = slow(fold(losses))
        assert 200 < event.step < 200 + 2 * width and event.recovered
        assert outcome([event]) == "spiked"


def test_it_is_over_when_half_of_the_rise_is_lost(fold: Fold) -> None:
    losses = noisy(line((0, 2.0), (100, 2.0), (200, 3.0), (400, 3.0), (500, 2.0), (600, 2.0)), 0.001)
    (event,) = slow(fold(losses))
    assert event.recovered and event.end is not None
    # The median of 50 values of a line lags by 24.5 of them; the level to reach is 2.05.
    assert event.end == pytest.approx(400 + 95 + 24.5, abs=2)
    assert outcome([event]) == "spiked"


def test_a_second_rise_is_a_second_event(fold: Fold) -> None:
    losses = noisy((([2.0] * 200) + [3.0] * 200) * 2)
    assert [event.recovered for event in slow(fold(losses))] == [True, None]


def test_a_nan_is_passed_over(fold: Fold) -> None:
    losses = noisy([2.0] * 100 + [3.0] * 200)
    spoilt = [*losses[:150], math.nan, *losses[150:]]
    assert slow(fold(spoilt))[0].step == slow(fold(losses))[0].step
    assert slow(fold([math.nan] * 300)) == []


def test_settings_reach_it(fold: Fold) -> None:
    losses = noisy([2.0] * 100 + [2.15] * 300, 0.01)
    assert len(slow(fold(losses))) == 1
    for settings in (
        SlowDivergenceConfig(margin=0.2),
        SlowDivergenceConfig(z=200),
        SlowDivergenceConfig(steps=400),
        SlowDivergenceConfig(window=390),
    ):
        assert slow(fold(losses, slow_divergence=settings)) == []


def test_numbers_at_the_edge_of_floats(fold: Fold) -> None:
    assert len(slow(fold([2.0] * 60 + [1e308] * 200))) == 1

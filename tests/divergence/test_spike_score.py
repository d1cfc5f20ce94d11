"""The published spike scores against numpy, which computes each window anew."""

import math
import random

import numpy as np
import pytest

from normlab.divergence import SpikeScores
from normlab.divergence.spike_score import DEFINITIONS, Definition, spike_score
from normlab.divergence.window import Window

OLMO2, CORE = DEFINITIONS
SMALL = Definition(name="small", sigma=3.0, window=20, both_sides=True, source="")


def brute(values: list[float], definition: Definition) -> list[int]:
    """The places of the spikes, straight from the definition."""
    series = np.array([value for value in values if math.isfinite(value)])
    found = []
    for at in range(definition.window, len(series)):
        before = series[at - definition.window : at]
        away, limit = series[at] - before.mean(), definition.sigma * before.std()
        if before.std() >= 1e-10 and (abs(away) >= limit if definition.both_sides else away > limit):
            found.append(at)
    return found


def series(seed: int, length: int, heavy: float = 2.2) -> list[float]:
    """Student's t about a falling line: spikes on both sides."""
    noise = np.random.default_rng(seed)
    return list(4 - 0.0005 * np.arange(length) + 0.05 * noise.standard_t(heavy, length))


@pytest.mark.parametrize("definition", [*DEFINITIONS, SMALL], ids=lambda definition: definition.name)
@pytest.mark.parametrize("seed", range(3))
def test_a_score_is_the_percentage_of_values_that_brute_force_finds(
    definition: Definition, seed: int
) -> None:
    values = series(seed, 2500)
    found = brute(values, definition)
    assert found, "the series tests nothing"
    assert spike_score(values, definition) == pytest.approx(100 * len(found) / 2500, rel=1e-12)


def test_the_definitions_are_the_published_ones() -> None:
    assert [definition.name for definition in DEFINITIONS] == [
        "spike_score/olmo2_7sigma_1000",
        "spike_score/6sigma_128",
    ]
    assert (OLMO2.sigma, OLMO2.window, OLMO2.both_sides) == (7.0, 1000, True)
    assert (CORE.sigma, CORE.window, CORE.both_sides) == (6.0, 128, False)


def alternating(length: int) -> list[float]:
    """Mean 2, standard deviation 1 in any even window."""
    return [1.0, 3.0] * (length // 2)


@pytest.mark.parametrize(("value", "counts"), [(9.0, True), (8.99, False), (-5.0, True), (-4.99, False)])
def test_olmo2_counts_both_sides_and_seven_sigma_itself(value: float, counts: bool) -> None:
    assert spike_score([*alternating(1000), value], OLMO2) == (100 / 1001 if counts else 0.0)


@pytest.mark.parametrize(("value", "counts"), [(7.99, False), (8.01, True), (-50.0, False)])
def test_six_sigma_counts_what_is_above(value: float, counts: bool) -> None:
    assert spike_score([*alternating(128), value], CORE) == (100 / 129 if counts else 0.0)


def test_a_series_of_one_window_has_no_score() -> None:
    assert spike_score(alternating(128), CORE) is None
    assert spike_score([], OLMO2) is None
    assert spike_score([2.0] * 400, CORE) == 0.0


def test_what_is_not_finite_is_left_out() -> None:
    values = series(0, 600)
    spoilt = [*values[:300], math.nan, math.inf, *values[300:]]
    assert spike_score(spoilt, CORE) == spike_score(values, CORE)


def test_steps_with_either_spike_count_once_each() -> None:
    scores = SpikeScores()
    losses, norms = alternating(140), alternating(140)
    losses[130], norms[130], norms[135] = 99.0, 99.0, 9e9
    for loss, norm in zip(losses, norms, strict=True):
        scores.take(loss, norm)
    name, figures = CORE.name, scores.figures()
    assert figures[f"{name}/loss"] == pytest.approx(100 / 140)
    assert figures[f"{name}/grad_norm"] == figures[name] == pytest.approx(200 / 140)
    assert figures[OLMO2.name] is None and figures[f"{OLMO2.name}/loss"] is None


def test_a_series_that_is_missing_leaves_the_other_alone() -> None:
    scores = SpikeScores()
    values = series(1, 400)
    for value in values:
        scores.take(value, math.nan)
    figures = scores.figures()
    assert figures[CORE.name] == figures[f"{CORE.name}/loss"] == spike_score(values, CORE)
    assert figures[f"{CORE.name}/grad_norm"] is None


@pytest.mark.parametrize("size", [1, 2, 7, 128])
def test_a_window_knows_mean_and_deviation_of_its_values(size: int) -> None:
    noise, values, window = random.Random(size), [], Window(size)
    for _ in range(4 * size + 3):
        values.append(noise.gauss(5, 2))
        window.push(values[-1])
        last = np.array(values[-size:])
        assert len(window) == len(last)
        assert window.moments().mean == pytest.approx(last.mean(), rel=1e-12)
        assert window.moments().deviation == pytest.approx(last.std(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("huge", [1e30, 1e308, -1e308])
def test_a_huge_value_leaves_no_trace_when_it_leaves(huge: float) -> None:
    """Running sums would keep only the digits that 1e60 has left of 1."""
    window, noise = Window(50), random.Random(0)
    values = [noise.random() for _ in range(120)]
    values[40:42] = [huge, -huge]
    for value in values:
        window.push(value)
    last = np.array(values[-50:])
    assert window.moments().deviation == pytest.approx(last.std(), rel=1e-12)

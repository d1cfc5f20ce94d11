"""Explosion, plateau and vanishing gradients: the detectors that wait before they speak."""

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from normlab.config import ExplosionConfig, PlateauConfig, VanishingConfig
from normlab.divergence import Event, Watch, outcome

Fold = Callable[..., list[Event]]


def kinds(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event.kind == kind]


def noisy(levels: list[float], sigma: float = 0.1, seed: int = 0) -> list[float]:
    noise = random.Random(seed)
    return [level + noise.gauss(0, sigma) for level in levels]


def test_explosion_fires_after_so_many_steps_above_the_start(fold: Fold) -> None:
    losses = [5.0] + [4.0] * 9 + [5.2] * 60 + [5.05] * 10 + [4.9] * 10
    (event,) = kinds(fold(losses), "explosion")
    assert (event.step, event.metric, event.value) == (59, "loss", 5.2)
    assert event.threshold == pytest.approx(5.1)
    assert (event.end, event.recovered, event.recovery_steps) == (80, True, 21)
    assert "50 consecutive steps" in event.message


def test_only_steps_on_end_make_an_explosion(fold: Fold) -> None:
    assert kinds(fold([5.0] + ([6.0] * 49 + [5.05]) * 4), "explosion") == []


def test_a_hump_is_no_explosion(fold: Fold) -> None:
    losses = noisy([5.0] * 3 + [9.0] * 30 + [3.1] * 200, 0.01)
    assert kinds(fold(losses), "explosion") == []
    assert len(kinds(fold(losses, explosion=ExplosionConfig(steps=20)), "explosion")) == 1


def test_the_start_is_the_first_finite_loss_and_a_nan_breaks_no_row_of_steps(fold: Fold) -> None:
    losses = [math.nan, 5.0] + [9.0] * 30 + [math.nan] * 5 + [9.0] * 30
    (event,) = kinds(fold(losses), "explosion")
    assert event.step == 2 + 50 + 5 - 1


def test_a_second_explosion_is_a_second_event(fold: Fold) -> None:
    losses = [5.0] + [7.0] * 60 + [4.0] + [7.0] * 60
    assert [event.step for event in kinds(fold(losses), "explosion")] == [50, 111]


@pytest.mark.parametrize(("steps", "first"), [(8, None), (24, 12), (90, 45), (3000, None)])
def test_a_short_run_has_exploded_once_half_of_it_is_above_the_start(
    fold: Fold, steps: int, first: int | None
) -> None:
    losses = [5.0, *[9.0] * 49][:steps]
    assert [event.step for event in kinds(fold(losses, steps=steps), "explosion")] == [first] * (
        first is not None
    )


@pytest.mark.parametrize("warmup", [0, 40])
def test_a_stuck_loss_is_a_plateau_after_warmup_and_grace(fold: Fold, warmup: int) -> None:
    (event,) = kinds(fold(noisy([5.0] * 20 + [3.03] * 280), warmup=warmup), "plateau")
    assert warmup + 100 <= event.step <= warmup + 115
    assert event.metric == "loss" and event.threshold == pytest.approx(3.1)
    assert abs(event.value - 3.03) < 0.05
    assert event.end is None and "unigram entropy is 3" in event.message


def test_a_slow_fall_through_the_unigram_entropy_is_no_plateau(fold: Fold) -> None:
    """As at a rate of 1e-4: 0.09 nats in half a window, under noise that often hides that much."""
    for seed in range(12):
        losses = noisy([3.9 - 0.0036 * t for t in range(400)], 0.13, seed)
        assert kinds(fold(losses), "plateau") == []


def test_a_loss_that_passes_the_unigram_entropy_is_no_plateau(fold: Fold) -> None:
    falls = [5.0 - 0.006 * t for t in range(500)]  # crosses 3.0 at step 333
    early = [2.0 + 3.0 * math.exp(-t / 30) for t in range(300)]
    for losses in (falls, early):
        for seed in range(5):
            assert kinds(fold(noisy(losses, 0.1, seed)), "plateau") == []


def test_a_plateau_is_over_when_the_loss_leaves_it_and_not_for_a_spike(fold: Fold) -> None:
    levels = [3.0] * 200 + [20.0] * 20 + [3.0] * 80 + [2.0] * 100
    (event,) = kinds(fold(noisy(levels)), "plateau")
    assert event.end is not None and 300 < event.end <= 330 and event.recovered


def test_a_plateau_at_the_edge_of_the_tolerance_does_not_flicker(fold: Fold) -> None:
    levels = [3.09] * 150 + [3.12, 3.12, 3.08, 3.09] * 60 + [3.12] * 60
    (event,) = kinds(fold(levels), "plateau")
    assert event.end is None


def test_no_floor_no_plateau(fold: Fold) -> None:
    assert kinds(fold([3.0] * 300, floors={}), "plateau") == []
    assert kinds(fold([3.0] * 300, plateau=PlateauConfig(grace=400)), "plateau") == []


FLOORS = {"uniform": 5.5, "unigram": 3.0}


@pytest.mark.parametrize("level", [5.42, 5.5, 6.5])
def test_a_loss_at_ln_v_or_above_it_is_a_collapse(fold: Fold, level: float) -> None:
    (event,) = kinds(fold(noisy([5.6] * 20 + [level] * 200), floors=FLOORS, warmup=20), "plateau")
    assert 120 <= event.step <= 130 and event.end is None
    assert event.threshold == pytest.approx(5.4)
    assert "collapsed" in event.message and "5.5" in event.message
    assert outcome([event]) == "stuck"


def test_a_collapse_that_falls_to_the_unigram_entropy_becomes_the_other_plateau(fold: Fold) -> None:
    levels = [5.5] * 200 + [3.0] * 200
    first, second = kinds(fold(noisy(levels), floors=FLOORS), "plateau")
    assert "collapsed" in first.message and first.recovered and 200 < (first.end or 0) <= 250
    assert "how frequent" in second.message and second.end is None


def test_a_loss_that_rises_through_the_floors_is_no_plateau(fold: Fold) -> None:
    losses = noisy([5.5] * 5 + [2.4] * 60 + [2.4 + 0.01 * step for step in range(300)], 0.02)
    assert kinds(fold(losses, floors=FLOORS, steps=len(losses)), "plateau") == []


def test_a_loss_that_stands_between_the_floors_needs_the_long_window(fold: Fold) -> None:
    """A run that a rate of 0.3 leaves at 4.2, where the unigram entropy is 3."""
    (event,) = kinds(fold(noisy([5.5] * 5 + [4.2] * 300), floors=FLOORS, warmup=10, steps=305), "plateau")
    assert 210 <= event.step <= 225 and event.end is None
    assert event.threshold == pytest.approx(3.1)
    assert "worse than with the frequencies" in event.message
    assert outcome([event]) == "stuck"
    short = PlateauConfig(long_window=100)
    (sooner,) = kinds(fold(noisy([4.2] * 300), floors=FLOORS, plateau=short, steps=250), "plateau")
    assert 150 <= sooner.step <= 165


def test_between_the_floors_a_slow_fall_is_no_plateau(fold: Fold) -> None:
    """0.002 nats a step: in 25 steps it is flat, in 100 it is not."""
    for seed in range(8):
        losses = noisy([4.9 - 0.002 * t for t in range(880)], 0.1, seed)
        assert kinds(fold(losses, floors=FLOORS), "plateau") == []


def test_a_plateau_between_the_floors_ends_by_a_fall_and_not_by_a_rise(fold: Fold) -> None:
    (event,) = kinds(fold(noisy([4.2] * 300 + [4.6] * 200), floors=FLOORS, steps=300), "plateau")
    assert event.end is None
    (event,) = kinds(fold(noisy([4.2] * 300 + [3.9] * 200), floors=FLOORS, steps=300), "plateau")[:1]
    assert event.recovered and 300 < (event.end or 0) < 350


def test_below_the_unigram_entropy_nothing_is_a_plateau(fold: Fold) -> None:
    assert kinds(fold(noisy([2.5] * 600), floors=FLOORS), "plateau") == []


def test_where_the_floors_are_one_the_model_is_not_said_to_have_collapsed(fold: Fold) -> None:
    """Tokens that are all as frequent: ln V is all that frequencies give."""
    (event,) = kinds(fold(noisy([3.05] * 300), floors={"uniform": 3.02, "unigram": 3.0}), "plateau")
    assert "how frequent" in event.message


def gradient(site: str, rms: float) -> dict[str, float]:
    """The norm at which a site of the conftest's sizes has this RMS."""
    size = {"layer_00": 400, "layer_01": 400, "head": 100}[site]
    return {f"grad_norm/{site}": rms * math.sqrt(size)}


def vanishing_rows(*lows: tuple[str, int, int], steps: int = 100) -> list[dict[str, Any]]:
    """Rows in which `site` has an RMS of 5e-8 in steps `start` to `end`, and all sites 1e-4 otherwise."""
    rows = []
    for step in range(steps):
        row: dict[str, Any] = {"loss": 2.0}
        for site in ("layer_00", "layer_01", "head"):
            low = any(name == site and start <= step < end for name, start, end in lows)
            row |= gradient(site, 5e-8 if low else 1e-4)
        rows.append(row)
    return rows


def test_vanishing_names_the_layers_under_ten_eps_for_twenty_steps(fold: Fold) -> None:
    rows = vanishing_rows(("layer_00", 30, 60), ("layer_01", 30, 60), ("head", 30, 49))
    (event,) = kinds(fold(rows), "vanishing")
    assert (event.step, event.kind, event.metric) == (49, "vanishing", "grad_rms/layer_00")
    assert [event.value, event.threshold] == pytest.approx([5e-8, 1e-7])
    assert event.layers == ("layer_00", "layer_01")
    assert (event.end, event.recovered, event.recovery_steps) == (60, True, 11)


def test_layers_that_follow_join_the_open_event(watch_of: Callable[..., Watch]) -> None:
    watch, news = watch_of(), []
    for step, row in enumerate(vanishing_rows(("layer_01", 10, 90), ("layer_00", 40, 60))):
        news += kinds(watch.update({"step": step, **row}), "vanishing")
    assert [event.layers for event in news] == [("layer_01",), *[("layer_01", "layer_00")] * 2]
    assert [event.end for event in news] == [None, None, 90]
    (event,) = kinds(watch.events, "vanishing")
    assert "layer_00 from step 59" in event.message


def test_vanishing_counts_after_the_warmup_and_only_with_an_eps(fold: Fold) -> None:
    rows = vanishing_rows(("head", 0, 100))
    assert [event.step for event in fold(rows, warmup=50)] == [69]
    assert fold(rows, least=()) == []
    assert fold(rows, vanishing=VanishingConfig(factor=4)) == []


def test_a_count_starts_anew_after_a_row_above(fold: Fold) -> None:
    assert kinds(fold(vanishing_rows(("head", 0, 19), ("head", 20, 39))), "vanishing") == []

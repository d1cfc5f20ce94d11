"""The spike detector on series with known truth, among them what the σ rules in public use fail at: they are
blind early, masked by the spike before, and poisoned by one NaN."""

import math
import random
from collections.abc import Callable

import numpy as np
import pytest

from normlab.config import SpikeConfig
from normlab.divergence import Event
from normlab.divergence.robust import score

Fold = Callable[..., list[Event]]
Curve = Callable[..., list[float]]


def spikes(events: list[Event], metric: str = "loss") -> list[Event]:
    return [event for event in events if event.kind == "spike" and event.metric == metric]


def test_score_is_its_formula() -> None:
    past = [3.0, 2.7, 2.9, 2.2, 2.4, 1.9, 2.0, 1.7, 1.8, 1.1]
    slope = (np.median(past[5:]) - np.median(past[:5])) / 5
    flat = np.array(past) - slope * (np.arange(10) - 10)
    level = np.median(flat)
    steps = np.diff(past)
    by_steps = 1.25 * 1.4826 / math.sqrt(2) * np.median(np.abs(steps - np.median(steps)))
    scale = min(1.4826 * np.median(np.abs(flat - level)), by_steps)
    expected = max(level, float(np.median(past[2:])))
    assert score(past, 4.0) == pytest.approx(((4.0 - expected) / scale, expected, scale))


def test_score_follows_a_rising_line_and_not_a_falling_one_below_the_present_level() -> None:
    rising = [0.1 * i for i in range(20)]
    assert score(rising, 2.0).expected == pytest.approx(2.0)
    assert score(rising[::-1], 0.0).expected == pytest.approx(np.median(rising[:8]))


def test_scatter_has_a_floor_relative_to_the_value() -> None:
    assert score([2.0] * 20, 2.02).z == pytest.approx(10)
    assert score([0.0] * 20, 0.01, logarithmic=True).z == pytest.approx(10)
    assert math.isfinite(score([0.0] * 20, 1.0).z)


@pytest.mark.parametrize("seed", range(8))
def test_a_healthy_convex_curve_gives_nothing(fold: Fold, curve: Curve, seed: int) -> None:
    rows = [
        {"loss": loss, "grad_norm/global": math.exp(-0.5 + random.Random(i).gauss(0, 0.2))}
        for i, loss in enumerate(curve(seed, 1500))
    ]
    assert fold(rows) == []


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bend", [10, 20, 40])
def test_a_steep_fall_that_bends_to_a_plateau_gives_nothing(fold: Fold, seed: int, bend: int) -> None:
    noise = random.Random(seed)
    losses = [6.5 - 3.0 * min(t, bend) / bend + noise.gauss(0, 0.03) for t in range(200)]
    assert spikes(fold(losses)) == []


@pytest.mark.parametrize("at", [60, 200, 500, 1000, 1500, 2500])
def test_small_jumps_are_seen_at_any_time(fold: Fold, curve: Curve, at: int) -> None:
    """About 11 σ of 0.03, more where the curve bends; 7 σ over 1000 values needs +4.3 nat at step 1000."""

    def seen(jump: float) -> bool:
        losses = curve(1, at + 1)
        losses[at] += jump
        return [event.step for event in spikes(fold(losses))] == [at]

    assert not seen(0.1)
    assert seen(0.7 if at == 60 else 0.45)


@pytest.mark.parametrize("at", [1, 2, 5, 10, 15, 16])
def test_a_jump_in_the_first_steps_is_seen_without_a_window(fold: Fold, curve: Curve, at: int) -> None:
    """1.5 nat: a median of the last 3 losses lies above a loss that falls by 0.07 a step."""
    for seed in range(5):
        losses = curve(seed, 60)
        losses[at] += 1.5
        (event,) = fold(losses)
        assert (event.step, event.metric, event.end, event.recovered) == (at, "loss", at + 1, True)
        assert event.threshold < losses[at]


def test_healthy_first_steps_raise_no_alarm(fold: Fold, curve: Curve) -> None:
    for seed in range(50):
        assert fold(curve(seed, 40, 0.12)) == []


def test_a_loss_that_rises_from_the_first_step_on_is_an_event_there(fold: Fold) -> None:
    """`placement=post depth=8 optimizer.lr=1`, as it was measured."""
    losses = [5.96, 13.04, 161.2, 38.0, 56.5, 71.7, 100.0, 139.1, 117.7, 128.1, 110.7, 202.4, 90.1, 136.5]
    (event,) = fold(losses)
    assert (event.step, event.kind, event.end) == (1, "spike", None)


def test_the_gradient_is_a_second_witness_in_the_first_steps(fold: Fold) -> None:
    """`placement=post depth=8 train.steps=200`, as it was measured: over at the next step."""
    losses = [5.96, 4.82, 4.18, 4.03, 3.91, 3.8, 3.74, 3.97, 3.55, 3.56, 3.44, 3.42, 3.22, 3.17, 7.15]
    losses += [3.03, 3.47, 3.22, 3.23, 3.06, 3.16, 3.12, 3.49, 3.21, 3.3]
    norms = [5.6, 3.06, 1.97, 1.64, 1.84, 0.97, 0.95, 1.16, 0.92, 1.16, 1.32, 0.77, 0.67, 0.71, 64.16]
    norms += [0.53, 1.19, 0.42, 0.53, 1.24, 0.69, 0.28, 0.78, 0.6, 0.52]
    events = fold({"loss": a, "grad_norm/global": b} for a, b in zip(losses, norms, strict=True))
    assert [(event.step, event.metric, event.recovered) for event in events] == [
        (14, "loss", True),
        (14, "grad_norm/global", True),
    ]
    assert events[1].threshold == pytest.approx(8 * 0.71)


def test_one_event_with_peak_end_and_recovery(fold: Fold, curve: Curve) -> None:
    losses = curve(0, 300)
    for t, jump in zip(range(200, 206), (0.6, 1.5, 2.5, 1.9, 1.1, 0.6), strict=True):
        losses[t] += jump
    (event,) = fold(losses)
    assert (event.step, event.kind, event.metric) == (200, "spike", "loss")
    assert event.value == losses[200] > event.threshold > losses[199]
    assert (event.peak, event.peak_step) == (losses[202], 202)
    assert (event.end, event.recovered, event.recovery_steps) == (206, True, 6)
    assert f"highest {losses[202]:.4g} at step 202; over at step 206, 6 steps later" in event.message
    assert f"{losses[200]:.4g}" in event.message and "step 200" not in event.message


def test_an_open_spike_has_no_end(fold: Fold, curve: Curve) -> None:
    losses = curve(0, 300)
    losses[298] += 2
    (event,) = fold(losses)
    assert (event.end, event.recovered, event.peak) == (None, None, None)


def test_a_spike_does_not_mask_the_next(fold: Fold, curve: Curve) -> None:
    """20 steps of +1 nat, then 10: with the first in the window, σ rules flag none of the second."""
    losses = curve(2, 1700)
    for t in [*range(1500, 1520), *range(1560, 1570)]:
        losses[t] += 1
    first, second = spikes(fold(losses))
    assert (first.step, first.end) == (1500, 1520)
    assert (second.step, second.end) == (1560, 1570)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_nan_does_not_blind(fold: Fold, curve: Curve, bad: float) -> None:
    losses = curve(3, 400)
    losses[299], losses[300] = bad, bad
    losses[305] += 0.5
    assert [(event.kind, event.step) for event in fold(losses)] == [("nonfinite", 299), ("spike", 305)]


def test_a_nan_within_a_spike_does_not_end_it(fold: Fold, curve: Curve) -> None:
    losses = curve(3, 400)
    for t in range(300, 310):
        losses[t] += 1
    losses[304] = math.nan
    (event,) = spikes(fold(losses))
    assert (event.step, event.end) == (300, 310)


def test_a_new_level_is_taken_after_64_outliers_and_then_watched(fold: Fold, curve: Curve) -> None:
    losses = [loss + (t >= 500) for t, loss in enumerate(curve(4, 800))]
    losses[700] += 0.5
    first, second = spikes(fold(losses))
    assert (first.step, first.end, first.recovered, first.recovery_steps) == (500, 563, False, None)
    assert (second.step, second.recovered) == (700, True)


def test_single_spikes_never_become_the_baseline(fold: Fold, curve: Curve) -> None:
    losses = curve(4, 1000)
    for t in range(100, 1000, 10):
        losses[t] += 1
    assert [event.recovered for event in fold(losses)] == [True] * 90


def test_only_upward_jumps_count(fold: Fold, curve: Curve) -> None:
    losses = curve(5, 400)
    losses[300] -= 1
    assert fold(losses) == []


def test_the_trend_is_not_drawn_on_while_a_spike_lasts(fold: Fold) -> None:
    """A steep fall, 40 outliers, then the level from before: drawn on, the line would be 1.2 nats too low."""
    noise = random.Random(0)
    losses = [6.0 - 0.03 * t + noise.gauss(0, 0.02) for t in range(80)]
    losses += [6.0] * 40 + [3.6 + noise.gauss(0, 0.02) for _ in range(40)]
    (event,) = spikes(fold(losses))
    assert (event.step, event.end, event.recovered) == (80, 120, True)


def gradients(seed: int, steps: int, sigma: float = 0.2) -> list[float]:
    noise = random.Random(seed)
    return [math.exp(-0.5 + noise.gauss(0, sigma)) for _ in range(steps)]


def test_a_spike_of_the_gradient_names_the_layers_that_rose_most(fold: Fold, curve: Curve) -> None:
    rows = [
        {"loss": loss, "grad_norm/global": norm, "grad_norm/layer_00": norm, "grad_norm/head": norm / 2}
        for loss, norm in zip(curve(0, 300), gradients(0, 300), strict=True)
    ]
    rows[200] |= {"grad_norm/global": 50.0, "grad_norm/layer_00": 50.0}
    (event,) = fold(rows)
    assert (event.step, event.metric, event.value) == (200, "grad_norm/global", 50.0)
    assert (event.layers, event.peak) == (("layer_00",), 50.0)
    assert event.threshold > 4 * 0.5
    assert (event.end, event.recovery_steps) == (201, 1)


def test_three_layers_are_named_those_that_rose_most_first(fold: Fold) -> None:
    ratios = {"embedding": 5.0, "layer_00": 9.0, "layer_01": 1e300, "final_norm": 1.2, "head": 7.0}
    quiet = {"loss": 2.0, "grad_norm/global": 1.0} | {f"grad_norm/{site}": 1e-200 for site in ratios}
    jump = {"loss": 2.0, "grad_norm/global": 9.0}
    jump |= {f"grad_norm/{site}": min(1e-200 * ratio, 1e300) for site, ratio in ratios.items()}
    jump["grad_norm/layer_01"] = 1e300
    loud = quiet | {f"grad_norm/{site}": 1e-199 for site in ratios}  # forgotten after 150 rows
    (event,) = fold([loud] * 10 + [quiet] * 150 + [jump], least=())
    assert event.layers == ("layer_01", "layer_00", "head", "embedding")
    assert "layer_00 (gradient x9), head (gradient x7) and 1 more" in event.message


def test_a_gradient_must_rise_eightfold(fold: Fold, curve: Curve) -> None:
    """At a scatter of 1%, seven times the norm is 190 robust σ; odd batches of healthy text do that."""
    norms = gradients(0, 300, 0.01)
    for factor, count in ((7.5, 0), (8.5, 1)):
        rows = [
            {"loss": loss, "grad_norm/global": norm * (factor if t == 200 else 1)}
            for t, (loss, norm) in enumerate(zip(curve(0, 300), norms, strict=True))
        ]
        assert len(fold(rows)) == count


PLACES = ("embedding", "layer_00", "layer_01", "final_norm", "head")


def layers(steps: int) -> list[dict[str, float]]:
    noise = random.Random(0)
    every = [{f"grad_norm/{place}": math.exp(noise.gauss(0, 0.1)) for place in PLACES} for _ in range(steps)]
    return [{"loss": 2.0, "grad_norm/global": 2.2} | row for row in every]


def test_the_gradient_of_one_place_that_rises_fourfold_alone_is_a_spike(fold: Fold) -> None:
    for factor, count in ((2.9, 0), (7.0, 1)):
        rows = layers(40)
        rows[20]["grad_norm/layer_01"] *= factor
        events = fold(rows)
        assert len(events) == count
    (event,) = events
    assert (event.step, event.metric, event.layers) == (20, "grad_norm/layer_01", ("layer_01",))
    assert event.value == rows[20]["grad_norm/layer_01"] == event.peak
    assert event.threshold == pytest.approx(event.value * 4 / event.order[0]["ratio"], rel=0.2)
    assert (event.end, event.recovered) == (21, True)
    assert "gradient of layer_01" in event.message and "the other places" in event.message


def test_the_place_whose_gradient_spikes_is_named_even_within_its_own_band(fold: Fold) -> None:
    """Its scatter is large, so that seven times is no distance for it."""
    rows, noise = layers(60), random.Random(2)
    for row in rows[:50]:
        row["grad_norm/layer_01"] = math.exp(noise.gauss(0, 0.5))
    rows[50]["grad_norm/layer_01"] = 7.0
    (event,) = fold(rows)
    assert (event.step, event.layers, event.order) == (50, ("layer_01",), ())
    rows[50]["grad_norm/global"] *= 10
    (event,) = fold(rows)
    assert (event.metric, event.layers, event.order) == ("grad_norm/global", ("layer_01",), ())


def test_who_left_before_does_not_take_the_place_of_the_one_that_spikes(fold: Fold) -> None:
    rows = layers(60)
    for step in (49, 50):
        rows[step]["grad_norm/layer_00"] *= 3
    rows[50]["grad_norm/layer_01"] *= 30
    (event,) = fold(rows)
    assert (event.step, event.metric, event.layers) == (50, "grad_norm/layer_01", ("layer_01",))
    assert [each["place"] for each in event.order] == ["layer_00", "layer_01"]


def test_gradients_that_rise_together_are_no_spike_of_one_place(fold: Fold) -> None:
    rows = layers(60)
    rows[50] |= {f"grad_norm/{place}": 30 * rows[50][f"grad_norm/{place}"] for place in PLACES[:2]}
    assert fold(rows) == []
    rows[50] |= {"grad_norm/global": 60.0, "grad_norm/head": 900.0}
    assert [event.metric for event in fold(rows)] == ["grad_norm/global"]


def test_a_jump_of_the_learning_rate_is_a_spike_and_a_warm_up_is_none(fold: Fold) -> None:
    rates = [1e-3 * min(1.0, (step + 1) / 40) for step in range(100)]
    assert fold({"loss": 2.0, "lr": rate} for rate in rates) == []
    rates[60] *= 10
    rows = layers(100)
    rows[60]["grad_norm/layer_01"] *= 3
    (event,) = fold(row | {"lr": rate} for row, rate in zip(rows, rates, strict=True))
    assert (event.step, event.metric, event.end) == (60, "lr", 61)
    assert event.layers == event.order == (), "no layer has to do with it"
    assert "the learning rate jumped to 0.01" in event.message


@pytest.mark.parametrize("later", [0, 3, 5, 6])
def test_loss_and_gradient_together_need_six_sigma(fold: Fold, curve: Curve, later: int) -> None:
    losses, norms = curve(0, 300), gradients(0, 300, 0.4)
    found = score(losses[136:200], losses[200])
    losses[200] = found.expected + 7 * found.scale
    assert fold([{"loss": loss} for loss in losses]) == []
    at = score([math.log(norm) for norm in norms[136 + later : 200 + later]], 0.0, logarithmic=True)
    norms[200 + later] = math.exp(at.expected + 7 * at.scale)
    rows = [{"loss": loss, "grad_norm/global": norm} for loss, norm in zip(losses, norms, strict=True)]
    events = fold(rows)
    if later > 5:
        assert events == []
        return
    (event,) = events
    assert (event.metric, event.step, event.value) == ("loss", 200 + later, losses[200])
    assert event.recovered


def test_numbers_at_the_edge_of_floats_are_scored(fold: Fold) -> None:
    losses = [3.0] * 40 + [1e308] * 3 + [3.0] * 40
    noise = random.Random(0)
    norms = [math.exp(noise.gauss(0, 200)) for _ in range(82)] + [0.0]
    (event,) = spikes(fold({"loss": a, "grad_norm/global": b} for a, b in zip(losses, norms, strict=True)))
    assert (event.step, event.end) == (40, 43)


def test_settings_reach_the_detector(fold: Fold, curve: Curve) -> None:
    losses = curve(0, 300)
    losses[200] += 0.5
    assert fold(losses, spike=SpikeConfig(z=40)) == []
    assert len(fold(losses, spike=SpikeConfig(z=4, window=32))) == 1

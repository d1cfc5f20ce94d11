"""Who left their own past first: on made-up series, where it is known."""

import json
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from normlab.divergence import Event
from normlab.divergence.bands import FLOOR, WINDOW, Bands

Fold = Callable[..., list[Event]]
PLACES = ("embedding", "layer_00", "layer_01", "final_norm", "head")


def calm(steps: int, sigma: float = 0.1, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of a healthy run; every 20th has the update of each place."""
    noise, rows = random.Random(seed), []
    for step in range(steps):
        row: dict[str, Any] = {"loss": 2 + noise.gauss(0, 0.03), "grad_norm/global": 1.0}
        for place in PLACES:
            row[f"grad_norm/{place}"] = math.exp(noise.gauss(0, sigma))
            if step % 20 == 0:
                row[f"update/ratio/{place}"] = 1e-3 * math.exp(noise.gauss(0, sigma))
        rows.append(row)
    return rows


def raised(rows: list[dict[str, Any]], key: str, factor: float, *steps: int) -> None:
    for step in steps:
        rows[step][key] *= factor


def bands_of(rows: list[dict[str, Any]]) -> Bands:
    bands = Bands(PLACES)
    for step, row in enumerate(rows):
        bands.update({"step": step, **row})
    return bands


@pytest.mark.parametrize(("sigma", "floor"), [(0.2, False), (0.001, True)])
def test_a_band_is_its_formula(sigma: float, floor: bool) -> None:
    rows = calm(WINDOW + 1, sigma)
    raised(rows, "grad_norm/layer_01", 9, WINDOW)
    logs = np.log([row["grad_norm/layer_01"] for row in rows])
    middle = np.median(logs[:WINDOW])
    scale = 1.4826 * np.median(abs(logs[:WINDOW] - middle))
    assert bool(scale < FLOOR) is floor
    (left,) = bands_of(rows).order(WINDOW)
    assert left["ratio"] == pytest.approx(np.exp(logs[WINDOW] - middle))
    assert left["z"] == pytest.approx((logs[WINDOW] - middle) / max(scale, FLOOR))
    assert (left["place"], left["metric"]) == ("layer_01", "grad_norm/layer_01")
    assert (left["step"], left["after"]) == (WINDOW, WINDOW - 1)


def test_what_is_read_now_and_then_must_go_further_than_a_gradient() -> None:
    """Of healthy runs, attention logits grow threefold from a still start."""
    for factor, left in ((3.0, ["grad_norm/head"]), (4.0, ["grad_norm/head", "attention/max_logit/head"])):
        keys = ("grad_norm/head", "attention/max_logit/head")
        rows = [dict.fromkeys(keys, 2.0 * (factor if step == 50 else 1)) for step in range(51)]
        bands = bands_of(rows)
        assert [key for key, band in bands.bands.items() if band.left] == left


def test_a_rise_is_over_the_last_8_readings() -> None:
    """In a steep fall the median of 32 lies far above."""
    values = [math.exp(-0.1 * step) for step in range(WINDOW)]
    rows = [{"grad_norm/head": value} for value in [*values, 1.0]]
    assert bands_of(rows).rises == {"head": pytest.approx(-np.median(np.log(values[-8:])))}


def test_noise_and_steady_trends_stay_inside() -> None:
    for rate in (0.0, 0.02, 0.2):
        rows = calm(600)
        for step, row in enumerate(rows):
            row["grad_norm/layer_01"] *= math.exp(rate * step)
        bands = bands_of(rows)
        assert bands.past == [] and bands.order(599) == ()


def test_a_spike_names_who_left_first_and_when(fold: Fold) -> None:
    rows = calm(125)
    raised(rows, "grad_norm/layer_01", 9, 118, 119, 120)
    raised(rows, "grad_norm/layer_00", 30, 119, 120)
    raised(rows, "grad_norm/global", 20, 120)
    early, late = fold(rows)
    assert (early.step, early.metric, early.layers) == (118, "grad_norm/layer_01", ("layer_01",))
    assert (late.step, late.metric, late.layers) == (120, "grad_norm/global", ("layer_01", "layer_00"))
    assert [(each["place"], each["step"]) for each in late.order] == [("layer_01", 118), ("layer_00", 119)]
    assert "layer_01 left its band first: gradient x" in late.message
    assert "at step 118, 2 steps before; then layer_00 (gradient x" in late.message
    assert " at step 119)" in late.message


def test_of_those_at_one_step_the_furthest_by_its_own_band_is_first(fold: Fold) -> None:
    rows = calm(121)
    noise = random.Random(1)
    for row in rows:
        row["grad_norm/layer_00"] = math.exp(noise.gauss(0, 0.4))
    rows[120] |= {"grad_norm/layer_00": 60.0, "grad_norm/layer_01": 20.0, "grad_norm/global": 40.0}
    (event,) = fold(rows)
    assert event.layers == ("layer_01", "layer_00")
    assert event.order[0]["ratio"] < event.order[1]["ratio"] and event.order[0]["z"] > event.order[1]["z"]
    assert "left their bands, all at step 120, furthest first: layer_01 (gradient x" in event.message


def test_a_metric_that_is_read_now_and_then_claims_no_single_step(fold: Fold) -> None:
    """What was seen at step 200 happened between the reading before it and then; the gradient, at 199."""
    rows = calm(201)
    raised(rows, "update/ratio/head", 50, 200)
    raised(rows, "grad_norm/layer_00", 3, 199, 200)
    raised(rows, "grad_norm/global", 20, 200)
    (event,) = fold(rows)
    assert event.layers == ("layer_00", "head")
    assert (event.order[1]["after"], event.order[1]["step"]) == (180, 200)
    assert "at step 199, 1 step before; then head (update x" in event.message
    assert "between steps 181 and 200)" in event.message


def test_who_came_back_before_is_not_named(fold: Fold) -> None:
    rows = calm(121)
    raised(rows, "grad_norm/layer_00", 4, 100)
    raised(rows, "grad_norm/layer_01", 3.5, 119, 120)
    raised(rows, "grad_norm/head", 3.5, 119)
    raised(rows, "grad_norm/global", 20, 120)
    (event,) = fold(rows)
    assert event.layers == ("layer_01",)
    assert "layer_01 alone left its band" in event.message


def test_a_new_level_becomes_the_band() -> None:
    rows = calm(300)
    raised(rows, "grad_norm/layer_00", 5, *range(100, 300))
    bands = bands_of(rows)
    assert [(each["step"], each["over"]) for each in bands.past] == [(100, 100 + WINDOW - 1)]
    assert bands.order(99) == () and bands.order(110)[0]["place"] == "layer_00" and bands.order(250) == ()


def test_entropy_leaves_downwards() -> None:
    key = "attention/entropy/layer_01"
    for factor, count in ((0.2, 1), (5.0, 0)):
        rows = [{key: 2.0 * (factor if step == 50 else 1)} for step in range(51)]
        left = bands_of(rows).order(50)
        assert len(left) == count
        assert [each["ratio"] for each in left] == pytest.approx([0.2] * count)
        assert all(each["z"] > 6 for each in left)


def test_an_explosion_tells_who_left_when_it_began(fold: Fold) -> None:
    """It is known 50 rows later, when gradients have long been calm."""
    rows = calm(200)
    for row in rows[100:]:
        row["loss"] += 3
    raised(rows, "grad_norm/layer_01", 6, 99, 100)
    raised(rows, "grad_norm/layer_00", 6, 140)
    event = next(event for event in fold(rows) if event.kind == "explosion")
    assert (event.step, event.layers) == (149, ("layer_01",))
    assert "at step 99, 1 step before" in event.message


def test_a_slow_divergence_and_a_nan_tell_it_too(fold: Fold) -> None:
    rows = calm(500)
    for step in range(200, 500):
        rows[step]["loss"] += 0.004 * (step - 200)
    raised(rows, "grad_norm/head", 6, *range(222, 245))
    rows[450]["loss"] = math.nan
    raised(rows, "grad_norm/embedding", 6, 448, 449, 450)
    slow, broken = (event for event in fold(rows) if event.kind in ("slow_divergence", "nonfinite"))
    assert slow.layers == ("head",) and "head alone left its band" in slow.message
    assert broken.layers == ("embedding",) and "2 steps before" in broken.message


def test_what_is_not_finite_or_zero_is_no_reading() -> None:
    rows = calm(120)
    for bad in (math.nan, math.inf, 0.0, -1.0):
        rows[100]["grad_norm/layer_00"] = bad
        assert bands_of(rows[:101]).order(100) == ()
    rows[101]["grad_norm/layer_00"] = 1e300
    assert bands_of(rows[:102]).order(101)[0]["after"] == 99


def test_going_on_from_a_state_changes_nothing() -> None:
    rows = calm(200)
    raised(rows, "grad_norm/layer_00", 5, 100, 101, 150, 151)
    raised(rows, "update/ratio/head", 50, 180)
    whole, chain = Bands(PLACES), Bands(PLACES)
    for step, row in enumerate(rows):
        state = chain.state_dict()
        text = json.dumps(state)
        chain = Bands(PLACES)
        chain.load_state_dict(json.loads(text))
        for bands in (whole, chain):
            bands.update({"step": step, **row})
        assert json.dumps(state) == text and json.dumps(chain.state_dict()) == json.dumps(whole.state_dict())
        assert chain.order(step) == whole.order(step) and chain.past == whole.past
    assert len(whole.past) == 2 and len(whole.order(199)) == 1


def test_a_record_without_an_order_is_still_an_event(fold: Fold) -> None:
    rows = calm(121)
    raised(rows, "grad_norm/global", 20, 120)
    record = fold(rows)[0].record()
    del record["order"]
    assert Event.of(record).order == ()

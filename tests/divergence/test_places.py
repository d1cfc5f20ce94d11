"""The detectors of single places: frozen, entropy, logits, massive activations; sampled or in every row."""

import math
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from normlab.config import (
    EntropyCollapseConfig,
    FrozenConfig,
    LogitGrowthConfig,
    MassiveActivationConfig,
    VanishingConfig,
)
from normlab.divergence import Event, Watch

Fold = Callable[..., list[Event]]
PLACES = ("layer_00", "layer_01")


class Case(NamedTuple):
    """A detector, the family of its metric, a value in bounds, one out of them, and its limit."""

    kind: str
    family: str
    good: float
    bad: float
    worse: float
    threshold: float
    settings: Any


CASES = [
    Case("vanishing", "grad_norm", 1e-4 * 20, 5e-8 * 20, 4e-8 * 20, 1e-7, VanishingConfig),
    Case("frozen", "grad_norm", 1.0, 0.0, 0.0, 0.0, FrozenConfig),
    Case("frozen", "update/ratio", 1e-30, 0.0, 0.0, 0.0, FrozenConfig),
    Case("entropy_collapse", "attention/entropy_share_min", 0.06, 0.04, 0.01, 0.05, EntropyCollapseConfig),
    # In rows of earlier versions.
    Case("entropy_collapse", "attention/entropy_share", 0.06, 0.04, 0.01, 0.05, EntropyCollapseConfig),
    Case("logit_growth", "attention/max_logit", 999.0, 1001.0, 2e4, 1e3, LogitGrowthConfig),
    Case("massive_activation", "stream/massive", 0, 1, 5, 1, MassiveActivationConfig),
]


@pytest.fixture
def fold(fold: Fold) -> Fold:
    """Without spikes: a gradient that is good again jumps, beside one that never was bad."""
    return lambda *args, **changes: [event for event in fold(*args, **changes) if event.kind != "spike"]


cases = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}-{case.family}")


def rows_of(case: Case, values: list[list[float | None]]) -> list[dict[str, Any]]:
    """One row a step; None where the place has no reading."""
    keys = [f"{case.family}/{place}" for place in PLACES]
    found = [dict(zip(keys, step, strict=True)) for step in values]
    return [
        {"loss": 2.0, "lr": 1e-3} | {key: value for key, value in row.items() if value is not None}
        for row in found
    ]


def low(case: Case, *spans: tuple[int, int], steps: int = 100, every: int = 1) -> list[dict[str, Any]]:
    """Rows in which the i-th place is out of bounds in the i-th span, read every `every` steps."""
    values = [
        [(case.bad if a <= step < b else case.good) if step % every == 0 else None for a, b in spans]
        for step in range(steps)
    ]
    return rows_of(case, values)


@cases
def test_twenty_steps_on_end_are_an_event_that_names_the_layers(fold: Fold, case: Case) -> None:
    (event,) = fold(low(case, (30, 60), (35, 60)))
    assert (event.step, event.kind, event.layers) == (49, case.kind, PLACES)
    assert event.threshold == pytest.approx(case.threshold)
    assert (event.end, event.recovered, event.recovery_steps) == (60, True, 11)
    assert "layer_00" in event.message and "layer_01 from step 54" in event.message
    assert fold(low(case, (30, 49), (0, 0))) == []
    assert fold(low(case, (0, 19), (20, 39))) == []


@cases
def test_the_worst_place_is_named_by_metric_and_value(fold: Fold, case: Case) -> None:
    (event,) = fold(rows_of(case, [[case.bad, case.worse]] * 30))
    place = "layer_01" if case.worse != case.bad else "layer_00"
    family = "grad_rms" if case.kind == "vanishing" else case.family
    assert event.metric == f"{family}/{place}"
    assert event.value == pytest.approx(case.worse / 20 if case.kind == "vanishing" else case.worse)


@cases
@pytest.mark.parametrize("every", [2, 7, 19, 20, 50])
def test_a_sampled_metric_counts_steps_and_needs_two_readings(fold: Fold, case: Case, every: int) -> None:
    """The first reading at or after step 19, but the second at least."""
    (event,) = fold(low(case, (0, 400), (0, 0), steps=401, every=every))
    assert event.step == max(every, -(-19 // every) * every)
    assert event.end == (400 if 400 % every == 0 else None)
    assert fold(low(case, (100, 101), (0, 0), steps=400, every=every)) == []


@cases
@pytest.mark.parametrize("seed", range(5))
def test_it_is_open_when_brute_force_finds_a_place_out_for_long(
    watch_of: Callable[..., Watch], case: Case, seed: int
) -> None:
    """At each row with a reading: some place's last readings, two or more over 7 steps, are out of bounds."""
    noise, steps = random.Random(seed), 7
    state, values = [False, False], []
    for _ in range(400):
        state = [now if noise.random() < 0.9 else not now for now in state]
        values.append([(case.bad if out else case.good) if noise.random() < 0.7 else None for out in state])
    watch = watch_of(**{case.kind: case.settings(steps=steps)})
    opened = 0
    for step, row in enumerate(rows_of(case, values)):
        watch.update({"step": step, **row})
        if values[step] == [None, None]:
            continue
        want = any(long(case, [each[i] for each in values[: step + 1]], steps) for i in range(2))
        open_now = any(event.end is None and event.kind == case.kind for event in watch.events)
        assert open_now == want, step
        opened += want
    assert 20 < opened < 380


def long(case: Case, readings: list[float | None], steps: int) -> bool:
    known = [(step, value) for step, value in enumerate(readings) if value is not None]
    tail: list[int] = []
    for step, value in reversed(known):
        if value == case.good:
            break
        tail.append(step)
    return len(tail) >= 2 and tail[0] - tail[-1] >= steps - 1


@cases
def test_rows_without_the_metric_or_with_nan_say_nothing(fold: Fold, case: Case) -> None:
    values: list[list[float | None]] = [[case.bad, case.good]] * 60
    values[5:15] = [[None, None]] * 10
    values[15:19] = [[math.nan, math.inf]] * 4
    events = [event for event in fold(rows_of(case, values)) if event.kind != "nonfinite"]
    assert [event.step for event in events] == [19]


@cases
def test_steps_is_a_setting(fold: Fold, case: Case) -> None:
    rows = low(case, (0, 10), (0, 0), steps=12)
    for steps, count in ((1, 1), (10, 1), (11, 0)):
        assert len(fold(rows, **{case.kind: case.settings(steps=steps)})) == count


def test_the_limits_are_settings(fold: Fold) -> None:
    vanishing, _, _, entropy, _, logit, massive = CASES
    for case, settings in (
        (vanishing, VanishingConfig(factor=4)),
        (entropy, EntropyCollapseConfig(share=0.03)),
        (logit, LogitGrowthConfig(limit=2e3)),
        (massive, MassiveActivationConfig(count=2)),
    ):
        rows = low(case, (0, 100), (0, 0))
        assert len(fold(rows)) == 1
        assert fold(rows, **{case.kind: settings}) == []


def test_a_gradient_of_exactly_zero_is_frozen_and_not_vanishing(fold: Fold) -> None:
    (event,) = fold([{"grad_norm/head": 0.0}] * 50)
    assert (event.kind, event.metric, event.value) == ("frozen", "grad_norm/head", 0.0)
    assert "the gradient of head" in event.message


def test_an_update_of_zero_freezes_what_has_a_gradient(fold: Fold) -> None:
    (event,) = fold([{"grad_norm/head": 1.0, "update/ratio/head": 0.0, "lr": 1e-9}] * 50)
    assert (event.kind, event.metric) == ("frozen", "update/ratio/head")
    assert "the update of head" in event.message


@pytest.mark.parametrize(
    "why", [{"lr": 0.0}, {"loss": math.nan}, {"grad_norm/global": math.inf}], ids=lambda why: next(iter(why))
)
def test_steps_at_rate_zero_or_not_applied_freeze_nothing(fold: Fold, why: dict[str, float]) -> None:
    rows = [{"loss": 2.0, "lr": 1e-3, "update/ratio/head": 0.0} | why] * 50
    assert [event.kind for event in fold(rows) if event.kind == "frozen"] == []
    moving = {"loss": 2.0, "lr": 1e-3, "update/ratio/head": 0.0}
    assert [event.step for event in fold([*rows, *[moving] * 30]) if event.kind == "frozen"] == [69]


def test_single_heads_and_sublayers_are_not_places(fold: Fold) -> None:
    row = {"attention/max_logit/layer_00": 5.0, "attention/max_logit/layer_00/head_2": 9e9}
    assert fold([row | {"stream/massive/layer_00/attn": 9}] * 50) == []

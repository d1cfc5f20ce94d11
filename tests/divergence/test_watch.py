"""All detectors together: the table, the outcome, and going on from a saved state."""

import json
import math
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch

from normlab.config import (
    DivergenceConfig,
    EntropyCollapseConfig,
    ExplosionConfig,
    FrozenConfig,
    LogitGrowthConfig,
    MassiveActivationConfig,
    PlateauConfig,
    SlowDivergenceConfig,
    SpikeConfig,
    VanishingConfig,
)
from normlab.divergence import (
    DETECTORS,
    KINDS,
    OUTCOMES,
    UNTRAINED,
    Event,
    Watch,
    is_untrained,
    known_floors,
    outcome,
    recorded_outcome,
)

SMALL = {
    "spike": SpikeConfig(window=16, rebaseline=10),
    "explosion": ExplosionConfig(steps=8),
    "plateau": PlateauConfig(window=12, grace=10, tolerance=0.2),
    "slow_divergence": SlowDivergenceConfig(window=12, steps=8),
    "vanishing": VanishingConfig(steps=5),
    "frozen": FrozenConfig(steps=5),
    "entropy_collapse": EntropyCollapseConfig(steps=5),
    "logit_growth": LogitGrowthConfig(steps=5),
    "massive_activation": MassiveActivationConfig(steps=5),
}
#: Metrics that are read in every third row: what is bad, and where.
SAMPLED = {
    "update/ratio/head": (0.0, range(30, 60)),
    "attention/entropy_share/layer_00": (0.01, range(50, 80)),
    "attention/entropy_share/layer_01": (0.01, range(60, 100)),
    "attention/max_logit/layer_01": (5e3, range(90, 130)),
    "stream/massive/layer_00": (3.0, range(200, 400)),
}


def troubled() -> list[dict[str, Any]]:
    """330 rows with every kind of trouble, some of it open at the end."""
    noise = random.Random(0)
    levels = [5.0, 4.6, *[3.0] * 78, *[2.4] * 40, *[4.0] * 30, *[2.3] * 30, *[6.5] * 40, *[3.0] * 108]
    rows: list[dict[str, Any]] = []
    for step, level in enumerate(levels):
        norm = math.exp(noise.gauss(0, 0.1))
        row = {"step": step, "loss": level + noise.gauss(0, 0.02), "grad_norm/global": norm}
        for site, low in (("layer_00", range(60, 90)), ("layer_01", range(70, 100)), ("head", range(0))):
            row[f"grad_norm/{site}"] = 1e-9 if step in low else norm / 2
        for key, (bad, where) in SAMPLED.items() if step % 3 == 0 else ():
            row[key] = bad if step in where else 0.5
        rows.append(row)
    for step in (100, 101, 102, 310):
        rows[step]["loss"] += 1
    rows[103]["loss"] = rows[104]["loss"] = math.nan
    rows[105] |= {"grad_norm/global": math.inf, "grad_norm/layer_01": math.inf}
    rows[175] |= {"grad_norm/global": 30.0, "grad_norm/layer_00": 30.0}
    rows[300] |= {"loss": math.nan, "nonfinite/parameter": "layer_00/ffn.in"}
    rows[325]["loss"] += 2
    return rows


def records(events: list[Event]) -> str:
    return json.dumps([event.record() for event in events])


def test_the_series_has_all_kinds_of_trouble(watch_of: Callable[..., Watch]) -> None:
    watch = watch_of(**SMALL)
    for row in troubled():
        watch.update(row)
    assert {event.kind for event in watch.events} == set(KINDS)
    assert {event.recovered for event in watch.events} == {True, False, None}


def test_going_on_from_a_state_at_every_row_changes_nothing(watch_of: Callable[..., Watch]) -> None:
    whole, chain, states = watch_of(**SMALL), watch_of(**SMALL), []
    for row in troubled():
        states.append((chain.state_dict(), json.dumps(chain.state_dict())))
        told = whole.update(row)
        following = watch_of(**SMALL)
        following.load_state_dict(json.loads(states[-1][1]))
        assert records(following.update(row)) == records(told)
        assert records(chain.update(row)) == records(told)
        assert records(following.events) == records(whole.events)
        assert json.dumps(following.state_dict()) == json.dumps(whole.state_dict())
        chain = following
    assert all(json.dumps(state) == text for state, text in states), "a saved state changed afterwards"


def test_going_on_from_one_cut_gives_the_same_end(watch_of: Callable[..., Watch]) -> None:
    rows, whole = troubled(), watch_of(**SMALL)
    states = []
    for row in rows:
        states.append(whole.state_dict())
        whole.update(row)
    for cut in range(0, len(rows), 11):
        rest = watch_of(**SMALL)
        rest.load_state_dict(states[cut])
        for row in rows[cut:]:
            rest.update(row)
        assert records(rest.events) == records(whole.events)


def test_the_state_passes_through_a_checkpoint(watch_of: Callable[..., Watch], tmp_path: Any) -> None:
    watch = watch_of(**SMALL)
    for row in troubled()[:200]:
        watch.update(row)
    torch.save(watch.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert json.dumps(state) == json.dumps(watch.state_dict())


def test_a_state_of_another_version_is_refused(watch_of: Callable[..., Watch]) -> None:
    state = watch_of().state_dict()
    state["detectors"]["plateau"].pop("low")
    with pytest.raises(ValueError, match="another version"):
        watch_of().load_state_dict(state)
    del state["detectors"]["plateau"]
    with pytest.raises(KeyError, match="plateau"):
        watch_of().load_state_dict(state)


def test_an_event_is_told_when_new_and_when_more_is_known(watch_of: Callable[..., Watch]) -> None:
    told: dict[tuple[int, str, str], Event] = {}
    watch = watch_of(**SMALL)
    for row in troubled():
        for event in watch.update(row):
            assert event.key in told or event.step == row["step"]
            assert event != told.get(event.key)
            told[event.key] = event
    assert list(told.values()) == watch.events
    assert [event.step for event in watch.events] == sorted(event.step for event in watch.events)


def test_rows_with_nothing_but_a_step_are_no_trouble(watch_of: Callable[..., Watch]) -> None:
    watch = watch_of()
    assert [watch.update({"step": step}) for step in range(100)] == [[]] * 100


def event(kind: str, metric: str = "loss", **more: Any) -> Event:
    return Event(step=1, kind=kind, metric=metric, value=1.0, threshold=0.0, message="", **more)


def test_outcomes_are_decided_in_their_order() -> None:
    worst_last = [
        event("vanishing", "grad_rms/head"),
        event("frozen", "grad_norm/head"),
        event("entropy_collapse", "attention/entropy_share/layer_00"),
        event("logit_growth", "attention/max_logit/layer_00"),
        event("massive_activation", "stream/massive/layer_00"),
        event("spike", "grad_norm/global"),
        event("plateau", end=5, recovered=True),
        event("spike", end=5, recovered=True),
        event("plateau"),
        event("slow_divergence"),
        event("nonfinite"),
    ]
    steps = ["stable"] * 8 + ["spiked", "stuck", "exploded", "nonfinite"]
    assert [outcome(worst_last[:count]) for count in range(12)] == steps
    assert [outcome(worst_last[:count], untrained=True) for count in range(8)] == [UNTRAINED] * 8
    assert outcome(worst_last[:9], untrained=True) == "stuck"
    assert outcome([event("explosion")]) == "exploded"
    assert [*OUTCOMES, "stable"] == ["nonfinite", "exploded", "stuck", UNTRAINED, "spiked", "stable"]


@pytest.mark.parametrize("metric", ["loss", "grad_norm/head"])
def test_a_skipped_step_that_the_run_goes_on_from_is_a_spike(metric: str) -> None:
    assert outcome([event("nonfinite", metric, end=2, recovered=True)]) == "spiked"
    assert outcome([event("nonfinite", metric)]) == "nonfinite"
    spoilt = event("nonfinite", "nonfinite/parameter", end=2, recovered=True)
    assert outcome([spoilt]) == "nonfinite", "parameters do not come back by themselves"


@pytest.mark.parametrize(
    ("recovered", "level", "word"),
    [
        (True, 9.0, "spiked"),  # what it is now above is another event's
        (False, 0.5, "exploded"),
        (False, -0.5, "spiked"),  # taken for the new level, and learnt away since
        (None, 0.5, "exploded"),
        (None, -0.5, "spiked"),
        (None, None, "spiked"),
    ],
)
def test_a_jump_that_does_not_come_back_is_no_spike(
    recovered: bool | None, level: float | None, word: str
) -> None:
    jumped = event("spike", recovered=recovered)  # its threshold is 0
    assert outcome([jumped], level) == word
    assert outcome([event("spike", "grad_norm/global")], 9.0) == "stable"


@pytest.mark.parametrize(
    ("floor", "word"),
    [
        (None, "stuck"),
        ("uniform", "stuck"),
        ("below", "stuck"),
        ("bigram", "stable"),
    ],
)
def test_standing_still_at_the_bigram_entropy_leaves_the_outcome_alone(floor: str | None, word: str) -> None:
    """A record of an earlier version has no floor."""
    known = event("plateau", floor=floor).record()
    if floor is None:
        del known["floor"]
    assert outcome([known]) == word


@pytest.mark.parametrize(
    ("final", "floors", "start", "word"),
    [
        (3.1, {"unigram": 3.15}, 6.0, True),
        (3.04, {"unigram": 3.15}, 6.0, False),
        (5.95, {}, 6.0, True),
        (5.8, {}, 6.0, False),
        (5.8, {}, None, False),
        (None, {"unigram": 3.15}, 6.0, False),
    ],
)
def test_untrained_is_what_ends_at_the_unigram_entropy_or_where_it_began(
    final: float | None, floors: dict[str, float], start: float | None, word: bool
) -> None:
    assert is_untrained(final, floors, 0.1, start) is word


@pytest.mark.parametrize(
    ("summary", "word"),
    [
        ({"outcome": "stable", "val/final": 3.2, "loss/final": 2.0, "floors": {"unigram": 3.15}}, UNTRAINED),
        ({"outcome": "stable", "val/final": 2.2, "loss/final": 4.0, "floors": {"unigram": 3.15}}, "stable"),
        ({"outcome": "spiked", "loss/final": 4.0, "floors": {"unigram": 3.15}}, UNTRAINED),
        ({"outcome": "exploded", "val/final": 9.0, "floors": {"unigram": 3.15}}, "exploded"),
        ({"outcome": "stable", "val/final": "NaN", "loss/final": math.nan, "floors": None}, "stable"),
    ],
)
def test_a_summary_of_an_earlier_version_says_untrained_too(summary: dict[str, Any], word: str) -> None:
    assert recorded_outcome(summary) == word


def test_a_floor_is_an_entropy_or_none():
    wrong = {"a": 1e308, "b": math.inf, "c": math.nan, "d": -1, "e": "x", "f": True, "g": [1], "h": 10**400}
    assert known_floors({"floors": {"unigram": 3, **wrong}}) == {"unigram": 3.0}
    assert known_floors({"floors": [1]}) == known_floors({}) == {}


def test_a_checkpoint_of_an_earlier_version_is_read(watch_of: Callable[..., Watch]) -> None:
    watch = watch_of()
    for row in troubled()[:50]:
        watch.update(row)
    state = watch.state_dict()
    del state["ending"], state["detectors"]["explosion"]["lowest"]
    old = watch_of()
    old.load_state_dict(state)
    for row in troubled()[50:80]:
        assert records(old.update(row)) == records(watch.update(row))
    assert old.outcome == watch.outcome


@pytest.mark.parametrize("kind", ["explosion", "slow_divergence"])
def test_a_rise_that_came_back_is_a_long_spike(kind: str) -> None:
    assert outcome([event(kind, end=9, recovered=True)]) == "spiked"


def test_the_outcome_follows_from_the_records_alone(watch_of: Callable[..., Watch]) -> None:
    watch = watch_of(**SMALL)
    for row in troubled()[:280]:
        watch.update(row)
        text = records(watch.events)
        assert outcome(json.loads(text)) == outcome(watch.events)
    assert watch.outcome == outcome(watch.events, 6.5) == "exploded"


def test_records_give_the_event_back() -> None:
    known = event("spike", layers=("layer_00",), end=3, recovered=True, recovery_steps=2, peak=2.0)
    assert Event.of(json.loads(json.dumps(known.record()))) == known
    assert set(known.record()) == {field.name for field in fields(Event)}


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_is_described_and_has_its_defaults_in_the_config(name: str) -> None:
    row = DETECTORS[name]
    assert row.meaning and row.equation
    assert getattr(DivergenceConfig(), name, None) == row.config


def test_nothing_here_imports_torch() -> None:
    code = "import sys, normlab.divergence; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

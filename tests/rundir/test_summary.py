"""The summary's figures, from rows and from events."""

import math
import random

import pytest

from normlab.divergence import Event
from normlab.divergence.spike_score import DEFINITIONS, spike_score
from normlab.rundir.summary import Tally, event_figures


def test_spike_scores_are_those_of_the_rows():
    noise, tally = random.Random(0), Tally()
    losses = [2 + noise.paretovariate(2) for _ in range(1200)]
    norms = [noise.paretovariate(1.5) for _ in range(1200)]
    for step, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
        tally.row({"step": step, "loss": loss, "grad_norm/global": norm})
    figures = tally.figures()
    for definition in DEFINITIONS:
        name = definition.name
        by_series = [spike_score(values, definition) for values in (losses, norms)]
        assert [figures[f"{name}/loss"], figures[f"{name}/grad_norm"]] == by_series
        assert 0 < max(by_series) <= figures[name] <= sum(by_series)


def test_a_run_whose_gradients_are_not_measured_has_scores_of_its_loss():
    tally = Tally()
    for step in range(200):
        tally.row({"step": step, "loss": 50.0 if step == 150 else 2.0 + step % 2})
    figures = tally.figures()
    assert figures["spike_score/6sigma_128"] == figures["spike_score/6sigma_128/loss"] == 0.5
    assert figures["spike_score/6sigma_128/grad_norm"] is None
    assert figures["spike_score/olmo2_7sigma_1000"] is None


def test_the_clip_rate_is_that_of_the_updates():
    tally = Tally()
    for step, clipped in enumerate([1.0, 0.0, 1.0, None, 1.0]):  # the fourth step was not taken
        tally.row({"step": step, "loss": 2.0} | ({} if clipped is None else {"grad_clip/clipped": clipped}))
    assert tally.figures()["grad_clip/rate"] == 0.75
    assert "grad_clip/rate" not in Tally().figures()


def event(step, kind, **more):
    return Event(step=step, kind=kind, metric="loss", value=math.nan, threshold=0.0, message="", **more)


@pytest.mark.parametrize(("status", "word"), [("running", None), ("finished", "stuck"), ("failed", "stuck")])
def test_events_come_to_an_outcome_counts_and_the_first(status, word):
    events = [event(7, "spike"), event(3, "plateau"), event(9, "spike")]
    figures = event_figures(status, events, "stuck")
    assert figures["outcome"] == word and figures["events"] == {"spike": 2, "plateau": 1}
    assert figures["first_event"]["step"] == figures["first_event_step"] == 3
    assert figures["first_event_layer"] is None


def test_the_first_event_has_columns_of_its_own():
    events = [event(7, "spike", layers=("head",)), event(3, "vanishing", layers=("layer_02", "layer_01"))]
    figures = event_figures("finished", events, "stable")
    assert (figures["first_event_step"], figures["first_event_layer"]) == (3, "layer_02")
    assert event_figures("finished", [], "stable") == {
        "outcome": "stable",
        "events": {},
        "first_event": None,
        "first_event_step": None,
        "first_event_layer": None,
    }


def test_the_gradients_slope_is_the_last_finite_one_with_its_step():
    key, tally = "grad_norm/first_to_last", Tally()
    for step, more in enumerate(({key: 4.0}, {key: 3.0}, {}, {key: math.nan}, {key: math.inf})):
        tally.row({"step": step, "loss": 2.0} | more)
    assert (tally.figures()[key], tally.figures()[f"{key}_step"]) == (3.0, 1)
    assert (Tally().figures()[key], Tally().figures()[f"{key}_step"]) == (None, None)

"""The words for what was measured with passes of its own."""

import math

import pytest

from normlab.sinks.console.findings import findings

CONFIG = {"model": {"context": 64}, "train": {"batch_size": 16}}


def told(summary):
    return dict(findings(summary, CONFIG))


def test_nothing_is_said_of_what_was_not_measured():
    assert told({"loss/final": 2.0, "spike_score/6sigma_128": 0.0}) == {}


def test_the_blocks_that_matter_most_and_least():
    skips = {"ablation/skip/layer_00": 1.23, "ablation/skip/layer_01": -0.0042, "ablation/skip/layer_02": 0.2}
    words = told(skips | {"ablation/swap/layer_00": 9.0, "ablation/centre": 0.155})["depth"]
    assert words == (
        "layer_00 matters most (+1.230 nat without it), layer_01 least (-0.004); centre at 16% of the depth"
    )
    assert "centre" not in told(skips | {"ablation/centre": math.nan})["depth"]


def test_a_model_that_is_not_finite_is_not_judged():
    figures = {"ablation/skip/layer_00": math.nan, "ablation/skip/layer_01": 0.1, "ablation/centre": math.nan}
    figures |= {"sharpness/critical": math.nan, "sharpness/multiple": math.nan, "sharpness/found": 0.0}
    words = told(figures | {"growth/activation": math.nan, "growth/gradient": math.inf})
    assert words["depth"].startswith("unknown") and words["sharpness"].startswith("unknown")
    assert words["growth"] == "stream NaN a block\ngradient, downwards inf a block"


@pytest.mark.parametrize(
    ("multiple", "found", "words"),
    [
        (4.0, 1.0, "200, 2/lr 800; 4.00 times the last step would raise its batch's loss"),
        (65536.0, 0.0, "a bound: 0.0122, 2/lr 800; no step of up to 65.5k times the last one raises"),
        (2.0**-10, 0.0, "a bound: 819k, 2/lr 800; even 9.8e-04 times the last one raises"),
    ],
)
def test_the_sharpness_stands_beside_the_rate(multiple, found, words):
    figures = {"sharpness/critical": 800 / multiple, "sharpness/multiple": multiple, "sharpness/found": found}
    assert told(figures)["sharpness"].startswith(words)


def test_the_noise_scale_stands_beside_the_batch():
    assert told({"noise_scale/simple": 20.0})["noise scale"] == "20.0 sequences (1280 tokens); a batch has 16"


def test_growth_of_both_signals_and_of_halves_where_there_are_any():
    figures = {"growth/activation": 0.34, "growth/gradient": -0.1}
    figures |= {"growth/activation/lower": 0.6, "growth/activation/upper": 0.08}
    assert told(figures)["growth"] == (
        "stream +0.340 a block (lower +0.600, upper +0.080)\ngradient, downwards -0.100 a block"
    )

"""What wandb gets of a row: rows of real steps, counted."""

import json
from dataclasses import asdict, replace

import pytest

from normlab.catalogue import groups, naming
from normlab.compose.from_words import compose
from normlab.data import load_corpus
from normlab.sinks.wandb.budget import A_LAYER, BESIDES, coarse
from normlab.training.build import build
from normlab.training.step import take_step

#: Families with a series a layer that not every model or run has; and numbers of the whole, as many.
RARE = (
    "ffn/saturated",
    "norm/saturated",
    "batchnorm/mean_gap",
    "batchnorm/std_gap",
    "stream/angle",
    "ablation/skip",
    "ablation/swap",
    "second_stream/rms",
    "second_stream/variance",
    "second_stream/max",
    "second_stream/kurtosis",
    "nonfinite/second_stream",
    "grad_second_stream",
)
WHOLE = (
    "val/loss",
    "time/seconds",
    "grad_norm/clipped",
    "nonfinite/loss",
    "nonfinite/gradient",
    "nonfinite/parameter",
    "nonfinite/input_min",
    "nonfinite/input_max",
    "norm/saturated/final_norm",
    "batchnorm/mean_gap/final_norm",
    "batchnorm/std_gap/final_norm",
    "batchnorm/loss_train",
    "batchnorm/loss_eval",
    "sharpness/critical",
    "noise_scale/trace",
    "noise_scale/square",
    "noise_scale/simple",
    "growth/activation",
    "growth/gradient",
)


def first_row(*words):
    """The first step of a small model with all instruments on."""
    small = ("depth=3", "model.width=128", "model.heads=16", "model.context=8", "data.length=16384")
    given = {word.partition("=")[0] for word in words}
    rest = [word for word in small if word.partition("=")[0] not in given]
    config = compose(["data=markov", "measure=full", "train.threads=1", "train.device=cpu", *rest, *words])
    config = replace(config, norm=replace(config.norm, allow_leaky=True))
    return take_step(build(config, load_corpus(config.data, config.model.context)))


@pytest.mark.parametrize(
    "words", [[f"preset={name}"] for name in groups.options("preset")] + [["placement=sandwich"], []], ids=str
)
def test_every_preset_is_within_the_budget_at_any_depth(words):
    row = first_row(*words)
    for layer in range(3):
        row |= dict.fromkeys((f"{family}/layer_{layer:02d}" for family in RARE), 0.0)
    row |= dict.fromkeys(WHOLE, 0.0)
    kept = coarse(row)
    by_layer = [sum(f"layer_{layer:02d}" in key for key in kept) for layer in range(3)]
    # Each layer has as many, so what holds here holds for every depth.
    assert len(set(by_layer)) == 1 and by_layer[0] <= A_LAYER
    assert len(kept) - sum(by_layer) <= BESIDES
    # There is something to leave out: sixteen heads, and the kinds of parameters.
    assert len(row) - len(kept) >= 3 * (16 + 4)


#: What wandb's documentation suggests for a project to stay quick (docs.wandb.ai/models/track/limits, 2026).
METRICS, CALL, DOTS = 10_000, 25e6, 3


def test_a_sweep_of_100_runs_with_24_layers_is_within_what_wandb_suggests():
    variants = [
        "placement=post",
        "placement=sandwich",
        "norm=batchnorm",
        "activation=swiglu",
        "preset=gemma2",
    ]
    rows = [first_row(word, "depth=24", "model.width=32", "model.heads=4") for word in variants]
    names = set().union(*map(coarse, rows), WHOLE)
    names |= {f"{family}/layer_{layer:02d}" for family in RARE for layer in range(24)}
    assert len(names) <= 24 * A_LAYER + BESIDES < METRICS
    assert max(len(json.dumps(coarse(row))) for row in rows) < CALL
    keys = [key for word in variants for key, _ in naming.flat(asdict(compose([word])))]
    assert max(key.count(".") for key in keys) <= DOTS


def test_a_layer_has_one_series_a_family_and_sub_layers_where_there_is_no_other():
    kept = coarse(first_row())
    for key in (
        "loss",
        "grad_norm/global",
        "grad_norm/layer_00",
        "stream/rms/layer_02",
        "gain/min/final_norm",
    ):
        assert key in kept
    finer = {
        key for key in kept if key.count("/") > 2 or (key.count("/") == 2 and key.startswith("grad_norm"))
    }
    families = ("stream/branch_ratio", "covariate_shift/mean", "covariate_shift/variance")
    assert finer == {
        f"{family}/layer_{n:02d}/{part}" for family in families for n in range(3) for part in ("attn", "ffn")
    }


def test_detail_is_what_has_a_whole_in_the_same_row():
    row = {"a": 1, "a/b": 2, "a/b/c.d": 3, "e/f": 4, "e/g/h": 5, "ab/c": 6, "x/y": 7, "x/y/z/w": 8}
    assert coarse(row) == {"a": 1, "e/f": 4, "e/g/h": 5, "ab/c": 6, "x/y": 7}
    flags = {"nonfinite/gradient": 1.0, "nonfinite/gradient/layer_03/ffn.in": 12.0, "nonfinite/loss": 0.0}
    assert coarse(flags) == {"nonfinite/gradient": 1.0, "nonfinite/loss": 0.0}

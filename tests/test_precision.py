"""Every placement, and every norm, under bfloat16 autocast: a step is finite and near the one in float32."""

import math

import pytest

from normlab.catalogue.norms import NORMS
from normlab.catalogue.placements import PLACEMENTS
from normlab.data import load_corpus
from normlab.run import check
from normlab.training.batch import evaluate
from normlab.training.build import build
from normlab.training.step import take_step

CHANGES = {"norm.allow_leaky": True, "train.steps": 2}


def losses(config):
    """The losses of two steps, and that of an evaluation."""
    check(config)
    job = build(config, load_corpus(config.data, config.model.context))
    found = []
    for _ in range(2):
        found.append(take_step(job)["loss"])
        job.step += 1
    return [*found, evaluate(job)]


def assert_near(small, changes=None, **rows):
    changes = CHANGES | (changes or {})
    plain = losses(small(changes, **rows))
    half = losses(small(changes | {"train.precision": "bf16"}, **rows))
    assert all(map(math.isfinite, half)) and half != plain
    assert half == pytest.approx(plain, abs=0.05)


@pytest.mark.parametrize("name", PLACEMENTS)
def test_a_placement_trains_in_bf16(name, small):
    assert_near(
        small, placement=name, norm="l2norm" if PLACEMENTS[name].config.weights == "unit" else "layernorm"
    )


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_trains_in_bf16(name, small):
    # By default one channel of 16 would be its statistics: a division by a rounded number near 0.
    changes = {"norm.p": 0.5} if name == "prmsnorm" else {}
    assert_near(small, changes, norm=name, placement="qk_norm")

"""The second stream of the placements that have one, against what hooks took of it."""

import numpy as np
import pytest
import torch

from normlab.catalogue.placements import PLACEMENTS
from normlab.data import load_corpus
from normlab.training.build import build
from normlab.training.step import take_step

TWO = [name for name, row in PLACEMENTS.items() if row.config.second_stream]
LOOK = {"measure.stream": 1, "measure.grad_stream": 1, "train.precision": "fp64"}


def job_of(config):
    return build(config, load_corpus(config.data, config.model.context))


def close(x):
    return pytest.approx(float(x), rel=1e-9)


def test_there_are_three_placements_with_two_streams():
    assert TWO == ["residual_dual", "siamese", "siamese_bare"]


@pytest.mark.parametrize("placement", TWO)
def test_the_second_stream_is_measured_as_the_first(placement, small):
    job = job_of(small(LOOK | {"placement.second_scale": "1/2"}, placement=placement))
    seen = {}

    def hook(name):
        def keep(module, inputs, output):
            output.retain_grad()
            seen[name] = *(each.detach() for each in inputs), output

        return keep

    for name, module in job.model.named_modules():
        if name.endswith("carry"):
            module.register_forward_hook(hook(name))
    row = take_step(job)
    for layer in (0, 1):
        for part, after in (("attn", f"layer_0{layer}/attn"), ("ffn", f"layer_0{layer}")):
            before, branch, out = seen[f"layers.{layer}.{part}.carry"]
            y = out.detach().numpy()
            assert row[f"second_stream/rms/{after}"] == close(np.sqrt((y**2).mean()))
            assert row[f"second_stream/variance/{after}"] == close(y.var())
            assert row[f"second_stream/max/{after}"] == close(abs(y).max())
            assert row[f"second_stream/kurtosis/{after}"] == close((y**4).mean() / (y**2).mean() ** 2)
            assert row[f"nonfinite/second_stream/{after}"] == 0
            ratio = row[f"second_stream/branch_ratio/layer_0{layer}/{part}"]
            assert ratio == close((0.5 * branch).norm() / before.norm())
            np.testing.assert_array_equal(y, before + 0.5 * branch)
        assert row[f"grad_second_stream/layer_0{layer}"] == close(out.grad.norm())


def test_one_stream_has_no_second(small):
    assert not [key for key in take_step(job_of(small(LOOK, placement="post"))) if "second_stream" in key]


@pytest.mark.parametrize("placement", TWO)
def test_looking_at_the_second_stream_changes_no_loss(placement, small):
    losses = []
    for changes in ({}, {"measure.stream": 1, "measure.grad_stream": 1}):
        off = dict.fromkeys(("measure.stream", "measure.grad_stream"), 0)
        job = job_of(small(off | changes, placement=placement))
        seen = []
        for job.step in range(3):
            seen.append(take_step(job)["loss"])
        losses.append((seen, job.model.state_dict()))
    assert losses[0][0] == losses[1][0]
    assert all(torch.equal(a, b) for a, b in zip(losses[0][1].values(), losses[1][1].values(), strict=True))

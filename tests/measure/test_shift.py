"""Covariate shift against means and variances written out, before and after the step."""

import pytest
import torch

from normlab.data import load_corpus
from normlab.training.build import build
from normlab.training.step import take_step

LOOK = {"measure.covariate_shift": 1}
FP64 = {"train.precision": "fp64"}


def job_of(config):
    return build(config, load_corpus(config.data, config.model.context))


def moments(model, ids):
    """By sub-layer: (mean, variance, mean square) of each channel of what its branch is given."""
    found, handles = {}, []
    for layer, block in enumerate(model.layers):
        for part in ("attn", "ffn"):

            def keep(module, inputs, name=f"layer_0{layer}/{part}"):
                x = inputs[0].detach().flatten(0, 1)
                found[name] = x.mean(0), x.var(0, correction=0), x.square().mean(0)

            handles.append(getattr(block, part).branch.register_forward_pre_hook(keep))
    model(ids)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("placement", ["pre", "post", "siamese"])
@pytest.mark.parametrize("parts", [1, 2])
def test_it_is_the_change_of_mean_and_variance_by_one_step(placement, parts, small):
    job = job_of(small(LOOK | FP64 | {"train.accumulation": parts}, placement=placement))
    ids = torch.from_numpy(job.batches.train(0))[:, :-1]
    before = moments(job.model, ids)
    row = take_step(job)
    after = moments(job.model, ids)
    for name, (mean, variance, square) in before.items():
        new_mean, new_variance, _ = after[name]
        size = square.mean()
        wanted = (new_mean - mean).square().mean().sqrt() / size.sqrt()
        assert row[f"covariate_shift/mean/{name}"] == pytest.approx(wanted.item(), rel=1e-9)
        wanted = (new_variance - variance).square().mean().sqrt() / size
        assert row[f"covariate_shift/variance/{name}"] == pytest.approx(wanted.item(), rel=1e-9)
    shifts = [value for key, value in row.items() if key.startswith("covariate_shift/")]
    assert len(shifts) == 2 * 4
    if placement != "post":  # whose first input is the embedding
        assert all(value > 1e-6 for value in shifts)


def test_a_step_at_rate_0_shifts_nothing_even_with_dropout(small):
    changes = LOOK | {"model.dropout": 0.3, "warmup": 2, "train.accumulation": 2}
    job = job_of(small(changes, optimizer="sgd"))
    job.fault.rate = lambda step, rate: 0.0
    row = take_step(job)
    assert all(value == 0 for key, value in row.items() if key.startswith("covariate_shift/"))


@pytest.mark.parametrize("norm", ["layernorm", "batchnorm"])
def test_measuring_it_changes_nothing(norm, small):
    """With dropout and running statistics: same losses, weights and buffers, bit for bit."""
    changes = {"model.dropout": 0.3, "train.accumulation": 2}
    changes |= {"norm.allow_leaky": True} if norm == "batchnorm" else {}
    found = []
    for look in ({}, LOOK):
        job = job_of(small(changes | look, norm=norm))
        losses = []
        for job.step in range(4):
            losses.append(take_step(job)["loss"])
        found.append((losses, job.model.state_dict()))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(a, b) for a, b in zip(found[0][1].values(), found[1][1].values(), strict=True))


def test_it_has_a_cadence_and_is_left_out_of_a_step_that_is_not_taken(small):
    job = job_of(small({"measure.covariate_shift": 2, "fault.kind": "nan_gradient", "fault.step": 2}))
    having = []
    for job.step in range(5):
        row = take_step(job)
        having.append(any(key.startswith("covariate_shift/") for key in row))
    assert having == [True, False, False, False, True]


def test_nobody_pays_for_it_unasked(small):
    assert not any(key.startswith("covariate_shift/") for key in take_step(job_of(small())))

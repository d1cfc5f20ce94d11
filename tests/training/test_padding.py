"""Sequences of different lengths, padded: against each of them by itself, at its own length."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from normlab.config import PAD
from normlab.data import load_corpus, split
from normlab.errors import ConfigError
from normlab.model.gpt import GPT
from normlab.model.norms.batch import BatchNorm
from normlab.training.batch import backward, evaluate
from normlab.training.build import build
from normlab.training.checks import check_model
from normlab.training.loop import train

PADDED = {"data.lengths": "padded", "train.precision": "fp64", "train.batch_size": 8, "data.mask_rate": 0.4}
ENCODER = {"model.causal": False, "data.objective": "mlm"}
FORMS = [
    {},
    ENCODER,
    ENCODER | {"model.positions": "alibi"},
    ENCODER | {"placement.softcap": 2.0, "model.positions": "rope"},
    {"model.positions": "alibi"},
    {"placement.softcap": 2.0},
]


def job_of(config):
    return build(config, load_corpus(config.data, config.model.context))


def alone(job, batches):
    """Mean of -ln p over all targets, of sequences that pass a model without padding one by one."""
    config = copy.deepcopy(job.config)
    object.__setattr__(config.data, "lengths", "packed")
    model = GPT(config, job.model.head.out_features).double()
    model.load_state_dict(job.model.state_dict())
    losses = []
    for inputs, targets in zip(
        *split(torch.cat([torch.from_numpy(batch) for batch in batches])), strict=True
    ):
        length = int((inputs != PAD).sum())
        logits = model(inputs[None, :length])[0]
        losses.append(F.cross_entropy(logits, targets[:length], reduction="none", ignore_index=-100))
        losses[-1] = losses[-1][targets[:length] >= 0]
    return torch.cat(losses).mean(), model


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_padding_changes_neither_the_loss_nor_a_gradient(form, parts, small):
    """However the batch is divided, though its parts have different numbers of targets."""
    job = job_of(small(PADDED | form | {"train.accumulation": parts}))
    batch = job.batches.train(1)
    inputs = torch.from_numpy(split(batch)[0])
    assert len(set((inputs != PAD).sum(1).tolist())) > 2
    expected, model = alone(job, [batch])
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    assert backward(job, torch.from_numpy(batch)).item() == pytest.approx(expected.item(), rel=1e-12)
    for ours, theirs in zip(job.model.parameters(), wanted, strict=True):
        torch.testing.assert_close(ours.grad, theirs)


@pytest.mark.parametrize("form", [{}, ENCODER], ids=["clm", "mlm"])
def test_validation_counts_every_target_once(form, small):
    job = job_of(small(PADDED | form))
    job.model.eval()
    expected, _ = alone(job, job.batches.validation(2))
    assert evaluate(job) == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("seen", [True, False])
def test_batch_norm_counts_padding_or_leaves_it_out(seen, small):
    """Its statistics are those of all B*T rows or of the tokens' rows alone, by torch's own module."""
    changes = PADDED | ENCODER | {"data.norms_see_padding": seen}
    job = job_of(small(changes, norm="batchnorm", placement="qk_norm"))
    norms = [module for module in job.model.modules() if isinstance(module, BatchNorm)]
    given = {}
    for norm in norms:
        norm.register_forward_hook(
            lambda module, inputs, out: given.__setitem__(module, (inputs[0].detach(), out.detach()))
        )
    inputs = torch.from_numpy(split(job.batches.train(1))[0])
    job.model.train()(inputs)
    real = inputs != PAD
    assert 0 < real.sum() < real.numel()
    for norm, (x, out) in given.items():
        rows = real.repeat_interleave(len(x) // len(real), 0) if len(x) > len(real) else real
        rows = torch.ones_like(rows) if seen else rows
        theirs = torch.nn.BatchNorm1d(x.shape[-1], eps=norm.eps, momentum=norm.momentum).double()
        torch.testing.assert_close(out[rows], theirs(x[rows]))
        assert not out[~rows].any()
        torch.testing.assert_close(norm.running_mean, theirs.running_mean)
        torch.testing.assert_close(norm.running_var, theirs.running_var)
    assert len({tuple(x.shape) for x, _ in given.values()}) == 2  # of the stream, and of heads


def test_a_resumed_run_on_padded_batches_goes_on_bit_for_bit(small):
    config = small(PADDED | ENCODER | {"data.norms_see_padding": False}, norm="batchnorm")

    class Rows(list):
        row, events, checkpoint = list.append, lambda self, found: None, lambda self, job: None

    whole, first, rest = Rows(), Rows(), Rows()
    train(job_of(config), whole, lambda: False)
    stopped, resumed = job_of(config), job_of(config)
    train(stopped, first, lambda: len(first) == 3)
    resumed.load_state_dict(copy.deepcopy(stopped.state_dict()))
    train(resumed, rest, lambda: False)
    assert [row["loss"] for row in whole] == [row["loss"] for row in [*first, *rest]]
    assert all(math.isfinite(row["loss"]) for row in whole)
    assert not [key for row in whole for key in row if key.startswith("attention/")]


@pytest.mark.parametrize(
    ("changes", "rows", "says"),
    [
        ({"data.lengths": "ragged"}, {}, r"data\.lengths: 'ragged' is not one of packed, padded"),
        (
            {"data.norms_see_padding": False},
            {"norm": "instancenorm_time"},
            r"data\.norms_see_padding: false is for norm=batchnorm; norm=instancenorm_time",
        ),
        ({"train.compile": True}, {}, r"train\.compile: .* use false, or data\.lengths=packed"),
        ({"train.processes": 2}, {}, r"train\.processes: .* use 1, or data\.lengths=packed"),
    ],
)
def test_what_padding_cannot_do_is_refused(changes, rows, says, small):
    with pytest.raises(ConfigError, match=says):
        check_model(small(PADDED | ENCODER | changes, **rows))

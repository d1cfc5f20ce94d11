"""A run on masked tokens: its loss, which accumulation, processes, resuming and measuring leave alone."""

import copy

import pytest
import torch

from normlab.config import MEASURED
from normlab.data import load_corpus, split
from normlab.errors import ConfigError
from normlab.training.batch import backward, evaluate
from normlab.training.build import build
from normlab.training.checks import check_model
from normlab.training.loop import train
from normlab.training.world import Alone

ENCODER = {"model.causal": False, "data.objective": "mlm", "train.precision": "fp64"}


class Rows:
    def __init__(self):
        self.rows = []

    def row(self, row):
        self.rows.append(row)

    def events(self, events):
        pass

    def checkpoint(self, job):
        pass


def job_of(config):
    return build(config, load_corpus(config.data, config.model.context))


def trained(config, job=None):
    listener = Rows()
    train(job or job_of(config), listener, lambda: False)
    return [
        {key: value for key, value in row.items() if not key.startswith("time/")} for row in listener.rows
    ]


def written_out(job, batches):
    """Mean of -ln p over the targets of all the batches."""
    inputs, targets = split(torch.cat([torch.from_numpy(batch) for batch in batches]))
    places = (targets >= 0).nonzero().tolist()
    assert 0 < len(places) < targets.numel()
    logits = job.model(inputs)
    log_p = logits - logits.exp().sum(-1, keepdim=True).log()
    return -torch.stack([log_p[b, t, targets[b, t]] for b, t in places]).mean()


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_the_loss_and_its_gradient_are_those_of_the_chosen_tokens_alone(parts, small):
    job = job_of(small(ENCODER | {"train.accumulation": parts, "model.context": 16, "data.mask_rate": 0.3}))
    expected = written_out(job, [job.batches.train(0)])
    wanted = torch.autograd.grad(expected, list(job.model.parameters()))
    loss = backward(job, torch.from_numpy(job.batches.train(0)))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for ours, theirs in zip(job.model.parameters(), wanted, strict=True):
        torch.testing.assert_close(ours.grad, theirs)


def test_validation_is_the_mean_over_its_chosen_tokens(small):
    job = job_of(small(ENCODER))
    job.model.eval()
    expected = written_out(job, job.batches.validation(2)).item()
    assert evaluate(job) == pytest.approx(expected, rel=1e-12)


def test_processes_share_a_batch_without_changing_it(small):
    """Each of two sees its half; the mean of their losses is the batch's."""
    job = job_of(small(ENCODER))
    ids, losses = torch.from_numpy(job.batches.train(0)), []
    whole = backward(job, ids).item()
    for rank in (0, 1):
        job.world = Alone()
        job.world.rank, job.world.size = rank, 2
        losses.append(backward(job, ids).item())
    assert losses[0] != losses[1] and sum(losses) / 2 == pytest.approx(whole, rel=1e-12)


def test_a_resumed_run_goes_on_bit_for_bit(small):
    config = small(ENCODER | {"model.dropout": 0.1})
    job, halfway = job_of(config), []
    rows = trained(config, job)
    again = job_of(config)

    class Stop(Rows):
        def row(self, row):
            halfway.append(row)

    train(again, Stop(), lambda: len(halfway) == 3)
    state = copy.deepcopy(again.state_dict())
    resumed = job_of(config)
    resumed.load_state_dict(state)
    assert trained(config, resumed) == rows[3:]
    for ours, theirs in zip(resumed.model.parameters(), job.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_measuring_masked_tokens_changes_nothing(small):
    every = {f"measure.{kind}": 1 for kind in MEASURED} | {
        "measure.ablation": "eval",
        "measure.growth": "eval",
    }
    never = {f"measure.{kind}": 0 for kind in MEASURED}
    full, brief = (trained(small(ENCODER | changes)) for changes in (every, never))
    assert [(row["loss"], row.get("val/loss")) for row in full] == [
        (row["loss"], row.get("val/loss")) for row in brief
    ]
    assert "attention/entropy_share/layer_00" in full[0] and "output/loss_p99" in full[0]


def test_a_norm_that_mixes_tokens_needs_no_leave_where_targets_are_masked(small):
    """It does with the next token as the target, whose place its statistics take in."""
    with pytest.raises(ConfigError, match=r"norm\.allow_leaky"):
        check_model(small({}, norm="batchnorm"))
    check_model(small(ENCODER, norm="batchnorm"))
    check_model(small({"data.objective": "mlm"}, norm="batchnorm"))

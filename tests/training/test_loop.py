import copy
import functools
import math

import pytest
import torch
import torch.nn.functional as F

from normlab import run as composition
from normlab.catalogue.optimizers import OPTIMIZERS
from normlab.config import MEASURED
from normlab.data import load_corpus
from normlab.errors import ConfigError
from normlab.training import batch, loop
from normlab.training.batch import backward
from normlab.training.build import build
from normlab.training.loop import train
from normlab.training.step import take_step


class Listener:
    """Keeps what the loop says."""

    def __init__(self):
        self.rows, self.seen, self.saved = [], [], []

    def row(self, row):
        self.rows.append(row)

    def events(self, events):
        self.seen += events

    def checkpoint(self, job):
        self.saved.append((job.step, copy.deepcopy(job.state_dict())))


def job_of(config):
    return build(config, load_corpus(config.data, config.model.context))


def trained(config, job=None):
    job, listener = job or job_of(config), Listener()
    train(job, listener, lambda: False)
    return job, listener


def untimed(rows):
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]


def weights(job):
    return torch.cat([parameter.detach().flatten() for parameter in job.model.parameters()])


def test_rows_hold_the_promised_keys(small):
    _, listener = trained(small({"depth": 2}))
    assert [row["step"] for row in listener.rows] == list(range(6))
    row = listener.rows[0]
    assert row["tokens"] == 4 * 8 and row["lr"] == 2.5e-3 and math.isfinite(row["loss"])
    places = {"global", "embedding", "layer_00", "layer_01", "final_norm", "head"}
    kinds = {
        f"layer_0{i}/{kind}" for i in (0, 1) for kind in ("attn.qkv", "attn.out", "ffn.in", "ffn.out", "norm")
    }
    assert {key for key in row if key.startswith("grad_norm/")} == {
        f"grad_norm/{name}" for name in places | kinds | {"first_to_last"}
    }
    assert [row["step"] for row in listener.rows if "val/loss" in row] == [2, 5]


def test_a_step_is_the_textbook_step(small):
    """Loss, gradient norm, rate and update against plain torch, with warm-up and clipping."""
    config = small({"warmup": 4, "train.clip": 0.1, "optimizer.weight_decay": 0.1})
    job = job_of(config)
    model = copy.deepcopy(job.model)
    decaying, others = ([p for p in model.parameters() if (p.ndim > 1) == matrix] for matrix in (True, False))
    groups = [{"params": decaying}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    for step in range(3):
        row = take_step(job)
        ids = torch.from_numpy(job.batches.train(step))
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        total = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        for group in optimizer.param_groups:
            group["lr"] = 2.5e-3 * (step + 1) / 4
        optimizer.step()
        optimizer.zero_grad()
        job.step += 1
        assert row["loss"] == pytest.approx(loss.item(), rel=1e-6)
        assert row["grad_norm/global"] == pytest.approx(total.item(), rel=1e-5)
        assert row["lr"] == optimizer.param_groups[0]["lr"]
    for ours, theirs in zip(job.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_norm_after_clipping_is_that_of_what_the_optimizer_gets(small, monkeypatch):
    """Without a second pass over the gradients, against one; a step that is not taken has no such norm."""
    job = job_of(small({"train.clip": 1.4, "fault.kind": "nan_gradient", "fault.step": 3, "train.steps": 20}))
    stepped, given = job.optimizer.step, []

    def step():
        given.append(torch.cat([p.grad.flatten() for p in job.model.parameters()]).norm().item())
        stepped()

    monkeypatch.setattr(job.optimizer, "step", step)
    _, listener = trained(job.config, job)
    assert not {"grad_norm/clipped", "grad_clip/clipped"} & set(listener.rows[3])
    rows = listener.rows[:3] + listener.rows[4:]
    assert [row["grad_norm/clipped"] for row in rows] == pytest.approx(given, rel=1e-5)
    assert [row["grad_clip/clipped"] for row in rows] == [row["grad_norm/global"] > 1.4 for row in rows]
    assert {0.0, 1.0} == {row["grad_clip/clipped"] for row in rows}


def test_without_clipping_nothing_is_said_of_it(small):
    assert not [key for key in take_step(job_of(small())) if "clip" in key]


@pytest.mark.parametrize("parts", [1, 2])
def test_z_loss_is_in_the_gradient_and_not_in_the_loss(parts, small):
    """Against autograd of the sum written out, and the logged loss against the one without."""
    changes = {"train.precision": "fp64", "train.accumulation": parts, "init.head_std": 1.0}
    plain, job = job_of(small(changes)), job_of(small(changes | {"train.z_loss": 0.3}))
    ids = torch.from_numpy(job.batches.train(0))
    logits = plain.model(ids[:, :-1])
    log_z = logits.exp().sum(-1).log()
    objective = (log_z - logits.gather(2, ids[:, 1:, None])[..., 0]).mean() + 0.3 * (log_z**2).mean()
    expected = torch.autograd.grad(objective, list(plain.model.parameters()))
    assert backward(job, ids).item() == pytest.approx(backward(plain, ids).item(), rel=1e-12)
    for ours, wanted, without in zip(job.model.parameters(), expected, plain.model.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, wanted)
        assert not torch.allclose(ours.grad, without.grad, rtol=1e-3)


def test_z_loss_pulls_the_normalizer_to_one_and_is_not_in_the_validation_loss(small):
    def normalizer(job):
        ids = torch.from_numpy(job.batches.train(0))
        return job.model(ids[:, :-1]).logsumexp(-1).square().mean().item()

    free, pulled = (job_of(small({"train.steps": 40, "train.z_loss": c})) for c in (0.0, 0.1))
    (_, _), (_, listener) = trained(free.config, free), trained(pulled.config, pulled)
    assert normalizer(pulled) < normalizer(free) / 2
    ids = [torch.from_numpy(batch) for batch in pulled.batches.validation(2)]
    losses = [
        F.cross_entropy(pulled.model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten()) for batch in ids
    ]
    assert listener.rows[-1]["val/loss"] == pytest.approx(torch.stack(losses).mean().item(), rel=1e-6)


def test_without_z_loss_nothing_of_it_is_computed(small, monkeypatch):
    monkeypatch.setattr(batch, "z_loss", None)  # calling it would raise
    _, listener = trained(small())
    assert len(listener.rows) == 6


@pytest.mark.parametrize("value", [-1e-4, math.inf, math.nan])
def test_a_bad_z_loss_is_named(value, small):
    with pytest.raises(ConfigError, match=r"train\.z_loss"):
        small({"train.z_loss": value})


def test_measuring_does_not_change_training(small):
    """Bit for bit, with clipping and dropout on, and evaluation and logging at another cadence."""
    changes = {"train.clip": 0.5, "model.dropout": 0.1}
    changes |= {"train.accumulation": 2}
    full, a = trained(small(changes | {f"measure.{kind}": 1 for kind in MEASURED}))
    assert {"stream/rms/layer_00", "update/ratio/head", "grad_stream/embedding"} <= set(a.rows[0])
    other = {f"measure.{kind}": 0 for kind in MEASURED} | {"train.eval_every": 2, "train.log_every": 2}
    brief, b = trained(small(changes | other))
    assert not [key for key in b.rows[0] if key.startswith(("stream", "update", "attention"))]
    assert torch.equal(weights(full), weights(brief))
    losses = {row["step"]: row["loss"] for row in b.rows}
    assert set(losses) == {0, 1, 2, 3, 4, 5} - {row for row in (1, 3) if row not in losses}
    assert all(row["loss"] == losses[row["step"]] for row in a.rows if row["step"] in losses)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, on importing its compiler
@pytest.mark.parametrize(
    ("norm", "setting"),
    [(norm, {"train.precision": "bf16"}) for norm in ("dyt", "batchnorm", "powernorm")]
    + [("batchnorm", {"train.compile": True})],
)
def test_instruments_of_the_norms_work_and_change_nothing(norm, setting, small, monkeypatch):
    whole = functools.partialmethod(torch.nn.Module.compile, backend="aot_eager")
    monkeypatch.setattr(torch.nn.Module, "compile", whole)
    changes = setting | {"norm.allow_leaky": True, "model.dropout": 0.1, "train.steps": 3}
    changes |= {"train.accumulation": 2}
    runs = [
        trained(small(changes | {f"measure.{kind}": every for kind in MEASURED}, norm=norm))
        for every in (1, 0)
    ]
    (seeing, a), (blind, b) = runs
    assert [row["loss"] for row in a.rows] == [row["loss"] for row in b.rows]
    for ours, theirs in zip(
        seeing.model.state_dict().values(), blind.model.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)
    own = {key for key in a.rows[0] if key.startswith(("norm/", "batchnorm/"))}
    places = {"layer_00", "layer_01", "final_norm"}
    expected = {
        "dyt": {f"norm/saturated/{place}" for place in places},
        "powernorm": {f"batchnorm/std_gap/{place}" for place in places},
    }
    expected["batchnorm"] = expected["powernorm"] | {f"batchnorm/mean_gap/{place}" for place in places}
    losses = set() if norm == "dyt" else {"batchnorm/loss_eval", "batchnorm/loss_gap"}
    assert own == expected[norm] | losses
    assert all(math.isfinite(row[key]) for row in a.rows for key in own)


@pytest.mark.parametrize("placement", ["pre", "residual_dual"])
def test_running_blocks_again_changes_nothing_but_what_is_kept(placement, small):
    changes = {"model.dropout": 0.2} | {f"measure.{kind}": 1 for kind in MEASURED}
    kept, rows = [], []
    for again in (False, True):
        job, held = (
            job_of(small(changes | {"train.activation_checkpointing": again}, placement=placement)),
            [],
        )
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, held=held: held.append(x.numel()) or x, lambda x: x
        ):
            rows += untimed([take_step(job)])
        kept.append(sum(held))
    assert rows[0] == rows[1]
    assert kept[1] < kept[0] / 3


@pytest.mark.parametrize(("norm", "placement"), [("batchnorm", "pre"), ("layernorm", "sigma_reparam")])
def test_what_moves_in_the_forward_pass_is_not_run_again(norm, placement, small):
    changes = {"train.activation_checkpointing": True, "norm.allow_leaky": True}
    with pytest.raises(ConfigError, match=r"train\.activation_checkpointing: runs a block twice"):
        composition.check(small(changes, norm=norm, placement=placement))


def test_accumulation_gives_the_gradient_of_the_whole_batch(small):
    whole, parts = (job_of(small({"train.accumulation": n, "train.precision": "fp64"})) for n in (1, 4))
    one, other = take_step(whole), take_step(parts)
    assert one["loss"] == pytest.approx(other["loss"], rel=1e-6)
    assert one["grad_norm/layer_01/ffn.in"] == pytest.approx(other["grad_norm/layer_01/ffn.in"], rel=1e-9)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp64", 1e-5), ("bf16", 2e-2)])
def test_other_precisions_agree_with_fp32(precision, tolerance, small):
    _, plain = trained(small())
    job, other = trained(small({"train.precision": precision}))
    assert next(job.model.parameters()).dtype == (torch.float64 if precision == "fp64" else torch.float32)
    for a, b in zip(plain.rows, other.rows, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=tolerance)
    assert plain.rows[3]["loss"] != other.rows[3]["loss"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss_and_resumes_exactly(optimizer, small):
    changes = {"train.steps": 40, "train.checkpoint.every": 15, "model.dropout": 0.1}
    config = small(changes | {"train.eval_every": 40}, optimizer=optimizer)
    job, listener = trained(config)
    assert listener.rows[-1]["loss"] < listener.rows[0]["loss"] - 0.05
    step, state = listener.saved[0]
    again = job_of(config)
    torch.manual_seed(99)
    again.load_state_dict(state)
    _, rest = trained(config, again)
    assert step == 15 and untimed(rest.rows) == untimed(listener.rows[15:])
    assert torch.equal(weights(job), weights(again))


def test_a_step_with_a_non_finite_gradient_is_not_taken_and_training_goes_on(small):
    job = job_of(small())
    before, spoilt = weights(job).clone(), []

    def spoil(gradient):
        return gradient * torch.nan if not spoilt.append(1) and len(spoilt) == 1 else gradient

    job.model.layers[1].ffn.branch.w_in.weight.register_hook(spoil)
    listener = Listener()
    row = take_step(job)
    assert math.isnan(row["grad_norm/global"]) and torch.equal(weights(job), before)
    train(job, listener, lambda: False)
    assert len(listener.rows) == 6 and not torch.equal(weights(job), before)


def counts(row):
    return {key: value for key, value in row.items() if key.startswith("nonfinite/gradient/")}


def test_what_is_not_finite_is_flagged_with_finite_numbers(small):
    """A NaN in one gradient, then one in an activation, which spoils the loss and every gradient."""
    faults = {"fault.kind": "nan_gradient", "fault.step": 1, "fault.layer": 1}
    _, listener = trained(small(faults))
    flags = [(row["nonfinite/loss"], row["nonfinite/gradient"]) for row in listener.rows]
    assert flags == [(0, 0), (0, 1), (0, 0), (0, 0), (0, 0), (0, 0)]
    assert counts(listener.rows[1]) == {"nonfinite/gradient/layer_01/ffn.in": 1}
    assert not any(counts(row) for row in listener.rows if row["step"] != 1)
    job, listener = trained(small(faults | {"fault.kind": "nan_activation"}))
    assert listener.rows[1]["nonfinite/loss"] == listener.rows[1]["nonfinite/gradient"] == 1
    sizes = {
        f"nonfinite/gradient/{site}": sum(p.numel() for p in several)
        for site, several in job.layout.sites.items()
    }
    found = counts(listener.rows[1])
    assert found["nonfinite/gradient/head"] == sizes["nonfinite/gradient/head"]
    assert all(0 < count <= sizes[key] for key, count in found.items())


def test_a_norm_that_overflows_without_a_broken_number_counts_none(small):
    job = job_of(small())
    job.model.head.weight.register_hook(lambda gradient: torch.full_like(gradient, 3e38))
    row = take_step(job)
    assert row["grad_norm/global"] == math.inf and row["nonfinite/gradient"] == 1 and not counts(row)


def test_non_finite_parameters_end_the_run_and_are_named(small):
    job, listener = job_of(small()), Listener()
    with torch.no_grad():
        job.model.layers[0].attn.branch.out.weight[0, 0] = torch.inf
    train(job, listener, lambda: False)
    assert [event.kind for event in listener.seen] == ["nonfinite"]
    assert listener.rows[-1]["nonfinite/parameter"] == "layer_00/attn.out"
    assert len(listener.rows) == 1


def test_stop_on_divergence_and_interrupt_end_the_loop_with_a_checkpoint(small):
    calls = iter([False, False, True])
    job, listener = job_of(small()), Listener()
    train(job, listener, lambda: next(calls))
    assert len(listener.rows) == 3 and [step for step, _ in listener.saved] == [3]


def test_the_lowest_validation_loss_is_saved_where_it_is_found(small, monkeypatch):
    """Besides the steps that are due; 5 is the last step, which is always saved."""
    validation = iter([3.0, math.nan, 2.5, 2.6, 2.4])
    monkeypatch.setattr(loop, "evaluate", lambda job: next(validation))
    _, listener = trained(small({"train.steps": 5, "train.eval_every": 1, "train.checkpoint.every": 4}))
    assert [(step, state["best"]) for step, state in listener.saved] == [
        (1, (3.0, 1)),
        (3, (2.5, 3)),
        (4, (2.5, 3)),
        (5, (2.4, 5)),
    ]


@pytest.mark.parametrize(("minutes", "saved"), [(1.5, [2, 4, 6]), (None, [6]), (10.0, [6])])
def test_minutes_bring_a_checkpoint_whatever_the_date_does(minutes, saved, small, monkeypatch):
    """Every step takes a minute by the clock that cannot be set; the one that can jumps back."""
    minute, date = iter(range(0, 6000, 60)), iter(range(10**9, 0, -3600))
    monkeypatch.setattr("normlab.training.checkpoint.time.monotonic", lambda: float(next(minute)))
    monkeypatch.setattr("time.time", lambda: float(next(date)))
    _, listener = trained(small({"train.checkpoint.minutes": minutes, "train.eval_every": 6}))
    assert [step for step, _ in listener.saved] == saved


@pytest.mark.parametrize(("every", "saved"), [(None, [6]), (4, [4, 6])])
def test_without_a_cadence_there_is_a_checkpoint_at_the_end_alone(every, saved, small):
    changes = {"train.checkpoint.every": every, "train.checkpoint.minutes": None, "train.eval_every": 6}
    _, listener = trained(small(changes))
    assert [step for step, _ in listener.saved] == saved


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, on importing its compiler
def test_compiled_model_gives_the_same_losses(small, monkeypatch):
    """Traced and differentiated as one graph; without the C++ step of the default backend, which is slow."""
    whole = functools.partialmethod(torch.nn.Module.compile, backend="aot_eager", fullgraph=True)
    monkeypatch.setattr(torch.nn.Module, "compile", whole)
    _, plain = trained(small({"train.steps": 2}))
    _, compiled = trained(small({"train.steps": 2, "train.compile": True}))
    for a, b in zip(plain.rows, compiled.rows, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)


def test_a_scheduled_scale_follows_the_step_and_a_resumed_run_goes_on_with_it(small):
    config = small({"placement.parameters.ramp": 4.0, "train.eval_every": 100}, placement="branchnorm")
    job = job_of(config)
    factors = []
    for step in range(6):
        take_step(job)
        job.step += 1
        factors.append(float(job.model.layers[0].attn.branch_scale.factor))
        if step == 2:
            state = copy.deepcopy(job.state_dict())
    assert factors == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    again = job_of(config)
    again.load_state_dict(state)
    trained(config, again)
    assert torch.equal(weights(again), weights(job))


def test_the_constraint_holds_after_each_step_and_the_profile_is_taken_from_the_first_batch(small):
    job = job_of(small(placement="ngpt"))
    before = weights(job)
    take_step(job)
    assert not torch.equal(weights(job), before)
    assert torch.allclose(job.model.head.weight.norm(dim=1), torch.ones(job.model.head.weight.shape[0]))
    admin = job_of(small(placement="admin"))
    scales = [block.ffn.skip_scale.weight for block in admin.model.layers]
    again = job_of(small(placement="admin"))
    again.model.profile(torch.from_numpy(again.batches.train(0))[:, :-1])
    assert torch.equal(weights(admin), weights(again))
    assert all(scale.min() == scale.max() != 1 for scale in scales)

"""Measures with passes of their own: against the same by hand, and that they leave everything as it was."""

import copy
import functools
import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from normlab import run as composition
from normlab.config import PASSES
from normlab.data import load_corpus
from normlab.errors import ConfigError
from normlab.measure.sharpness import BISECTIONS
from normlab.rundir.writer import read_rows, read_summary
from normlab.training.build import build
from normlab.training.loop import train
from normlab.training.passes import ablation, gradient_noise, stream_growth
from normlab.training.rng import rng_state

ALL = {f"measure.{name}": "eval" for name in PASSES}


class Rows(list):
    """A listener that keeps the rows."""

    def row(self, row):
        self.append(row)

    def events(self, events):
        pass

    def checkpoint(self, job):
        pass


def job_of(config):
    return build(config, load_corpus(config.data, config.model.context))


def trained(config):
    job, rows = job_of(config), Rows()
    train(job, rows, lambda: False)
    return job, rows


def families(row):
    return {key.partition("/")[0] for key in row} & set(PASSES)


def repr_of(job):
    """All that a resumed run needs but its config, as text: tensors to the bit."""

    def plain(value):
        if isinstance(value, torch.Tensor):
            return value.float().numpy().tobytes().hex() if value.is_floating_point() else value.tolist()
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else value

    return repr(plain(job.state_dict() | {"config": None}))


def untimed(row):
    """As JSON, where a NaN is one."""
    return json.dumps({key: value for key, value in row.items() if not key.startswith("time/")})


def validation(job):
    return [torch.from_numpy(batch) for batch in job.batches.validation(job.config.train.eval_batches)]


def cross_entropy(model, ids):
    return F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())


HARD = {
    "train.accumulation": 2,
    "train.clip": 0.5,
    "model.dropout": 0.2,
    "train.eval_every": 2,
    "norm.allow_leaky": True,
}


@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        ({}, {"norm": "batchnorm"}),
        ({}, {"norm": "powernorm"}),
        ({"placement.weights": "sigma_reparam"}, {}),
        ({}, {"placement": "ngpt"}),
        ({}, {"placement": "branchnorm"}),
        ({"train.precision": "bf16"}, {"placement": "residual_dual", "optimizer": "muon"}),
        ({"train.activation_checkpointing": True}, {"placement": "post"}),
    ],
)
def test_they_leave_training_as_it_was(changes, rows, small):
    """Losses, weights, buffers, optimizer and random numbers, bit for bit."""
    measured, seen = trained(small(HARD | changes | ALL, **rows))
    plain, expected = trained(small(HARD | changes, **rows))
    assert [families(row) for row in seen] == [set(), set(PASSES)] * 3
    assert [untimed({k: ours[k] for k in theirs}) for ours, theirs in zip(seen, expected, strict=True)] == [
        untimed(row) for row in expected
    ]
    assert repr_of(measured) == repr_of(plain)
    for one, other in zip(measured.model.modules(), plain.model.modules(), strict=True):
        assert one.training == other.training
    assert all(parameter.grad is None for parameter in measured.model.parameters())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, on importing its compiler
def test_a_compiled_model_is_measured_too(small, monkeypatch):
    torch.compiler.reset()  # recompilations for other tests' models count towards a limit
    whole = functools.partialmethod(nn.Module.compile, backend="aot_eager", fullgraph=True)
    monkeypatch.setattr(nn.Module, "compile", whole)
    changes = {"train.steps": 1, "train.accumulation": 2, "train.precision": "fp64"}
    (_, eager), (_, compiled) = (
        trained(small(ALL | changes | {"train.compile": on})) for on in (False, True)
    )
    found, expected = ({k: v for k, v in rows[-1].items() if "/" in k} for rows in (compiled, eager))
    assert families(found) == set(PASSES)
    for key in expected:
        if key.partition("/")[0] in PASSES:
            assert found[key] == pytest.approx(expected[key], rel=1e-5, abs=1e-9, nan_ok=True), key


@pytest.mark.parametrize("name", PASSES)
def test_each_by_itself_never_at_the_end_or_at_every_evaluation(name, small):
    for when, expected in {"never": [0, 0], "end": [0, 1], "eval": [1, 1]}.items():
        _, rows = trained(small({f"measure.{name}": when, "train.accumulation": 2}))
        evaluated = [row for row in rows if "val/loss" in row]
        assert [len(families(row)) for row in evaluated] == expected
        assert not any(families(row) for row in rows if row not in evaluated)
        assert families(rows[-1]) <= {name}


@pytest.mark.parametrize("name", PASSES)
def test_another_word_is_refused(name, small):
    with pytest.raises(ConfigError, match=rf"measure\.{name}.*eval"):
        small({f"measure.{name}": "evla"})


def test_without_micro_batches_the_noise_scale_is_left_out_with_a_word(small, tmp_path, capsys):
    config = small(ALL)
    summary = composition.run(config, tmp_path / "run", plain=True)
    out = " ".join(capsys.readouterr().out.split())
    assert out.count("warning:") == 1
    assert "left out measure.noise_scale: needs micro-batches; set train.accumulation=2 or more" in out
    assert families(summary) == set(PASSES) - {"noise_scale"}
    assert job_of(small(ALL | {"train.accumulation": 2})).instruments.left_out == ()
    assert job_of(small()).instruments.left_out == ()


def test_the_end_of_a_run_has_them_in_its_last_row_and_in_its_summary(small, tmp_path):
    changes = {f"measure.{name}": "end" for name in PASSES} | {"train.accumulation": 2}
    composition.run(small(changes), tmp_path / "run", plain=True)
    rows, summary = read_rows(tmp_path / "run"), read_summary(tmp_path / "run")
    assert [bool(families(row)) for row in rows] == [False] * 5 + [True]
    found = {key: value for key, value in rows[-1].items() if key.partition("/")[0] in PASSES}
    assert found == {key: value for key, value in summary.items() if key.partition("/")[0] in PASSES}
    assert {"ablation/skip/layer_01", "ablation/swap/layer_00", "growth/gradient/upper"} <= set(found)


def test_a_resumed_run_measures_what_one_that_was_never_stopped_does(small, tmp_path):
    config = small(ALL | HARD | {"train.checkpoint.every": 1})
    whole = composition.run(config, tmp_path / "whole", plain=True)
    stopped, rows = job_of(config), Rows()
    train(stopped, rows, lambda: stopped.step == 3)
    state = copy.deepcopy(stopped.state_dict())
    again = job_of(config)
    again.load_state_dict(state)
    train(again, rows, lambda: False)
    expected = read_rows(tmp_path / "whole")
    assert [untimed(row) for row in rows] == [untimed(row) for row in expected]
    assert families(whole) == set(PASSES)


def test_a_model_that_is_not_finite_has_nan_for_them(small):
    changes = ALL | {"train.accumulation": 2, "train.eval_every": 1, "train.steps": 2}
    job = job_of(small(changes))
    with torch.no_grad():
        job.model.layers[1].ffn.branch.w_in.weight[0, 0] = math.nan
    rows = Rows()
    train(job, rows, lambda: False)
    found = {key: value for key, value in rows[0].items() if key.partition("/")[0] in PASSES}
    assert families(found) == set(PASSES)
    finite = {key for key, value in found.items() if math.isfinite(value)}
    assert finite == {"sharpness/found", "growth/activation/lower"}
    assert found["sharpness/found"] == 0


def test_a_step_that_is_not_taken_has_no_sharpness(small):
    """A gradient that is not finite, of a model that is."""
    changes = {"measure.sharpness": "eval", "fault.kind": "nan_gradient", "fault.step": 2}
    _, rows = trained(small(changes))
    assert math.isnan(rows[2]["sharpness/critical"]) and rows[2]["sharpness/found"] == 0
    assert rows[5]["sharpness/critical"] > 0


def test_the_ablation_is_of_the_validation_loss(small):
    """Against the model without the block, over the same windows."""
    job = job_of(small({"depth": 3, "train.precision": "fp64", "train.steps": 20, "model.dropout": 0.1}))
    train(job, Rows(), lambda: False)
    job.model.eval()
    found = ablation(job)
    with torch.no_grad():
        whole = torch.stack([cross_entropy(job.model, ids) for ids in validation(job)]).mean()
        for index in range(3):
            shorter = copy.deepcopy(job.model)
            del shorter.layers[index]
            loss = torch.stack([cross_entropy(shorter, ids) for ids in validation(job)]).mean()
            rise = (loss - whole).item()
            assert found[f"ablation/skip/layer_0{index}"] == pytest.approx(rise, abs=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "accumulation", "placement"),
    [("sgd", 1, "pre"), ("adamw", 2, "post"), ("lion", 1, "pre"), ("adamw", 1, "ngpt")],
)
def test_the_sharpness_is_along_the_step_that_was_taken(optimizer, accumulation, placement, small):
    """Against the losses on the line through the weights before and after the last step."""
    changes = {
        "measure.sharpness": "end",
        "train.precision": "fp64",
        "train.accumulation": accumulation,
        "optimizer.weight_decay": 0.1,
        "train.clip": 0.3,
        "model.dropout": 0.2,
        "warmup": 5,
    }
    job = job_of(small(changes, optimizer=optimizer, placement=placement))
    line = {}
    real = job.optimizer.step

    def step():
        line["before"] = copy.deepcopy(job.model)
        real()
        line["after"] = copy.deepcopy(job.model)
        line["after"].constrain()

    job.optimizer.step = step
    rows = Rows()
    train(job, rows, lambda: False)
    ids = torch.from_numpy(job.batches.train(5))
    point = copy.deepcopy(job.model).eval()

    def loss(multiple):
        trio = zip(point.parameters(), line["before"].parameters(), line["after"].parameters(), strict=True)
        with torch.no_grad():
            for parameter, old, new in trio:
                parameter.copy_(old + multiple * (new - old))
            point.constrain()  # nGPT keeps its weights at unit length
            return cross_entropy(point, ids).item()

    found = rows[-1]
    assert found["sharpness/found"] == 1
    multiple = found["sharpness/multiple"]
    assert loss(multiple) > loss(0) >= loss(multiple * 2 ** -(1 / 2**BISECTIONS) * 0.999)
    assert found["sharpness/critical"] == pytest.approx(2 / (multiple * found["lr"]))
    assert found["lr"] == pytest.approx(job.config.optimizer.lr)
    for ours, theirs in zip(job.model.parameters(), line["after"].parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_they_look_without_dropout_and_leave_the_mode(small):
    job = job_of(small({f"measure.{name}": "eval" for name in PASSES} | {"model.dropout": 0.5}))
    found = []
    for _ in range(2):
        job.model.train()
        job.step_rng = rng_state(job.device)
        job.passes.begin(job, last=False)
        before = job.model.head.weight.detach().clone()
        job.model.head.weight.data += 0.1  # stands for a step
        found.append(job.passes.measure(job, 0.1))
        job.model.head.weight.data.copy_(before)
        assert job.model.training
        torch.rand(7)
    assert found[0] == pytest.approx(found[1], nan_ok=True) and found[0]["sharpness/found"] in (0, 1)


def test_the_noise_scale_is_of_the_gradients_of_micro_batches(small):
    """Against each micro-batch's own gradient by torch.autograd.grad, over the next batches."""
    changes = {"train.precision": "fp64", "train.accumulation": 4, "train.batch_size": 8}
    job = job_of(small(changes))
    job.step = 2
    small_squares, large_squares = [], []
    for step in (3, 4):  # train.eval_batches is 2
        gradients = []
        for ids in torch.from_numpy(job.batches.train(step)).split(2):
            parts = torch.autograd.grad(cross_entropy(job.model, ids), list(job.model.parameters()))
            gradients.append(torch.cat([part.flatten() for part in parts]))
        small_squares += [gradient.square().sum() for gradient in gradients]
        large_squares.append(torch.stack(gradients).mean(0).square().sum())
    few, many = torch.stack(small_squares).mean().item(), torch.stack(large_squares).mean().item()
    found = gradient_noise(job)
    assert found["noise_scale/square"] == pytest.approx((8 * many - 2 * few) / 6, rel=1e-4)
    assert found["noise_scale/trace"] == pytest.approx((few - many) / (1 / 2 - 1 / 8), rel=1e-5)
    assert found["noise_scale/simple"] == found["noise_scale/trace"] / found["noise_scale/square"]


class Doubling(nn.Module):
    """A linear block: x -> 2 x."""

    def forward(self, x, y):
        return 2 * x, y


class Cut(nn.Module):
    """x -> x / 4, by which dL/dx shrinks too."""

    def forward(self, x, y):
        return x / 4, y


def test_the_growth_of_a_linear_network_is_its_factor(small):
    job = job_of(small({"depth": 4, "train.precision": "fp64", "train.accumulation": 2}))
    job.model.layers = nn.ModuleList([Doubling(), Doubling(), Doubling(), Cut()])
    log = math.log(2)
    assert stream_growth(job) == pytest.approx(
        {
            "growth/activation": log / 4,
            "growth/activation/lower": log,
            "growth/activation/upper": -log / 2,
            "growth/gradient": log / 4,
            "growth/gradient/lower": log,
            "growth/gradient/upper": -log / 2,
        },
        rel=1e-5,
    )


@pytest.mark.parametrize("placement", ["pre", "post", "residual_dual"])
def test_the_growth_is_that_of_hooked_tensors(placement, small):
    job = job_of(small({"depth": 3, "train.precision": "fp64"}, placement=placement))
    job.model.eval()
    found = stream_growth(job)
    stream, gradient = torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    for ids in validation(job):
        kept = []

        def keep(module, inputs, out, kept=kept):
            kept.append(out[0] if isinstance(out, tuple) else out)
            kept[-1].retain_grad()

        parts = [job.model.embedding, *job.model.layers]
        hooks = [part.register_forward_hook(keep) for part in parts]
        cross_entropy(job.model, ids).backward()
        for hook in hooks:
            hook.remove()
        stream += torch.stack([x.detach().square().sum() for x in kept])
        gradient += torch.stack([x.grad.square().sum() for x in kept])
    for half, (low, high) in {"": (0, 3), "/lower": (0, 1), "/upper": (1, 3)}.items():
        ratio = math.log(stream[high] / stream[low]) / 2 / (high - low)
        assert found[f"growth/activation{half}"] == pytest.approx(ratio, rel=1e-4, abs=1e-6)
        ratio = math.log(gradient[low] / gradient[high]) / 2 / (high - low)
        assert found[f"growth/gradient{half}"] == pytest.approx(ratio, rel=1e-4, abs=1e-6)

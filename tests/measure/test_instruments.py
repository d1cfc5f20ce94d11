"""Each instrument against the plain definition, on tensors that hooks took from the model."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from normlab.catalogue.norms import NORMS
from normlab.catalogue.placements import PLACEMENTS
from normlab.config import MEASURED
from normlab.data import load_corpus
from normlab.measure import attention
from normlab.measure.stream import moments
from normlab.model.norms import build_norm
from normlab.model.norms.elementwise import CurveNorm
from normlab.training.batch import predict
from normlab.training.build import build
from normlab.training.step import take_step

EVERY = {f"measure.{kind}": 1 for kind in MEASURED}


def job_of(config):
    return build(config, load_corpus(config.data, config.model.context))


def close(x):
    return pytest.approx(float(x), rel=1e-5, abs=1e-9)


@pytest.fixture
def measured(small):
    """A step's row, and for each module of the model what it got and gave in that step's forward pass."""

    def build(changes=None, **rows):
        job = job_of(small(EVERY | {"train.precision": "fp64"} | (changes or {}), **rows))
        got, gave = {}, {}
        for name, module in job.model.named_modules():

            def hook(module, inputs, output, name=name):
                out = output[0] if isinstance(output, tuple) else output
                if isinstance(out, torch.Tensor) and out.requires_grad:
                    out.retain_grad()
                if torch.is_grad_enabled():
                    got[name], gave[name] = inputs, out

            module.register_forward_hook(hook)
        before = {name: p.detach().clone() for name, p in job.model.named_parameters()}
        row = take_step(job)
        return job, row, got, gave, before

    return build


@pytest.mark.parametrize("placement", ["pre", "post", "sandwich", "parallel_shared", "residual_dual", "gpas"])
def test_the_stream(placement, measured):
    _, row, got, gave, _ = measured(placement=placement)
    for layer in (0, 1):
        for part, after in (("attn", f"layer_0{layer}/attn"), ("ffn", f"layer_0{layer}")):
            z = gave[f"layers.{layer}.{part}"].detach().numpy()
            assert row[f"stream/rms/{after}"] == close(np.sqrt((z**2).mean()))
            assert row[f"stream/variance/{after}"] == close(z.var())
            assert row[f"stream/max/{after}"] == close(abs(z).max())
            assert row[f"stream/kurtosis/{after}"] == close((z**4).mean() / (z**2).mean() ** 2)
            assert row[f"nonfinite/stream/{after}"] == 0
            skip, branch = (
                gave[f"layers.{layer}.{part}.{path}_scale"].detach().numpy() for path in ("skip", "branch")
            )
            ratio = row[f"stream/branch_ratio/layer_0{layer}/{part}"]
            assert ratio == close(np.sqrt((branch**2).mean() / (skip**2).mean()))
        x, z = got[f"layers.{layer}"][0].detach(), gave[f"layers.{layer}"].detach()
        assert row[f"stream/cosine/layer_0{layer}"] == close(F.cosine_similarity(x, z, dim=-1).mean())
        unit_x, unit_z = (t / t.norm(dim=-1, keepdim=True) for t in (x, z))
        half_chord = (unit_x - unit_z).norm(dim=-1) / 2
        assert row[f"stream/angle/layer_0{layer}"] == close((2 * half_chord.arcsin() / math.pi).mean())
        assert row[f"stream/massive/layer_0{layer}"] == 0


def test_massive_activations_are_counted(small):
    job = job_of(small(EVERY))
    with torch.no_grad():
        job.model.embedding.positions.weight[3, 5] = 1e4
        job.model.embedding.positions.weight[4, 5] = 90.0
        # And one in the last sequence alone, by a token that no other has.
        ids = torch.from_numpy(job.batches.train(0))[:, :-1]
        (own, *_) = set(ids[-1].tolist()) - set(ids[:-1].flatten().tolist())
        job.model.embedding.tokens.weight[own, 7] = 2e4
        once = (ids[-1] == own).sum().item()
    row = take_step(job)
    assert row["stream/massive/layer_00"] == 1 + once
    assert row["stream/kurtosis/layer_00"] > 100


def test_broken_numbers_are_counted(small):
    job = job_of(small(EVERY))
    with torch.no_grad():
        job.model.embedding.positions.weight[3, :4] = torch.tensor([math.nan, math.inf, -math.inf, 1.0])
    _, _, _, _, broken, size, *_ = moments(*[job.model.embedding.positions.weight] * 3)
    assert broken == 3 and size == 8 * 16
    assert take_step(job)["nonfinite/stream/layer_01"] >= 4 * 16  # a token's whole stream, in each sequence


@pytest.mark.parametrize("placement", ["pre", "post", "residual_dual"])
def test_the_gradient_of_the_stream(placement, measured):
    _, row, _, gave, _ = measured(placement=placement)
    assert row["grad_stream/embedding"] == close(gave["embedding"].grad.norm())
    for layer in (0, 1):
        assert row[f"grad_stream/layer_0{layer}"] == close(gave[f"layers.{layer}"].grad.norm())


@pytest.mark.parametrize("changes", [{}, {"model.positions": "alibi"}])
def test_attention_in_both_directions_is_measured_over_all_tokens(changes, measured):
    """Of every query, the first too; the most entropy there can be is ln T."""
    encoder = {"model.causal": False, "data.objective": "mlm"}
    job, row, _, gave, _ = measured(changes | encoder)
    q, k, _ = (
        part.view(4, 8, 2, 8).transpose(1, 2)
        for part in gave["layers.0.attn.branch.qkv"].detach().chunk(3, -1)
    )
    logits = q @ k.transpose(-1, -2) / math.sqrt(8)
    if changes:
        logits = logits + job.model.layers[0].attn.branch.bias.table
    weights = logits.softmax(-1)
    entropy = -(weights * weights.log()).sum(-1)
    assert row["attention/entropy/layer_00"] == close(entropy.mean())
    assert row["attention/entropy_share/layer_00"] == close(entropy.mean() / math.log(8))
    least = entropy.mean((0, 2)).min() / math.log(8)
    assert row["attention/entropy_share_min/layer_00"] == close(least)
    assert row["attention/max_logit/layer_00"] == close(logits.max())


@pytest.mark.parametrize("changes", [{}, {"model.positions": "alibi"}, {"placement.softcap": 2.0}])
def test_attention_against_the_dense_weights(changes, measured):
    job, row, _, gave, _ = measured(changes)
    attention = job.model.layers[0].attn.branch
    q, k, _ = (
        part.view(4, 8, 2, 8).transpose(1, 2)
        for part in gave["layers.0.attn.branch.qkv"].detach().chunk(3, -1)
    )
    logits = q @ k.transpose(-1, -2) / math.sqrt(8)
    logits = 2 * torch.tanh(logits / 2) if "placement.softcap" in changes else logits
    if "model.positions" in changes:
        logits = logits + attention.bias.table
    logits = logits.masked_fill(torch.ones(8, 8).triu(1).bool(), -math.inf)
    weights = logits.softmax(-1)
    entropy = -(weights * weights.clamp(min=1e-300).log()).sum(-1)[:, :, 1:]
    share = entropy / torch.arange(2, 9).log()
    for name, each in (("entropy", entropy), ("entropy_share", share)):
        assert row[f"attention/{name}/layer_00"] == close(each.mean())
        assert row[f"attention/{name}_min/layer_00"] == close(each.mean((0, 2)).min())
    for head in (0, 1):
        assert row[f"attention/max_logit/layer_00/head_{head}"] == close(logits[:, head].max())
    assert row["attention/max_logit/layer_00"] == close(logits.max())


@pytest.mark.parametrize("piece", [1, 40, 130, 10**6])
def test_attention_looks_at_all_of_the_batch_whatever_the_size_of_its_pieces(piece, monkeypatch):
    """The one large logit is in the last sequence, and in query 0; and one head of three sees one token."""
    q, k = torch.zeros(2, 5, 3, 7, 4, dtype=torch.float64)
    q[4, 1, 0, 0] = k[4, 1, 0, 0] = 6.0
    q[:, 2, 1:, 0], k[:, 2, 0, 0] = 400.0, 1.0
    monkeypatch.setattr(attention, "PIECE", piece)
    largest, entropy, share, queries = attention.concentration(q, k).unbind(-1)
    assert torch.equal(largest, torch.tensor([0.0, 18.0, 200.0], dtype=torch.float64))
    assert torch.equal(queries, torch.full_like(queries, 5 * 6))
    # Heads 0 and 1 see all tokens alike, but for query 0, which does not count.
    seen = torch.arange(2, 8, dtype=torch.float64).log()
    torch.testing.assert_close(
        entropy, torch.stack([5 * seen.sum(), 5 * seen.sum(), torch.zeros(()).double()])
    )
    torch.testing.assert_close(share, torch.tensor([30.0, 30.0, 0.0], dtype=torch.float64))


def test_one_collapsed_head_of_four_is_seen_in_the_least_entropy(small):
    healthy, job = (job_of(small(EVERY | {"model.heads": 4})) for _ in range(2))
    with torch.no_grad():
        job.model.layers[1].attn.branch.qkv.weight[4:8] *= 3e4  # head 1's queries
    before, after = take_step(healthy), take_step(job)
    mean, least = (f"attention/{kind}/layer_01" for kind in ("entropy_share", "entropy_share_min"))
    assert after[least] < 0.05 < 0.7 * before[least]
    assert 0.5 * before[mean] < after[mean]


def test_the_output(measured):
    job, row, _, gave, _ = measured()
    logits = gave["head"].detach().flatten(0, 1)
    targets = torch.from_numpy(job.batches.train(0))[:, 1:].flatten()
    assert row["output/log_z"] == close(logits.logsumexp(-1).mean())
    assert row["output/max_logit"] == close(logits.max())
    losses = F.cross_entropy(logits, targets, reduction="none")
    assert row["output/loss_p99"] == close(losses.sort().values[int(0.99 * len(losses))])


def test_dead_and_dormant_units(small):
    job = job_of(small({"model.bias": True} | EVERY, activation="relu"))
    given = []
    for layer in (0, 1):
        ffn = job.model.layers[layer].ffn.branch
        with torch.no_grad():
            ffn.w_in.bias[: 16 * layer] = -100.0  # of 64 units
            ffn.w_in.weight[16 : 16 + 8 * layer] *= 1e-4
        ffn.w_in.register_forward_hook(lambda module, inputs, output: given.append(output.detach()))
    row = take_step(job)
    # What comes after is the pass with the weights after the step.
    for layer, pre in enumerate(given[:2]):
        units = pre.relu().flatten(0, 1)
        dead, sizes = (units.amax(0) <= 0).double().mean(), units.mean(0)
        assert row[f"ffn/dead/layer_0{layer}"] == close(dead)
        assert row[f"ffn/dormant/layer_0{layer}"] == close((sizes <= 0.025 * sizes.mean()).double().mean())
    assert row["ffn/dead/layer_01"] >= 16 / 64 and row["ffn/dormant/layer_01"] >= 24 / 64
    assert row["ffn/dead/layer_00"] < 0.1
    assert "ffn/saturated/layer_01" not in row


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "erf"])
def test_saturated_units(activation, small):
    job = job_of(small({"model.bias": True} | EVERY, activation=activation))
    with torch.no_grad():
        job.model.layers[0].ffn.branch.w_in.bias[:16] = 100.0
        job.model.layers[0].ffn.branch.w_in.bias[16:32] = -100.0
    row = take_step(job)
    assert row["ffn/saturated/layer_00"] == pytest.approx(0.5, abs=0.1)
    assert row["ffn/saturated/layer_01"] < 0.2


#: Where each curve has gone tanh(2) of the way to its bound.
KNEES = {"dyt": 2.0, "derf": 1.4830, "isru": 3.6269}


@pytest.mark.parametrize("norm", KNEES)
def test_saturated_norms(norm, measured):
    """Against the share of |alpha x + shift| beyond the knee, over all the norms of a place."""
    changes = {"norm.alpha": 9.0, "norm.alpha_ffn": 5.0}
    job, row, got, _, before = measured(changes, norm=norm, placement="peri")
    norms = [name for name, module in job.model.named_modules() if hasattr(module, "alpha")]
    assert len(norms) == 2 * 4 + 2
    paths = {"embedding": "embedding.norm", "layer_00": "layers.0.", "layer_01": "layers.1."}
    for place, path in (paths | {"final_norm": "final_norm"}).items():
        inner = [
            (got[name][0] * before[f"{name}.alpha"] + before.get(f"{name}.shift", 0)).detach().flatten()
            for name in norms
            if name.startswith(path)
        ]
        expected = (torch.cat(inner).abs() > KNEES[job.config.norm.name]).double().mean()
        assert row[f"norm/saturated/{place}"] == close(expected)
        assert 0 < expected < 1


def test_the_norm_s_bound_is_that_of_its_curve():
    for norm, row in NORMS.items():
        module = build_norm(row.config, 4, 3)
        largest = module(torch.full((2, 3, 4), 1e6)).abs().max().item()
        assert (row.bound == largest) if isinstance(module, CurveNorm) else row.bound is None, norm


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_every_norm_of_a_placement_is_looked_at(placement, small):
    row = take_step(job_of(small(EVERY, norm="dyt", placement=placement))) if placement != "ngpt" else {}
    used = PLACEMENTS[placement].norms(depth=2) > 0 and placement != "ngpt"
    saturated = [value for key, value in row.items() if key.startswith("norm/saturated/")]
    assert bool(saturated) == used and all(0 <= value <= 1 for value in saturated)


@pytest.mark.parametrize(("norm", "buffer"), [("batchnorm", "running_var"), ("powernorm", "running_square")])
def test_the_gap_of_running_statistics(norm, buffer, measured):
    """Against sums written out, and the loss with the weights from before and the statistics from after."""
    changes = {"norm.allow_leaky": True} | ({"norm.batch_steps": 0} if norm == "powernorm" else {})
    job, row, got, _, before = measured(changes, norm=norm, placement="peri")
    model, buffers = job.model, dict(job.model.named_buffers())
    gaps = {"std": [], "mean": []}
    for part in ("attn", "ffn"):
        for where in ("norm_in", "norm_out"):
            path = f"layers.1.{part}.{where}"
            x = got[path][0].detach().flatten(0, 1)
            if norm == "powernorm":
                groups = x.view(len(x), 4, 4)
                x = (groups / (groups.square().mean(-1, keepdim=True) + 1e-5).sqrt()).view_as(x)
            running = buffers[f"{path}.{buffer}"].sqrt()
            mean = x.mean(0) if norm == "batchnorm" else torch.zeros(16)
            deviation = ((x - mean).square().sum(0) / (len(x) - (norm == "batchnorm"))).sqrt()
            gaps["std"].append((deviation - running).norm() / running.norm())
            if norm == "batchnorm":
                gaps["mean"].append((mean - buffers[f"{path}.running_mean"]).norm() / running.norm())
    assert row["batchnorm/std_gap/layer_01"] == close(sum(gaps["std"]) / 4) and gaps["std"][0] > 0.01
    if norm == "batchnorm":
        assert row["batchnorm/mean_gap/layer_01"] == close(sum(gaps["mean"]) / 4)
    assert any("mean_gap" in key for key in row) == (norm == "batchnorm")
    model.load_state_dict(model.state_dict() | before)
    model.eval()
    ids = torch.from_numpy(job.batches.train(0))
    loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).detach()
    assert row["batchnorm/loss_eval"] == close(loss)
    assert row["batchnorm/loss_gap"] == close(loss - row["loss"]) and abs(row["batchnorm/loss_gap"]) > 1e-3


def test_statistics_of_the_newest_batch_alone_leave_no_gap(small):
    """And with dropout: the eval loss then differs by the bias of the variance alone, N / (N - 1)."""
    changes = {"norm.allow_leaky": True, "norm.momentum": 1.0, "model.dropout": 0.3, "train.batch_size": 64}
    row = take_step(job_of(small(EVERY | changes, norm="batchnorm")))
    gaps = [value for key, value in row.items() if "mean_gap/" in key or "std_gap/" in key]
    assert len(gaps) == 2 * 3 and all(gap < 1e-5 for gap in gaps)
    assert abs(row["batchnorm/loss_gap"]) < 1e-3 * row["loss"]


@pytest.mark.parametrize("norm", ["batchnorm", "powernorm"])
def test_looking_at_running_statistics_moves_nothing(norm, small):
    changes = {"norm.allow_leaky": True, "model.dropout": 0.3, "train.accumulation": 2}
    blind = changes | dict.fromkeys(EVERY, 0)
    pairs = []
    for each in (changes | EVERY, blind):
        job = job_of(small(each, norm=norm, placement="sigma_reparam"))
        losses = []
        for job.step in range(4):
            losses.append(take_step(job)["loss"])
        pairs.append((losses, job.model.state_dict()))
    assert pairs[0][0] == pairs[1][0]
    assert all(torch.equal(a, b) for a, b in zip(pairs[0][1].values(), pairs[1][1].values(), strict=True))


def test_updates(measured):
    job, row, _, _, before = measured({"optimizer.weight_decay": 0.1, "warmup": 2})
    after = dict(job.model.named_parameters())
    moved = {name: (after[name] - before[name]).detach() for name in before}
    head = moved["head.weight"]
    assert row["update/ratio/head"] == close(head.norm() / before["head.weight"].norm())
    layer = [name for name in before if name.startswith("layers.1.")]
    square = sum(moved[name].square().sum() for name in layer)
    weight = sum(before[name].square().sum() for name in layer)
    assert row["update/ratio/layer_01"] == close((square / weight).sqrt())
    assert row["update/eps_ratio/head"] == close(row["grad_rms/head"] / 1e-8)


def test_the_direction_of_an_update(small):
    job = job_of(small(EVERY, optimizer="sgd"))
    row = take_step(job)
    assert row["update/cosine/layer_00"] == pytest.approx(1, abs=1e-5)
    assert -1 <= row["update/cosine/head"] <= 1 + 1e-5


@pytest.mark.parametrize(("norm", "centre"), [("layernorm", 0), ("rmsnorm_zc", 1), ("layernorm1p", 1)])
def test_gains(norm, centre, small):
    job = job_of(small(EVERY, norm=norm))
    with torch.no_grad():
        job.model.layers[1].attn.norm_in.weight[3] = 7.0
        job.model.layers[1].ffn.norm_in.weight[0] = -2.0
    row = take_step(job)
    assert row["gain/max/layer_01"] == 7 + centre and row["gain/min/layer_01"] == -2 + centre
    assert row["gain/mean/layer_01"] == close((30 * 1 + 5 + 2 * centre) / 32)
    assert row["gain/mean/final_norm"] == row["gain/max/layer_00"] == 1


def test_norms_without_gains_have_none(small):
    assert not [key for key in take_step(job_of(small(EVERY, norm="layernorm_nonparam"))) if "gain/" in key]


@pytest.mark.parametrize("placement", ["pre", "post", "siamese"])
def test_micro_batches_give_the_figures_of_the_batch(placement, small):
    changes = EVERY | {"train.precision": "fp64", "placement.final_norm": True}
    whole, parts = (
        take_step(job_of(small(changes | {"train.accumulation": n}, placement=placement))) for n in (1, 4)
    )
    assert whole.keys() == parts.keys()
    for key in whole:
        if not key.startswith("time/"):
            assert parts[key] == pytest.approx(whole[key], rel=1e-6, abs=1e-9), key


def test_each_has_a_cadence_of_its_own(small):
    job = job_of(small({**dict.fromkeys(EVERY, 0), "measure.stream": 2, "measure.output": 3}))
    rows = []
    for job.step in range(5):
        rows.append(take_step(job))
    having = {
        family: [row["step"] for row in rows if any(key.startswith(family) for key in row)]
        for family in ("stream/", "output/", "attention/", "update/", "grad_norm/layer")
    }
    assert having == {
        "stream/": [0, 2, 4],
        "output/": [0, 3],
        "attention/": [],
        "update/": [],
        "grad_norm/layer": [],
    }


def test_looking_leaves_nothing_behind(small):
    job = job_of(small(EVERY))
    take_step(job)
    logits, _ = predict(job, torch.from_numpy(job.batches.train(0)))
    for module in job.model.modules():
        assert not getattr(module, "looks", None)
        assert getattr(module, "probe", None) is None
    assert logits.requires_grad

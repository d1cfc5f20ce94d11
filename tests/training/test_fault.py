"""Faults put in on purpose: what stops being finite first, and where."""

import math

import pytest
import torch

from normlab import run as composition
from normlab.config import FAULT_KINDS, MEASURED
from normlab.data import load_corpus
from normlab.errors import ConfigError
from normlab.rundir.writer import read_events
from normlab.training.build import build
from normlab.training.fault import FAULTS
from normlab.training.first_nonfinite import called
from normlab.training.step import take_step

EVERY = {f"measure.{kind}": 1 for kind in MEASURED}


def rows_of(config, steps=6):
    job = build(config, load_corpus(config.data, config.model.context))
    rows = []
    for step in range(steps):
        job.step = step
        rows.append(take_step(job))
    return job, rows


def fault(kind, **more):
    return {"fault.kind": kind, "fault.step": 3} | {f"fault.{key}": value for key, value in more.items()}


def test_each_kind_is_there():
    assert tuple(FAULTS) == FAULT_KINDS


@pytest.mark.parametrize("kind", [kind for kind in FAULTS if kind != "none"])
def test_before_a_fault_nothing_differs(kind, small):
    _, healthy = rows_of(small(EVERY))
    _, faulty = rows_of(small(EVERY | fault(kind, layer=1)))
    for a, b in zip(healthy[:3], faulty[:3], strict=True):
        assert all(a[key] == b[key] for key in a if not key.startswith("time/"))
    assert any(healthy[4][key] != faulty[4].get(key) for key in healthy[4] if not key.startswith("time/"))


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("placement", ["pre", "post", "residual_dual"])
def test_a_nan_activation_is_traced_to_its_block(layer, placement, small):
    _, rows = rows_of(small(fault("nan_activation", layer=layer), placement=placement))
    assert math.isnan(rows[3]["loss"])
    assert rows[3]["nonfinite/pass"] == "forward" and rows[3]["nonfinite/site"] == f"layer_0{layer}"
    assert -100 < rows[3]["nonfinite/input_min"] < 0 < rows[3]["nonfinite/input_max"] < 100
    assert all(math.isfinite(rows[step]["loss"]) for step in (0, 1, 2, 4, 5))


def test_a_nan_gradient_is_traced_to_its_matrix(small):
    _, rows = rows_of(small(fault("nan_gradient", layer=1)))
    assert math.isfinite(rows[3]["loss"]) and math.isnan(rows[3]["grad_norm/layer_01/ffn.in"])
    assert rows[3]["nonfinite/pass"] == "backward" and rows[3]["nonfinite/site"] == "layer_01/ffn.in"


@pytest.mark.parametrize("kind", ["nan_activation", "nan_gradient"])
def test_a_block_that_runs_again_for_its_backward_pass_is_traced_as_well(kind, small):
    """The watch saves nothing for the backward pass: a pass that is run again would not match."""
    _, plain = rows_of(small(fault(kind, layer=1)))
    _, again = rows_of(small(fault(kind, layer=1) | {"train.activation_checkpointing": True}))
    for key in ("nonfinite/site", "nonfinite/pass"):
        assert again[3][key] == plain[3][key]


@pytest.mark.parametrize(
    ("matrix", "site"),
    [
        ("layers.1.attn.branch.qkv.weight", "layer_01/attn.qkv"),
        ("layers.0.ffn.branch.w_out.weight", "layer_00/ffn.out"),
        ("layers.1.ffn.norm_in.weight", "layer_01/norm"),
        ("head.weight", "head"),
        ("embedding.tokens.weight", "embedding"),
    ],
)
def test_an_overflow_is_traced_to_where_it_happens(matrix, site, small):
    config = small()
    job = build(config, load_corpus(config.data, config.model.context))
    with torch.no_grad():
        job.model.get_parameter(matrix).view(-1)[:] = 3e38
    row = take_step(job)
    # The matrix is finite; 3e38 of the embedding is too, and only the norm after it overflows.
    expected = "layer_00/norm" if site == "embedding" else site
    assert row["nonfinite/site"] == expected and row["nonfinite/pass"] == "forward"


def test_an_overflow_in_a_norm_with_a_site_is_traced_to_the_norm(small):
    config = small(norm="dyt")
    job = build(config, load_corpus(config.data, config.model.context))
    norm = job.model.layers[1].attn.norm_in
    with torch.no_grad():
        norm.weight[:], norm.bias[:] = 3e38, 3e38
    assert take_step(job)["nonfinite/site"] == "layer_01/norm"


def test_finding_the_first_one_leaves_no_trace(small):
    """Dropout, batch statistics and weights go on as if it had not been."""
    changes = {"model.dropout": 0.3, "norm.allow_leaky": True} | fault("nan_gradient")
    after = []
    for blind in (False, True):
        config = small(changes, norm="batchnorm")
        job = build(config, load_corpus(config.data, config.model.context))
        if blind:
            job.watch._events[(0, "nonfinite", "loss")] = type("Open", (), {"kind": "nonfinite", "end": None})
        rows = []
        for job.step in range(6):
            rows.append(take_step(job))
        assert ("nonfinite/site" in rows[3]) is not blind
        after.append((job.model.state_dict(), [row["loss"] for row in rows]))
    assert after[0][1] == after[1][1]
    assert all(torch.equal(a, b) for a, b in zip(after[0][0].values(), after[1][0].values(), strict=True))


def test_a_scaled_gradient_is_that_layer_s_alone(small):
    _, healthy = rows_of(small())
    _, rows = rows_of(small(fault("gradient_scale", layer=1, factor=100.0)))
    assert rows[3]["grad_norm/layer_01"] == pytest.approx(100 * healthy[3]["grad_norm/layer_01"], rel=1e-4)
    assert rows[3]["grad_norm/layer_00"] == pytest.approx(healthy[3]["grad_norm/layer_00"], rel=1e-6)


def test_a_rate_jump_is_one_step(small):
    _, rows = rows_of(small(fault("lr_jump", factor=10.0)))
    assert [row["lr"] for row in rows] == [2.5e-3] * 3 + [2.5e-2] + [2.5e-3] * 2


def test_a_frozen_embedding_moves_no_more(small):
    _, rows = rows_of(small(EVERY | fault("frozen_embedding")))
    assert [row["update/ratio/embedding"] > 0 for row in rows] == [True] * 3 + [False] * 3
    assert rows[5]["update/ratio/layer_00"] > 0


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"fault.kind": "nan_activaton"}, r"fault\.kind.*nan_activation"),
        ({"fault.layer": 2}, r"fault\.layer: there is none; the last of depth=2 is 1"),
        ({"fault.factor": 0.0}, r"fault\.factor"),
        ({"fault.step": -1}, r"fault\.step"),
    ],
)
def test_bad_faults_are_named(changes, key, small):
    with pytest.raises(ConfigError, match=key):
        small(changes)


def test_names_of_modules():
    assert called("layers.5.ffn.branch.w_gate") == "layer_05/ffn.in"
    assert called("layers.5.site") == "layer_05"
    assert called("layers.5.attn.branch") == "layer_05/attn.branch"
    assert called("final_norm") == "final_norm"


@pytest.mark.parametrize("kind", ["nan_activation", "nan_gradient"])
def test_the_event_names_the_faulty_layer_at_once(kind, small, tmp_path):
    composition.run(small(fault(kind, layer=1)), tmp_path / "run", plain=True)
    (event,) = read_events(tmp_path / "run")
    assert (event["kind"], event["step"], event["layers"]) == ("nonfinite", 3, ["layer_01"])
    assert "it began in layer_01" in event["message"] and event["recovered"]

"""Vanishing gradients: what each kind of optimizer makes of a small one."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from normlab.catalogue.optimizers import MUON_EPS, OPTIMIZERS, Least
from normlab.data import load_corpus
from normlab.divergence import Event
from normlab.training.build import build
from normlab.training.optimizers import build_optimizer
from normlab.training.step import take_step

Fold = Callable[..., list[Event]]
#: Of the conftest's places.
SIZES = {"layer_01": 400, "head": 100}


def least_of(optimizer: str, **settings: Any) -> tuple[Least, ...]:
    """What gradients are compared with under an optimizer's defaults, or with these settings."""
    row = OPTIMIZERS[optimizer]
    return row.least(replace(row.config, **settings))


def test_vanishing_is_of_the_gradient_that_the_optimizer_meets(fold: Fold) -> None:
    """Clipping from 50 to 0.05 takes an RMS of 5e-5 to 5e-8, which is under ten eps of 1e-8."""
    rows = [{"loss": 2.0, "grad_norm/global": 50.0} | {"grad_norm/head": 5e-5 * 10}] * 30
    assert fold(rows) == []
    (event,) = fold([row | {"grad_norm/clipped": 0.05} for row in rows])
    assert (event.step, event.metric, event.value) == (19, "grad_rms/head", pytest.approx(5e-8))
    assert fold([row | {"grad_norm/clipped": 5.0} for row in rows]) == []


def test_each_kind_of_optimizer_has_a_rule_of_its_own(fold: Fold) -> None:
    """The limit written out: just above nothing is said, just below the place is named."""
    of_norm, of_rms = math.sqrt(100), math.sqrt(400)
    cases: list[tuple[str, dict[str, float], str, float]] = [
        ("adam", {}, "grad_norm/head", 10 * 1e-8 * of_norm),
        ("adamw", {"eps": 1e-6}, "grad_norm/layer_01", 10 * 1e-6 * of_rms),
        ("muon", {}, "grad_norm/head", 10 * 1e-8 * of_norm),
        ("muon", {}, "grad_norm/layer_01/attn.out", 10 * 1e-7 / 3.4445**5),
        ("lion", {}, "grad_norm/head", 10 * 2.0**-126 / 0.01 * of_norm),
        ("sgd", {}, "update/gradient_ratio/layer_01", 10 * 2.0**-23),
    ]
    for optimizer, settings, key, limit in cases:
        least = least_of(optimizer, **settings)
        assert fold([{"loss": 2.0, key: 1.01 * limit}] * 30, least=least) == [], optimizer
        (event,) = fold([{"loss": 2.0, key: 0.99 * limit}] * 30, least=least)
        assert (event.kind, event.layers) == ("vanishing", (key.split("/")[1 + (optimizer == "sgd")],))
        assert event.value == pytest.approx(0.99 * event.threshold)
    # Muon's matrices do not feel AdamW's eps, nor SGD and Lion any.
    small = [{"loss": 2.0, "grad_norm/layer_01": 1e-6, "grad_norm/layer_01/attn.out": 1e-5}] * 30
    assert [len(fold(small, least=least_of(name))) for name in ("muon", "sgd", "lion", "adamw")] == [
        0,
        0,
        0,
        1,
    ]


def test_no_optimizer_is_left_without_a_rule_and_no_eps_means_none() -> None:
    assert all(row.least(row.config) for row in OPTIMIZERS.values())
    assert least_of("adamw", eps=0.0) == ()
    assert [each.family for each in least_of("muon", eps=0.0)] == ["grad_norm"]


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd", "lion"])
def test_a_step_is_full_above_the_least_and_shrinks_below_it(optimizer: str) -> None:
    """What the rules say of single steps, against the optimizers: the moves of a matrix of gradients."""
    config = replace(OPTIMIZERS[optimizer].config, lr=1e-2)
    if optimizer == "muon":  # as if the gradient had lasted
        config = replace(config, momentum=0.0, nesterov=False)
    torch.set_flush_denormal(True)  # as in every run

    def move(size: float) -> float:
        """The norm of one step for a gradient of this RMS."""
        torch.manual_seed(0)
        name, w = "layers.0.ffn.branch.w_in.weight", torch.nn.Parameter(torch.zeros(20, 20))
        other = torch.nn.Parameter(torch.zeros(2))
        steps = build_optimizer([(name, w), ("final_norm.weight", other)], config)
        gradient = torch.randn(20, 20)
        w.grad, other.grad = gradient / gradient.square().mean().sqrt() * size, torch.ones(2)
        steps.step()
        return w.detach().norm().item()

    full, (*_, least) = move(1.0), OPTIMIZERS[optimizer].least(config)
    if optimizer == "sgd":  # proportional at any size
        assert move(1e-3) == pytest.approx(1e-3 * full)
        return
    rms = least.value / (20 if least.family == "grad_norm" else 1)
    assert move(10 * rms) > 0.8 * full
    assert move(0.02 * rms) < 0.2 * full


def test_muons_own_eps_is_torchs() -> None:
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    assert torch.optim.Muon([weight]).defaults["eps"] == MUON_EPS


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_measured_ratios_are_those_that_the_detector_compares(
    optimizer: str, small: Callable[..., Any]
) -> None:
    """With clipping to a tenth of the norm: the optimizer meets a tenth of what `grad_norm` says."""
    changes = {"measure.update": 1, "train.precision": "fp64", "train.clip": 0.05}
    changes |= {"optimizer.lr": 0.3, "optimizer.momentum": 0.8} if optimizer == "sgd" else {}
    config = small(changes, optimizer=optimizer)
    job = build(config, load_corpus(config.data, config.model.context))
    before = {name: p.detach().clone() for name, p in job.model.named_parameters()}
    row = take_step(job)
    share = 0.05 / row["grad_norm/global"]
    ratios = {key: value for key, value in row.items() if "eps_ratio" in key or "gradient_ratio" in key}
    places = [f"layer_0{i}" for i in (0, 1)] if optimizer != "muon" else []
    places = [] if optimizer == "lion" else ["embedding", *places, "final_norm", "head"]
    family = "gradient_ratio" if optimizer == "sgd" else "eps_ratio"
    assert list(ratios) == [f"update/{family}/{place}" for place in places]
    if optimizer in ("adam", "adamw", "muon"):
        assert ratios["update/eps_ratio/head"] == pytest.approx(row["grad_rms/head"] * share / 1e-8)
    if optimizer == "sgd":
        lasting = 0.3 * row["grad_norm/head"] * share / (1 - 0.8) / before["head.weight"].norm()
        assert ratios["update/gradient_ratio/head"] == pytest.approx(float(lasting))

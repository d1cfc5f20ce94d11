"""Norms in bfloat16, float32 and float64."""

import copy
import dataclasses

import pytest
import torch

from normlab.catalogue.norms import NORMS
from normlab.model.norms import build_norm

WIDTH, TIME = 64, 16
#: The relative error of one rounding to bfloat16.
ROUNDING = 2.0**-8


def norm_of(name, width=WIDTH, time=TIME, **changes):
    torch.manual_seed(0)
    config = NORMS[name].config
    groups = {"groups": 2} if hasattr(config, "groups") else {}
    norm = build_norm(dataclasses.replace(config, **groups, **changes), width, time)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return norm


def output_and_gradient(norm, x, weights):
    x = x.clone().requires_grad_()
    y = norm(x)
    (gradient,) = torch.autograd.grad((y * weights.to(y.dtype)).sum(), x)
    return y.detach(), gradient


@pytest.mark.parametrize("offset", [0.0, 30.0])
@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("name", NORMS)
def test_a_bfloat16_norm_is_off_by_one_rounding_from_float64(name, autocast, offset):
    norm = norm_of(name)
    exact = copy.deepcopy(norm).double()
    x = (torch.randn(4, TIME, WIDTH) + offset).bfloat16()
    weights = torch.randn(4, TIME, WIDTH).bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y, gradient = output_and_gradient(norm, x, weights)
    known, known_gradient = output_and_gradient(exact, x.double(), weights)
    assert y.dtype == gradient.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), known, rtol=ROUNDING, atol=3e-5)
    torch.testing.assert_close(gradient.double(), known_gradient, rtol=ROUNDING, atol=3e-5)
    for state, known_state in zip(norm.buffers(), exact.buffers(), strict=True):
        assert state.dtype != torch.bfloat16
        torch.testing.assert_close(state, known_state.to(state.dtype), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NORMS)
def test_a_float32_input_stays_float32_under_autocast(name):
    norm, x = norm_of(name).eval(), torch.randn(4, TIME, WIDTH)
    with torch.autocast("cpu", torch.bfloat16):
        y = norm(x)
    assert y.dtype == torch.float32 and torch.equal(y, norm(x))


@pytest.mark.parametrize("name", NORMS)
def test_gradients_in_float64_are_those_of_finite_differences(name):
    norm = norm_of(name, 8, 4).double()
    if name == "powernorm":
        norm.eval()  # in training its gradient is an estimate: test_norms_power
    # AdaNorm's factor is a constant to autograd: without it, and in test_norms_facts with it.
    norm.k = 0.0
    x = torch.randn(2, 4, 8, dtype=torch.float64, requires_grad=True)
    inputs = [x, *norm.parameters()]
    assert torch.autograd.gradcheck(lambda x, *_: norm(x), inputs, atol=2e-5)


@pytest.mark.parametrize("name", NORMS)
def test_float32_holds_far_from_zero(name):
    norm = norm_of(name)
    x = torch.randn(4, TIME, WIDTH) + 1000
    known = copy.deepcopy(norm).double()(x.double())
    torch.testing.assert_close(norm(x).double(), known, rtol=1e-3, atol=1e-3)

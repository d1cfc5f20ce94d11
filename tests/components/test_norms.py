import math

import pytest
import torch
import torch.nn.functional as F

from normlab.components.norms import build_norm
from normlab.config import NormConfig
from normlab.tables.norms import NORMS, BatchNormConfig

WIDTH = 8


def norm_and_input(name, **changes):
    """The norm with gains and biases off their start, and an input (B, T, D) off mean 0 and variance 1."""
    torch.manual_seed(0)
    config = type(NORMS[name].config)(**{"name": name, "allow_leaky": True, **changes})
    norm = build_norm(config, WIDTH)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return norm, 3 * torch.randn(4, 5, WIDTH) + 1


def layernorm(x, norm):
    return F.layer_norm(x, (WIDTH,), norm.weight, norm.bias, 1e-5)


def layernorm_nobias(x, norm):
    centred = x - x.mean(-1, keepdim=True)
    return norm.weight * centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def rmsnorm(x, norm):
    return norm.weight * x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def batchnorm(x, norm):
    mean, variance = x.mean((0, 1)), x.var((0, 1), correction=0)
    return norm.weight * (x - mean) / (variance + 1e-5).sqrt() + norm.bias


def identity(x, norm):
    return x


FORMULAS = {f.__name__: f for f in (layernorm, layernorm_nobias, rmsnorm, batchnorm, identity)}


def test_every_norm_has_its_formula_here():
    assert FORMULAS.keys() == NORMS.keys()


@pytest.mark.parametrize("name", NORMS)
def test_norm_equals_its_formula(name):
    norm, x = norm_and_input(name)
    torch.testing.assert_close(norm(x), FORMULAS[name](x, norm), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NORMS)
def test_future_tokens_reach_the_past_only_through_a_leaky_norm(name):
    norm, x = norm_and_input(name)
    changed = x.clone()
    changed[:, 3:] += 1
    same = torch.equal(norm.train()(x)[:, :3], norm(changed)[:, :3])
    assert same == (not NORMS[name].leak)


@pytest.mark.parametrize("name", NORMS)
def test_evaluation_is_causal_for_every_norm(name):
    norm, x = norm_and_input(name)
    norm.eval()
    changed = x.clone()
    changed[:, 3:] += 1
    assert torch.equal(norm(x)[:, :3], norm(changed)[:, :3])


@pytest.mark.parametrize("name", NORMS)
def test_norm_keeps_shape_and_dtype_and_passes_gradients(name):
    norm, x = norm_and_input(name)
    x = x.double().requires_grad_()
    y = norm.double()(x)
    assert y.shape == x.shape and y.dtype == torch.float64
    y.square().sum().backward()
    assert x.grad.abs().sum() > 0


def test_batch_norm_evaluates_with_its_running_statistics():
    norm, x = norm_and_input("batchnorm", momentum=1.0)
    norm.train()(x)
    torch.testing.assert_close(norm.running_mean, x.mean((0, 1)))
    torch.testing.assert_close(norm.running_var, x.var((0, 1), correction=1))
    expected = norm.weight * (x - norm.running_mean) / (norm.running_var + 1e-5).sqrt() + norm.bias
    torch.testing.assert_close(norm.eval()(x), expected)


def test_study_notes_matrix_under_batch_and_layer_norm():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).unsqueeze(1)  # two sequences of one token of two channels
    batch = build_norm(BatchNormConfig(name="batchnorm", eps=1e-12), 2)(x).squeeze(1)
    layer = build_norm(NormConfig(name="layernorm", eps=1e-12), 2)(x).squeeze(1)
    torch.testing.assert_close(batch, torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
    torch.testing.assert_close(layer, torch.tensor([[-1.0, 1.0], [-1.0, 1.0]]))


def test_study_notes_token_under_layer_norm():
    token = torch.tensor([1.0, 1.0, 2.0, 3.0])
    mean, variance = 1.75, 0.6875
    assert round(math.sqrt(variance), 4) == 0.8292
    norm = build_norm(NormConfig(name="layernorm", eps=1e-12), 4)
    torch.testing.assert_close(norm(token), (token - mean) / math.sqrt(variance))


def test_rms_norm_of_centred_input_is_layer_norm():
    x = torch.randn(3, 4, WIDTH, dtype=torch.float64)
    layer = build_norm(NormConfig(name="layernorm", eps=0.0), WIDTH).double()
    rms = build_norm(NormConfig(name="rmsnorm", eps=0.0), WIDTH).double()
    torch.testing.assert_close(rms(x - x.mean(-1, keepdim=True)), layer(x))

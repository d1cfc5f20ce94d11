"""Every norm against its formula, its parameters, its state and its limits."""

import dataclasses
import io
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from normlab.catalogue.norms import EPS_PLACES, NORMS, SCOPES, BatchNormConfig
from normlab.config import NormConfig
from normlab.model.gpt import GPT
from normlab.model.norms import build_norm

BATCH, TIME, WIDTH, GROUPS = 4, 6, 8, 2


def norm_of(name, **changes):
    config = NORMS[name].config
    groups = {"groups": GROUPS} if hasattr(config, "groups") else {}
    return build_norm(dataclasses.replace(config, **groups, **changes), WIDTH, TIME)


def norm_and_input(name, dtype=torch.float64, **changes):
    """The norm with its parameters off their start, and an input (B, T, D) off mean 0 and variance 1."""
    torch.manual_seed(0)
    norm = norm_of(name, **changes)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return norm.to(dtype), (3 * torch.randn(BATCH, TIME, WIDTH) + 1).to(dtype)


def mean(x, *axes):
    return x.mean(axes or -1, keepdim=True)


def centred_by_unbiased(x, eps):
    values = x.detach().numpy()
    centred = values - values.mean(-1, keepdims=True)
    return torch.from_numpy(centred / (values.std(-1, ddof=1, keepdims=True) + eps))


def turned(f, x):
    """f of (B, D, T), which torch's norms for images take."""
    return f(x.transpose(1, 2)).transpose(1, 2)


def layernorm(x, n):
    return layernorm_nobias(x, n) + n.bias


def layernorm_nobias(x, n):
    return n.weight * layernorm_nonparam(x, n)


def layernorm_nonparam(x, n):
    return (x - mean(x)) / (mean((x - mean(x)).square()) + 1e-5).sqrt()


def layernorm_annotated(x, n):
    return n.weight * centred_by_unbiased(x, 1e-6) + n.bias


def layernorm1p(x, n):
    return (1 + n.weight) * layernorm_nonparam(x, n) + n.bias


def rmsnorm(x, n):
    return n.weight * x / (mean(x.square()) + 1e-5).sqrt()


def rmsnorm_orig(x, n):
    return n.weight * x / (mean(x.square()).sqrt() + 1e-8)


def rmsnorm_zc(x, n):
    return (1 + n.weight) * x / (mean(x.square()) + 1e-6).sqrt()


def prmsnorm(x, n):
    return n.weight * x / (x[..., :1].abs() + 1e-8)  # 6.25 % of 8 channels: one


def scalenorm(x, n):
    return n.weight * x / x.square().sum(-1, keepdim=True).sqrt()


def l2norm(x, n):
    return x / x.square().sum(-1, keepdim=True).sqrt()


def batchnorm(x, n):
    variance = mean((x - mean(x, 0, 1)).square(), 0, 1)
    return n.weight * (x - mean(x, 0, 1)) / (variance + 1e-5).sqrt() + n.bias


def powernorm(x, n):
    groups = x.view(BATCH, TIME, GROUPS, WIDTH // GROUPS)
    u = (groups / (mean(groups.square()) + 1e-5).sqrt()).view_as(x)
    return n.weight * u / (mean(u.square(), 0, 1) + 1e-5).sqrt() + n.bias


def instancenorm_time(x, n):
    return turned(F.instance_norm, x)


def groupnorm_time(x, n):
    return turned(lambda images: F.group_norm(images, GROUPS, n.weight, n.bias), x)


def groupnorm_token(x, n):
    return F.group_norm(x.reshape(-1, WIDTH), GROUPS, n.weight, n.bias).view_as(x)


def group_whitening(x, n):
    """By the recurrence of the paper, a token at a time, in numpy."""
    out = np.empty(x.shape)
    for place in np.ndindex(x.shape[:-1]):
        rows = x.detach().double().numpy()[place].reshape(GROUPS, -1)
        centred = rows - rows.mean(1, keepdims=True)
        s = np.cov(centred, bias=True) + 1e-5 * np.eye(GROUPS)
        p = np.eye(GROUPS)
        for _ in range(5):
            p = (3 * p - np.linalg.matrix_power(p, 3) @ s / np.trace(s)) / 2
        out[place] = (p @ centred / np.sqrt(np.trace(s))).reshape(-1)
    return n.weight * torch.from_numpy(out).to(x) + n.bias


def cum_instancenorm(x, n):
    def token(t):
        seen = x[:, : t + 1]
        first = seen.sum(1) / (t + 2)
        second = (1 + seen.square().sum(1)) / (t + 2)
        return n.weight * (x[:, t] - first) / (second - first.square() + 1e-5).sqrt() + n.bias

    return torch.stack([token(t) for t in range(TIME)], 1)


def layernorm_TC(x, n):  # noqa: N802
    variance = mean((x - mean(x, 1, 2)).square(), 1, 2)
    return n.weight * (x - mean(x, 1, 2)) / (variance + 1e-5).sqrt() + n.bias


def pb_relax_ln(x, n):
    return layernorm(x * 8 / x.detach().abs().max(), n)


def dyt(x, n):
    power = (2 * n.alpha * x).exp()
    return n.weight * (power - 1) / (power + 1) + n.bias


def derf(x, n):
    u = n.alpha * x + n.shift
    return n.weight * (2 * torch.special.ndtr(u * math.sqrt(2)) - 1) + n.bias


def isru(x, n):
    return n.weight * torch.sin(torch.arctan(n.alpha * x + n.shift)) + n.bias


def adanorm(x, n):
    y = centred_by_unbiased(x, 1e-5)
    return 2 * y - 0.2 * y.square()


def identity(x, n):
    return x


FORMULAS = {name: globals()[name] for name in NORMS}


@pytest.mark.parametrize("name", NORMS)
def test_norm_equals_its_formula(name):
    norm, x = norm_and_input(name)
    torch.testing.assert_close(norm(x), FORMULAS[name](x, norm), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NORMS)
def test_norm_in_float32_equals_its_formula(name):
    norm, x = norm_and_input(name, torch.float32)
    torch.testing.assert_close(norm(x), FORMULAS[name](x, norm), rtol=1e-5, atol=2e-6)


def test_a_norm_without_its_learned_parts_keeps_the_rest_of_its_formula():
    norm, x = norm_and_input("dyt", bias=False)
    assert [name for name, _ in norm.named_parameters()] == ["alpha", "weight"]
    torch.testing.assert_close(norm(x), norm.weight * torch.tanh(norm.alpha * x))


#: name -> parameters: (start, shape), written out by hand.
GAIN, AFFINE = {"weight": (1, (8,))}, {"weight": (1, (8,)), "bias": (0, (8,))}
CURVE = {"alpha": (0.5, ()), "shift": (0, ())} | AFFINE
PARAMETERS = {
    **dict.fromkeys(("layernorm", "layernorm_annotated", "batchnorm", "powernorm", "groupnorm_time"), AFFINE),
    **dict.fromkeys(("groupnorm_token", "group_whitening", "cum_instancenorm", "pb_relax_ln"), AFFINE),
    **dict.fromkeys(("layernorm_nobias", "rmsnorm", "rmsnorm_orig", "prmsnorm"), GAIN),
    **{name: {} for name in ("layernorm_nonparam", "l2norm", "instancenorm_time", "adanorm", "identity")},
    "layernorm1p": {"weight": (0, (8,)), "bias": (0, (8,))},
    "rmsnorm_zc": {"weight": (0, (8,))},
    "scalenorm": {"weight": (math.sqrt(8), ())},
    "layernorm_TC": {"weight": (1, (6, 8)), "bias": (0, (6, 8))},
    "dyt": {"alpha": (0.5, ())} | AFFINE,
    **dict.fromkeys(("derf", "isru"), CURVE),
}


@pytest.mark.parametrize("name", NORMS)
def test_gains_and_biases_start_where_the_paper_has_them(name):
    found = dict(norm_of(name).named_parameters())
    assert {key: tuple(parameter.shape) for key, parameter in found.items()} == {
        key: shape for key, (_, shape) in PARAMETERS[name].items()
    }
    for key, (start, _) in PARAMETERS[name].items():
        torch.testing.assert_close(found[key], torch.full_like(found[key], start))


@pytest.mark.parametrize("name", NORMS)
def test_the_row_names_the_parameters_with_start_and_shape(name):
    words = re.findall(r"(\w+)=(\S+) \(([^)]*)\)", NORMS[name].parameters)
    names, starts = {"g": "weight", "b": "bias", "s": "shift"}, {"sqrt(D)": math.sqrt(WIDTH)}
    shapes = {"1": (), "D": (WIDTH,), "T,D": (TIME, WIDTH)}
    told = {
        names.get(word, word): (starts.get(start) or float(start), shapes[at]) for word, start, at in words
    }
    assert told == PARAMETERS[name]


@pytest.mark.parametrize("row", NORMS.values(), ids=list(NORMS))
def test_the_row_has_what_lists_tell(row):
    assert row.equation and row.meaning and row.eps_place in EPS_PLACES and row.scope in SCOPES
    assert row.source or row.name == "identity"
    assert (row.config.eps == 0) == (row.eps_place == "none")
    assert (" eps" in row.equation) == (row.eps_place != "none")
    state = [name for name, _ in norm_of(row.name).named_buffers() if "running" in name]
    assert row.running == bool(state)


@pytest.mark.parametrize("shape", [(2, 3, TIME, WIDTH), (1, TIME, WIDTH), (TIME, WIDTH)])
@pytest.mark.parametrize("name", NORMS)
def test_leading_axes_beyond_the_batch_are_more_of_it(name, shape):
    norm, _ = norm_and_input(name)
    other, x = norm_of(name).double(), torch.randn(shape, dtype=torch.float64)
    other.load_state_dict(norm.state_dict())
    flat = other(x.reshape(-1, TIME, WIDTH))
    torch.testing.assert_close(norm(x), flat.view(shape), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "name", [name for name, row in NORMS.items() if row.scope.startswith(("token", "none"))]
)
def test_a_norm_of_a_token_takes_one_alone(name):
    norm, x = norm_and_input(name)
    torch.testing.assert_close(norm(x[1, 2]), norm(x)[1, 2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in NORMS if name != "identity"])
def test_channels_on_another_axis_are_refused(name):
    norm, x = norm_and_input(name)
    with pytest.raises((ValueError, RuntimeError), match=r"8 channels|normalized_shape"):
        norm(x.transpose(1, 2))


@pytest.mark.parametrize("name", NORMS)
def test_a_checkpoint_holds_all_that_the_next_step_needs(name):
    norm, _ = norm_and_input(name)
    for _ in range(3):
        x = torch.randn(BATCH, TIME, WIDTH, dtype=torch.float64, requires_grad=True)
        torch.autograd.backward(norm(x).square().mean())
    file = io.BytesIO()
    torch.save(norm.state_dict(), file)
    file.seek(0)
    again = norm_of(name).double()
    again.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(again.eval()(x), norm.eval()(x))
    for _ in range(2):
        y, y_again = norm.train()(x), again.train()(x)
        assert torch.equal(y, y_again)
        (g,), (g_again,) = (torch.autograd.grad(out.square().mean(), x) for out in (y, y_again))
        assert torch.equal(g, g_again)
    assert all(torch.equal(a, b) for a, b in zip(norm.buffers(), again.buffers(), strict=True))


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


@pytest.mark.parametrize("name", NORMS)
def test_a_model_takes_a_step_with_every_norm(name, small):
    model = GPT(small({"depth": 1}, norm=name, placement="peri"), 11)
    loss = model(torch.randint(11, (2, 8))).square().mean()
    torch.autograd.backward(loss)
    assert loss.isfinite() and all(parameter.grad.isfinite().all() for parameter in model.parameters())

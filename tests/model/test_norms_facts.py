"""What is known of the norms: where eps sits, what scale does, Jacobians, and beliefs that are wrong."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from normlab.catalogue.norms import NORMS
from normlab.model.norms import build_norm

WIDTH, TIME = 8, 6


def norm_of(name, width=WIDTH, **changes):
    config = NORMS[name].config
    groups = {"groups": 2} if hasattr(config, "groups") and "groups" not in changes else {}
    return build_norm(dataclasses.replace(config, **groups, **changes), width, TIME).double()


def without_eps(name):
    """The norm with eps 0, or next to it, and, for the cumulative one, no prior of a fixed variance."""
    prior = {"prior": 0.0} if name == "cum_instancenorm" else {}
    return norm_of(name, eps=1e-30 if name == "batchnorm" else 0.0, **prior)


def off_start(norm):
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return norm


def randn(*shape):
    torch.manual_seed(0)
    return torch.randn(*shape, dtype=torch.float64)


def jacobian(norm, x):
    return torch.autograd.functional.jacobian(norm, x)


CURVES = ("dyt", "derf", "isru", "identity")


# Where eps sits


def checkerboard(size):
    """(4, T, D) of +size and -size, of mean 0 over tokens, groups, time and batch alike."""
    b, t, d = (torch.arange(n) for n in (4, TIME, WIDTH))
    signs = 1 - 2 * ((b[:, None, None] + t[:, None] + d) % 2)
    return size * signs.double()


def expected_size(row, size, eps):
    unbiased = math.sqrt(WIDTH / (WIDTH - 1)) if row.name in ("layernorm_annotated", "adanorm") else 1
    if row.eps_place == "clamp":
        return size / max(size * math.sqrt(WIDTH), eps) * (math.sqrt(WIDTH) if row.name == "scalenorm" else 1)
    if row.name == "group_whitening":
        return size / math.sqrt(2 * size**2 + eps)  # both groups are the same row, of an eigenvalue for two
    if row.name == "pb_relax_ln":
        return 8 / math.sqrt(64 + eps)
    divide = {
        "inside": lambda value: value / math.sqrt(value**2 + eps),
        "outside": lambda value: value / (unbiased * value + eps),
    }[row.eps_place]
    return divide(divide(size)) if row.name == "powernorm" else divide(size)


@pytest.mark.parametrize("eps", [None, 1e-12, 1e-3])
@pytest.mark.parametrize("name", [name for name, row in NORMS.items() if row.eps_place != "none"])
def test_eps_is_where_the_row_says_at_entries_of_a_ten_thousandth(name, eps):
    row = NORMS[name]
    eps = row.config.eps if eps is None else eps
    more = (
        {"prior": 0.0}
        if name == "cum_instancenorm"
        else {"k": 0.0, "scale": 1.0}
        if name == "adanorm"
        else {}
    )
    y = norm_of(name, eps=eps, **more)(checkerboard(1e-4))
    if name == "cum_instancenorm":
        y = y[:, 1::2]  # after an even number of tokens their mean is 0
    torch.testing.assert_close(y.abs(), torch.full_like(y, expected_size(row, 1e-4, eps)), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("name", "changes", "size"),
    [
        ("rmsnorm_orig", {}, 1 / (1 + 1e-4)),
        ("rmsnorm", {"eps": 1e-8}, 1 / math.sqrt(2)),
        ("rmsnorm", {}, 1 / math.sqrt(1 + 1e3)),
        ("rmsnorm_zc", {}, 1 / math.sqrt(1 + 1e2)),
    ],
)
def test_misconception_08_the_original_rms_norm_has_eps_outside_the_root(name, changes, size):
    y = norm_of(name, **changes)(torch.full((WIDTH,), 1e-4, dtype=torch.float64))
    torch.testing.assert_close(y, torch.full_like(y, size), rtol=1e-9, atol=0)


def test_default_eps_damps_a_layer_norm_of_variance_2e_5_to_four_fifths():
    x = checkerboard(math.sqrt(2e-5))
    y = norm_of("layernorm")(x).abs()
    torch.testing.assert_close(y, torch.full_like(y, math.sqrt(2 / 3)), rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", NORMS)
def test_zeros_come_out_finite_and_pass_finite_gradients(name):
    x = torch.zeros(4, TIME, WIDTH, requires_grad=True)
    y = build_norm(NORMS[name].config, WIDTH, TIME)(x)
    torch.autograd.backward((y * torch.randn(4, TIME, WIDTH)).sum())
    assert y.isfinite().all() and x.grad.isfinite().all()


# Scale


@pytest.mark.parametrize("factor", [1e-3, 7.0])
@pytest.mark.parametrize("name", NORMS)
def test_scale_of_the_input_is_lost_in_every_norm_and_kept_by_curves(name, factor):
    x = randn(4, TIME, WIDTH)
    y, scaled = without_eps(name)(x)[:, 1:], without_eps(name)(factor * x)[:, 1:]
    same = torch.allclose(y, scaled, rtol=1e-9, atol=1e-9)
    assert same == (name not in CURVES)


def test_a_prior_of_fixed_variance_keeps_some_of_the_scale():
    x = randn(4, TIME, WIDTH)
    assert not torch.allclose(norm_of("cum_instancenorm")(7 * x), norm_of("cum_instancenorm")(x), rtol=0.01)


def test_misconception_16_dyt_is_no_normalization():
    x = randn(4, TIME, WIDTH)
    for name in ("dyt", "derf", "isru"):
        y = norm_of(name)(x)
        assert not torch.allclose(norm_of(name)(2 * x), y, rtol=0.1)
        torch.testing.assert_close(norm_of(name)(1e-6 * x), norm_of(name)(1e-3 * x) / 1e3, rtol=1e-5, atol=0)
        assert norm_of(name)(1e6 * x).abs().max() <= 1


@pytest.mark.parametrize("name", [name for name in NORMS if name not in (*CURVES, "cum_instancenorm")])
def test_the_gradient_has_no_radial_part_in_a_norm_without_eps(name):
    x, norm = randn(4, TIME, WIDTH).requires_grad_(), off_start(without_eps(name))
    (gradient,) = torch.autograd.grad((torch.randn_like(x) * norm(x)).sum(), x)
    assert gradient.abs().max() > 1e-3
    assert (x.detach() * gradient).sum().abs() < 1e-11


def test_the_gradient_of_rms_norm_is_orthogonal_to_each_token():
    x, norm = randn(4, TIME, WIDTH).requires_grad_(), off_start(norm_of("rmsnorm", eps=0.0))
    (gradient,) = torch.autograd.grad((torch.randn_like(x) * norm(x)).sum(), x)
    torch.testing.assert_close((x * gradient).sum(-1), torch.zeros(4, TIME).double(), rtol=0, atol=1e-12)


# Jacobians


def test_jacobian_of_layer_norm_is_the_known_one():
    x, one, eye = randn(WIDTH), torch.ones(WIDTH).double(), torch.eye(WIDTH).double()
    y = norm_of("layernorm", eps=0.0)(x).detach()
    known = (eye - one.outer(one) / WIDTH - y.outer(y) / WIDTH) / x.std(correction=0)
    torch.testing.assert_close(jacobian(norm_of("layernorm", eps=0.0), x), known, rtol=0, atol=1e-12)


def test_jacobian_of_rms_norm_is_the_known_one():
    x, eye = randn(WIDTH), torch.eye(WIDTH).double()
    y = norm_of("rmsnorm", eps=0.0)(x).detach()
    known = (eye - y.outer(y) / WIDTH) / x.square().mean().sqrt()
    torch.testing.assert_close(jacobian(norm_of("rmsnorm", eps=0.0), x), known, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["layernorm", "rmsnorm", "scalenorm", "l2norm", "layernorm_annotated"])
def test_jacobian_falls_as_one_over_the_size_of_the_input(name):
    x, norm = randn(WIDTH), norm_of(name, eps=0.0)
    torch.testing.assert_close(jacobian(norm, 100 * x), jacobian(norm, x) / 100, rtol=1e-9, atol=1e-12)


def test_jacobian_of_adanorm_holds_its_factor_fixed():
    x, eye = randn(WIDTH), torch.eye(WIDTH).double()
    deviation, centred = x.std() + 1e-5, x - x.mean()
    unscaled = (eye - 1 / WIDTH) / deviation - centred.outer(centred) / (
        (WIDTH - 1) * x.std() * deviation.square()
    )
    factor = 2 * (1 - 0.1 * centred / deviation)
    torch.testing.assert_close(
        jacobian(norm_of("adanorm"), x), factor[:, None] * unscaled, rtol=0, atol=1e-12
    )


# Whitening


def rows_of(y, groups):
    """(..., G, K)."""
    return y.unflatten(-1, (groups, -1))


def test_groups_of_a_whitened_token_have_means_0_and_the_covariance_i():
    """Of correlated groups, which group norm leaves correlated."""
    x = randn(3, TIME, 4, 16)
    x = (x + 0.9 * x[..., :1, :]).flatten(-2) + 2
    white = rows_of(norm_of("group_whitening", 64, groups=4, iterations=30, eps=1e-12)(x), 4)
    only_scaled = rows_of(norm_of("groupnorm_token", 64, groups=4)(x), 4)
    eye = torch.eye(4).double().expand(3, TIME, 4, 4)
    torch.testing.assert_close(white.mean(-1), torch.zeros(3, TIME, 4).double(), rtol=0, atol=1e-10)
    torch.testing.assert_close(white @ white.mT / 16, eye, rtol=0, atol=1e-8)
    assert (only_scaled @ only_scaled.mT / 16 - eye).abs().amax((-1, -2)).min() > 0.2


def test_whitening_is_the_symmetric_root_of_the_eigenvalues():
    """ZCA: of all white outputs, the one nearest to the input."""
    x = randn(5, 64)
    centred = rows_of(x, 4) - rows_of(x, 4).mean(-1, keepdim=True)
    values, vectors = torch.linalg.eigh(centred @ centred.mT / 16 + 1e-5 * torch.eye(4).double())
    root = vectors @ torch.diag_embed(values.rsqrt()) @ vectors.mT
    white = norm_of("group_whitening", 64, groups=4, iterations=30)(x)
    torch.testing.assert_close(rows_of(white, 4), root @ centred, rtol=0, atol=1e-8)


def test_whitening_of_one_group_is_layer_norm_and_of_uncorrelated_ones_group_norm():
    x = randn(3, 64)
    one = norm_of("group_whitening", 64, groups=1)
    torch.testing.assert_close(one(x), norm_of("layernorm", 64)(x), rtol=1e-12, atol=1e-12)
    waves = torch.tensor([[1.0, -1, 1, -1], [3, 3, -3, -3]]).double().flatten()
    both = [norm_of(name, 8, groups=2, eps=1e-12, **more)(waves) for name, more in _WHITE_OR_NOT]
    torch.testing.assert_close(both[0], both[1], rtol=1e-6, atol=0)


_WHITE_OR_NOT = (("group_whitening", {"iterations": 30}), ("groupnorm_token", {}))


def test_more_newton_steps_than_are_needed_do_no_harm_in_float32():
    norms = [norm_of("group_whitening", 64, groups=4, iterations=steps) for steps in (12, 100)]
    known, y = norms[0](randn(50, 64)), norms[1].float()(randn(50, 64).float())
    torch.testing.assert_close(y.double(), known, rtol=0, atol=1e-4)


def test_five_newton_steps_leave_a_small_direction_unwhitened():
    """An eigenvalue of a ten-thousandth of the trace grows by 1.5^2 a step: 1.5^10 of it after five."""
    a = torch.tensor([1.0, 1, -1, -1]).double()
    b = torch.tensor([1.0, -1, 1, -1]).double()
    x = torch.cat([a, 0.01 * b])
    y = rows_of(norm_of("group_whitening", 8, groups=2, eps=0.0)(x), 2)
    assert y[1].square().mean().item() == pytest.approx(1e-4 * 1.5**10, rel=0.01)


# Norms that are one another


def test_misconception_01_rms_norm_of_a_centred_token_is_layer_norm():
    x = randn(3, 4, WIDTH)
    layer, rms = norm_of("layernorm", eps=0.0)(x), norm_of("rmsnorm", eps=0.0)(x - x.mean(-1, keepdim=True))
    torch.testing.assert_close(rms, layer, rtol=0, atol=2e-15)


@pytest.mark.parametrize(("width", "percent"), [(8, -6.46), (64, -0.784), (512, -0.098)])
def test_misconception_07_annotated_layer_norm_is_smaller_by_the_unbiased_deviation(width, percent):
    x = randn(4, width)
    ratio = norm_of("layernorm_annotated", width, eps=0.0)(x) / norm_of("layernorm", width, eps=0.0)(x)
    known = math.sqrt((width - 1) / width)
    torch.testing.assert_close(ratio, torch.full_like(ratio, known), rtol=1e-9, atol=0)
    assert round(100 * (known - 1), 2 if width == 8 else 3) == percent


def test_partial_rms_norm_of_all_channels_is_the_original_one():
    x = randn(3, TIME, 100)
    assert torch.equal(norm_of("prmsnorm", 100, p=1.0)(x), norm_of("rmsnorm_orig", 100)(x))


@pytest.mark.parametrize(
    ("width", "p", "channels"), [(64, 0.0625, 4), (8, 0.0625, 1), (100, 0.07, 7), (10, 0.25, 3)]
)
def test_partial_rms_norm_rounds_its_share_up(width, p, channels):
    x = randn(3, width)
    known = x / (x[:, :channels].square().mean(-1, keepdim=True).sqrt() + 1e-8)
    torch.testing.assert_close(norm_of("prmsnorm", width, p=p)(x), known)


def test_scale_norm_starts_at_rms_1_and_l2_norm_at_one_over_the_root_of_the_width():
    x = randn(3, TIME, 64)
    sizes = [norm_of(name, 64)(x).square().mean(-1).sqrt() for name in ("scalenorm", "l2norm")]
    torch.testing.assert_close(sizes[0], torch.ones(3, TIME).double())
    torch.testing.assert_close(sizes[1], torch.full((3, TIME), 1 / 8).double())


def test_cumulative_instance_norm_makes_the_first_token_zero_without_a_prior_only():
    x = randn(4, TIME, WIDTH)
    assert torch.all(norm_of("cum_instancenorm", prior=0.0)(x)[:, 0] == 0)
    # x_1 beside one token of mean 0 and variance 1: m = x_1 / 2, v = (1 + x_1^2) / 2 - x_1^2 / 4.
    first = x[:, 0] / 2 / (0.5 + x[:, 0].square() / 4 + 1e-5).sqrt()
    torch.testing.assert_close(norm_of("cum_instancenorm", prior=1.0)(x)[:, 0], first)


def test_the_last_token_under_cumulative_instance_norm_without_a_prior_is_that_under_instance_norm():
    x = randn(4, TIME, WIDTH)
    cumulative, instance = norm_of("cum_instancenorm", prior=0.0)(x), norm_of("instancenorm_time")(x)
    torch.testing.assert_close(cumulative[:, -1], instance[:, -1], rtol=1e-12, atol=1e-12)


def test_pb_relax_is_layer_norm_with_eps_in_units_of_the_largest_entry():
    x = randn(4, TIME, WIDTH)
    eps = 1e-3 * float(x.abs().max() / 8) ** 2
    torch.testing.assert_close(norm_of("pb_relax_ln", eps=1e-3)(x), F.layer_norm(x, (WIDTH,), eps=eps))


# torch's modules for images take (B, T, D) without complaint


def test_torch_instance_norm_of_tokens_in_rows_is_layer_norm_and_ours_is_not():
    x = torch.randn(4, TIME, WIDTH)
    trap = nn.InstanceNorm1d(TIME)(x)
    torch.testing.assert_close(trap, F.layer_norm(x, (WIDTH,)), rtol=0, atol=1e-6)
    assert not torch.allclose(build_norm(NORMS["instancenorm_time"].config, WIDTH)(x), trap, atol=0.1)


def test_torch_batch_norm_of_tokens_in_rows_normalizes_places_and_ours_channels():
    x = torch.randn(4, TIME, WIDTH)
    trap, ours = nn.BatchNorm1d(TIME)(x), build_norm(NORMS["batchnorm"].config, WIDTH)(x)
    torch.testing.assert_close(trap.mean((0, 2)), torch.zeros(TIME), rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.mean((0, 1)), torch.zeros(WIDTH), rtol=0, atol=1e-6)
    assert trap.mean((0, 1)).abs().max() > 0.1
    images = nn.BatchNorm1d(WIDTH)(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(ours, images, rtol=0, atol=1e-6)


# Gains


def test_misconception_23_weight_decay_pulls_a_plain_gain_to_0_and_a_zero_centred_one_to_1():
    x = randn(4, TIME, WIDTH)
    ends = {"layernorm": 0, "rmsnorm": 0, "layernorm1p": 1, "rmsnorm_zc": 1}
    norms = {name: norm_of(name, eps=1e-6) for name in ends}
    for norm in norms.values():
        norm.weight.data += 0.5
        norm.weight.grad = torch.zeros_like(norm.weight)
    optimizer = torch.optim.AdamW(
        [norm.weight for norm in norms.values()], lr=0.1, weight_decay=0.1, fused=True
    )
    for _ in range(1000):
        optimizer.step()
    plain = {"layer": norm_of("layernorm_nonparam", eps=1e-6)(x), "rmsno": norm_of("rmsnorm", eps=1e-6)(x)}
    for name, end in ends.items():
        torch.testing.assert_close(norms[name](x), end * plain[name[:5]], rtol=1e-3, atol=1e-3)

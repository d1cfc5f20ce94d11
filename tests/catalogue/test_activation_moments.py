"""The moments of activations against quadrature over the functions that train, and the published table."""

import math

import numpy as np
import pytest
import torch

from normlab.catalogue.activation_moments import FORMULAS, moments
from normlab.catalogue.activations import ACTIVATIONS, EluConfig, LeakyReluConfig, SwishConfig
from normlab.model.activations import build_activation

SWISH_1702 = SwishConfig(name="swish", beta=1.702)
#: E f, E f^2, gain, chi as printed, of z ~ N(0, 1).
TABLE = {
    "identity": ("0", "1", "1", "1"),
    "sigmoid": (".5", ".2934", "1.846", ".0448"),
    "tanh": ("0", ".3943", "1.5925", ".4644"),
    "relu": (".3989", ".5", "1.4142", ".5"),
    "leaky_relu": (".3950", ".50005", "1.4141", ".50005"),
    "elu": (".1605", ".6449", "1.2452", ".6681"),
    "silu": (".2066", ".3558", "1.6765", ".3795"),
    "swish": (".2066", ".3558", "1.6765", ".3795"),
    "gelu": (".2821", ".4252", "1.5335", ".4559"),
    "gelu_tanh": (".2820", ".4252", "1.5336", ".4558"),
    "relu2": (".5", "1.5", ".8165", "2.0"),
    "erf": ("0", ".4646", "1.467", ".5694"),
    "mish": (".2404", ".4523", "1.487", ".479"),
    "softplus": (".8061", ".9212", "1.042", ".293"),
}
PLAIN = [name for name, row in ACTIVATIONS.items() if not row.gated]
GATED = [name for name, row in ACTIVATIONS.items() if row.gated]
SMOOTH = [name for name in PLAIN if name not in ("relu", "leaky_relu", "relu2", "elu")]


def digits(text):
    """Half a unit of the last digit printed."""
    places = len(text.partition(".")[2])
    return 0.5001 * 10.0**-places if places else 1e-9


def halves(points=200, reach=13.0):
    """Nodes and weights of E g(z), each side of 0 by itself: exact for what has a kink there."""
    x, w = np.polynomial.legendre.leggauss(points)
    z = np.concatenate([(x - 1) * reach / 2, (x + 1) * reach / 2])
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return torch.from_numpy(z), torch.from_numpy(np.tile(w, 2) * density * reach / 2)


def hermite(points=180):
    x, w = np.polynomial.hermite_e.hermegauss(points)
    return torch.from_numpy(x), torch.from_numpy(w / math.sqrt(2 * math.pi))


def measured(config, nodes):
    """E f, E f^2, E f'^2 of the torch function, its derivative by autograd."""
    z, w = nodes
    z = z.clone().requires_grad_()
    f = build_activation(config)(z)
    (slope,) = torch.autograd.grad(f.sum(), z)
    f = f.detach()
    return tuple(float((w * value).sum()) for value in (f, f**2, slope**2))


def test_the_table_has_every_activation_that_is_not_gated():
    assert TABLE.keys() == set(PLAIN)


@pytest.mark.parametrize("name", PLAIN)
def test_moments_are_the_published_ones_to_every_digit(name):
    found = moments(ACTIVATIONS[name].config)
    for value, text in zip((found.mean, found.square, found.gain, found.chi), TABLE[name], strict=True):
        assert value == pytest.approx(float(text), abs=digits(text))


def test_moments_follow_the_settings():
    found = moments(SWISH_1702)
    for value, text in zip(
        (found.mean, found.square, found.gain, found.chi), (".2823", ".4220", "1.5395", ".4495"), strict=True
    ):
        assert value == pytest.approx(float(text), abs=digits(text))
    slope = moments(LeakyReluConfig(name="leaky_relu", slope=0.2))
    assert slope.square == pytest.approx((1 + 0.2**2) / 2) and slope.mean == pytest.approx(
        0.8 / math.sqrt(2 * math.pi)
    )


@pytest.mark.parametrize(
    "config",
    [
        *(ACTIVATIONS[name].config for name in PLAIN),
        SWISH_1702,
        EluConfig(name="elu", alpha=0.3),
        LeakyReluConfig(name="leaky_relu", slope=0.2),
    ],
    ids=str,
)
def test_moments_are_those_of_the_function_that_trains(config):
    found = moments(config)
    assert (found.mean, found.square, found.chi) == pytest.approx(measured(config, halves()), abs=1e-9)


@pytest.mark.parametrize("name", SMOOTH)
def test_gauss_hermite_quadrature_gives_the_same(name):
    found = moments(ACTIVATIONS[name].config)
    expected = measured(ACTIVATIONS[name].config, hermite())
    assert (found.mean, found.square, found.chi) == pytest.approx(expected, abs=1e-6)


def test_erf_has_the_closed_form_of_the_arcsine_kernel():
    assert moments(ACTIVATIONS["erf"].config).square == pytest.approx(2 / math.pi * math.asin(2 / 3))


@pytest.mark.parametrize("name", PLAIN)
def test_formula_on_floats_is_the_one_on_tensors(name):
    row, z = ACTIVATIONS[name], torch.linspace(-30, 30, 121, dtype=torch.float64)
    ours = [FORMULAS[row.function](x, row.config) for x in z.tolist()]
    torch.testing.assert_close(torch.tensor(ours, dtype=torch.float64), build_activation(row.config)(z))


def test_torchs_gains_keep_the_second_moment_where_the_activation_has_a_kink_and_not_elsewhere():
    torchs = torch.nn.init.calculate_gain
    gain = {name: moments(ACTIVATIONS[name].config).gain for name in PLAIN}
    assert gain["identity"] == pytest.approx(torchs("linear"))
    assert gain["relu"] == pytest.approx(torchs("relu")) and torchs("relu") == pytest.approx(math.sqrt(2))
    assert gain["leaky_relu"] == pytest.approx(torchs("leaky_relu", 0.01)) and gain[
        "leaky_relu"
    ] == pytest.approx(1.41414, abs=1e-5)
    # A convention (5/3) and a leftover (1), not gains of this kind.
    assert torchs("tanh") == pytest.approx(5 / 3) and gain["tanh"] == pytest.approx(1.5925, abs=1e-4)
    assert torchs("sigmoid") == 1 and gain["sigmoid"] > 1.8


@pytest.mark.parametrize(
    ("name", "gain"),
    [("glu", 1.846), ("bilinear", 1.0), ("reglu", 1.414), ("geglu", 1.534), ("swiglu", 1.677)],
)
def test_gate_times_input_has_mean_zero_and_the_gates_gain(name, gain):
    """Over the product of two quadratures: E h, E h^2 and E |grad h|^2 of h = act(g) u."""
    config, (g, w) = ACTIVATIONS[name].config, halves(points=120)
    g, u, w = g[:, None].expand(-1, len(g)).clone(), g[None].expand(len(g), -1).clone(), w[:, None] * w[None]
    g.requires_grad_(), u.requires_grad_()
    h = build_activation(config)(g) * u
    by_g, by_u = torch.autograd.grad(h.sum(), (g, u))
    h = h.detach()
    found = moments(config)
    assert found.mean == 0 and float((w * h).sum()) == pytest.approx(0, abs=1e-12)
    assert found.square == pytest.approx(float((w * h**2).sum()), abs=1e-9)
    assert found.chi == pytest.approx(float((w * (by_g**2 + by_u**2)).sum()), abs=1e-9)
    assert found.gain == pytest.approx(gain, abs=1e-3)


def test_every_gate_has_the_moments_of_its_activation():
    by_function = {ACTIVATIONS[name].function: moments(ACTIVATIONS[name].config) for name in PLAIN}
    for name in GATED:
        assert moments(ACTIVATIONS[name].config).square == by_function[ACTIVATIONS[name].function].square

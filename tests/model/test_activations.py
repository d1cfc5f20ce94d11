import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from normlab.catalogue.activations import ACTIVATIONS, EluConfig, LeakyReluConfig, SwishConfig
from normlab.config import ActivationConfig, FFNConfig, ModelConfig
from normlab.errors import ConfigError
from normlab.measure.gradients import GradientNorms
from normlab.measure.instrument import copied
from normlab.measure.layout import Layout
from normlab.model.activations import build_activation
from normlab.model.ffn import FeedForward, ffn_width
from normlab.model.gpt import GPT, site

z = torch.linspace(-4, 4, 101, dtype=torch.float64)
LOGISTIC = 1 / (1 + (-z).exp())
FORMULAS = {
    "identity": z,
    "sigmoid": LOGISTIC,
    "tanh": (z.exp() - (-z).exp()) / (z.exp() + (-z).exp()),
    "relu": z.clamp(min=0),
    "leaky_relu": torch.where(z > 0, z, 0.01 * z),
    "elu": torch.where(z > 0, z, z.exp() - 1),
    "silu": z / (1 + (-z).exp()),
    "swish": z / (1 + (-z).exp()),
    "gelu": z * (1 + torch.erf(z / math.sqrt(2))) / 2,
    "gelu_tanh": z / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))),
    "relu2": torch.where(z > 0, z * z, 0.0),
    "erf": torch.tensor([math.erf(x) for x in z.tolist()], dtype=torch.float64),
    "mish": z * torch.tanh((1 + z.exp()).log()),
    "softplus": (1 + z.exp()).log(),
    "glu": LOGISTIC,
    "bilinear": z,
    "reglu": z.clamp(min=0),
    "geglu": z * (1 + torch.erf(z / math.sqrt(2))) / 2,
    "geglu_tanh": z / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))),
    "swiglu": z / (1 + (-z).exp()),
}
LEARNED = SwishConfig(name="swish", beta=0.7, learn="scalar")


def test_every_activation_has_its_formula_here():
    assert FORMULAS.keys() == ACTIVATIONS.keys()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_equals_its_formula(name):
    torch.testing.assert_close(build_activation(ACTIVATIONS[name].config)(z), FORMULAS[name])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_says_what_it_is(name):
    row = ACTIVATIONS[name]
    assert row.meaning and row.equation and (row.source or name == "identity")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (SwishConfig(name="swish", beta=1.702), z / (1 + (-1.702 * z).exp())),
        (LEARNED, z / (1 + (-0.7 * z).exp())),
        (EluConfig(name="elu", alpha=0.5), torch.where(z > 0, z, 0.5 * (z.exp() - 1))),
        (LeakyReluConfig(name="leaky_relu", slope=0.2), torch.where(z > 0, z, 0.2 * z)),
        # above 1 the line is below the rectifier's, so this is not max(slope z, z)
        (LeakyReluConfig(name="leaky_relu", slope=2.0), torch.where(z > 0, z, 2 * z)),
    ],
)
def test_settings_reach_the_formula(config, expected):
    torch.testing.assert_close(build_activation(config)(z), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": math.inf}, r"activation\.beta"),
        ({"beta": math.nan}, r"activation\.beta"),
        ({"learn": "skalar"}, r"activation\.learn: .*Did you mean 'scalar'"),
    ],
)
def test_bad_settings_of_swish_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        SwishConfig(name="swish", **settings)


def test_the_tanh_form_of_gelu_is_off_by_so_much_and_swish_by_so_much_more():
    x = torch.linspace(-8, 8, 400001, dtype=torch.float64)
    gelu, tanh, swish = (
        build_activation(config)(x)
        for config in (
            ActivationConfig(name="gelu"),
            ActivationConfig(name="gelu_tanh"),
            SwishConfig(name="swish", beta=1.702),
        )
    )
    assert (gelu - tanh).abs().max().item() == pytest.approx(4.7e-4, abs=0.05e-4)
    assert (gelu - swish).abs().max().item() == pytest.approx(2.03e-2, abs=0.005e-2)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_feed_forward_is_two_matrices_or_three_with_a_gate(name):
    config = ModelConfig(width=16)
    ffn, x = (
        FeedForward(config, ACTIVATIONS[name].config).double(),
        torch.randn(2, 3, 16, dtype=torch.float64),
    )
    act = build_activation(ACTIVATIONS[name].config)
    h = F.linear(x, ffn.w_in.weight)
    h = act(F.linear(x, ffn.w_gate.weight)) * h if ACTIVATIONS[name].gated else act(h)
    torch.testing.assert_close(ffn(x), F.linear(h, ffn.w_out.weight))
    assert len(list(ffn.parameters())) == (3 if ACTIVATIONS[name].gated else 2)


@pytest.mark.parametrize(
    ("name", "degree"),
    [("identity", 1), ("relu", 1), ("leaky_relu", 1), ("relu2", 2), ("reglu", 2), ("bilinear", 2)],
)
def test_gates_and_squares_double_the_sensitivity_to_the_scale_of_the_input(name, degree):
    """The degree of homogeneity of the layer, and so its sensitivity to the scale of its first matrices."""
    ffn = FeedForward(ModelConfig(width=16), ACTIVATIONS[name].config).double()
    x = torch.randn(4, 16, dtype=torch.float64)
    torch.testing.assert_close(ffn(3 * x), 3**degree * ffn(x))


@pytest.mark.parametrize(
    ("width", "multiple", "gated", "expected"),
    [
        (64, 8, False, 256),
        (64, 8, True, 176),
        (128, 8, True, 344),
        (256, 8, True, 688),
        (64, 256, True, 256),
        (128, 256, True, 512),
        (512, 256, True, 1536),
        (768, 256, True, 2048),
        (1024, 256, True, 2816),
        (2048, 256, True, 5632),
        (4096, 256, True, 11008),  # LLaMA 7B
        (5120, 256, True, 13824),  # LLaMA 13B
        (8192, 256, True, 22016),  # LLaMA 65B
    ],
)
def test_ffn_width_follows_the_two_thirds_rule(width, multiple, gated, expected):
    config = ModelConfig(width=width, ffn=FFNConfig(multiple_of=multiple))
    assert ffn_width(config, gated) == expected


def test_the_labs_own_multiple_is_eight_and_keeps_the_number_of_parameters():
    """Two matrices of 4D against three of 8D/3: within a tenth at every width the lab uses."""
    assert FFNConfig().multiple_of == 8
    for width in (64, 128, 256, 512):
        config = ModelConfig(width=width)
        assert 1 <= 3 * ffn_width(config, True) / (2 * ffn_width(config, False)) < 1.1


def test_a_learned_slope_is_a_parameter_of_each_layer_and_trains(small):
    config = dataclasses.replace(small(), activation=LEARNED)
    model, fixed = GPT(config, 11), GPT(small(activation="swish"), 11)
    betas = {name: p for name, p in model.named_parameters() if name.endswith("beta")}
    assert list(betas) == [f"layers.{layer}.ffn.branch.act.beta" for layer in (0, 1)]
    assert all(beta.shape == () and beta.item() == pytest.approx(0.7) for beta in betas.values())
    assert len(list(fixed.parameters())) == len(list(model.parameters())) - 2
    model(torch.randint(11, (2, 8))).square().mean().backward()
    assert all(beta.grad.abs() > 0 for beta in betas.values())


def test_the_gradient_of_a_learned_slope_counts_as_a_scale(small):
    model = GPT(dataclasses.replace(small(), activation=LEARNED), 11)
    assert site("layers.1.ffn.branch.act.beta") == ("layer_01", "scale")
    model(torch.randint(11, (2, 8))).square().mean().backward()
    measured = GradientNorms(Layout(model, site))
    values = copied(measured.measure(detail=True))
    beta = model.layers[1].ffn.branch.act.beta
    assert values["grad_norm/layer_01/scale"] == pytest.approx(beta.grad.abs().item())

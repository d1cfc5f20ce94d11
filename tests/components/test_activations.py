import math

import pytest
import torch
import torch.nn.functional as F

from normlab.components.activations import build_activation
from normlab.components.ffn import FeedForward, ffn_width
from normlab.config import FFNConfig, ModelConfig
from normlab.tables.activations import ACTIVATIONS, EluConfig, LeakyReluConfig, SwishConfig

z = torch.linspace(-4, 4, 101, dtype=torch.float64)
FORMULAS = {
    "relu": z.clamp(min=0),
    "leaky_relu": torch.where(z > 0, z, 0.01 * z),
    "elu": torch.where(z > 0, z, z.exp() - 1),
    "sigmoid": 1 / (1 + (-z).exp()),
    "tanh": (z.exp() - (-z).exp()) / (z.exp() + (-z).exp()),
    "gelu": z * (1 + torch.erf(z / math.sqrt(2))) / 2,
    "gelu_tanh": z / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))),
    "silu": z / (1 + (-z).exp()),
    "swish": z / (1 + (-z).exp()),
    "glu": 1 / (1 + (-z).exp()),
    "reglu": z.clamp(min=0),
    "geglu": z * (1 + torch.erf(z / math.sqrt(2))) / 2,
    "swiglu": z / (1 + (-z).exp()),
}


def test_every_activation_has_its_formula_here():
    assert FORMULAS.keys() == ACTIVATIONS.keys()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_equals_its_formula(name):
    torch.testing.assert_close(build_activation(ACTIVATIONS[name].config)(z), FORMULAS[name])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (SwishConfig(name="swish", beta=1.702), z / (1 + (-1.702 * z).exp())),
        (EluConfig(name="elu", alpha=0.5), torch.where(z > 0, z, 0.5 * (z.exp() - 1))),
        (LeakyReluConfig(name="leaky_relu", slope=0.2), torch.where(z > 0, z, 0.2 * z)),
    ],
)
def test_settings_reach_the_formula(config, expected):
    torch.testing.assert_close(build_activation(config)(z), expected)


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
    ("width", "multiple", "gated", "expected"),
    [
        (64, 8, False, 256),
        (64, 8, True, 176),
        (128, 8, True, 344),
        (256, 8, True, 688),
        (4096, 256, True, 11008),  # LLaMA 7B
        (5120, 256, True, 13824),  # LLaMA 13B
    ],
)
def test_ffn_width_follows_the_two_thirds_rule(width, multiple, gated, expected):
    config = ModelConfig(width=width, ffn=FFNConfig(multiple_of=multiple))
    assert ffn_width(config, gated) == expected

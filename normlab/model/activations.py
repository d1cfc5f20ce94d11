"""Activations: pure functions of a tensor and a row's settings, whose formulas the table has."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normlab.catalogue.activations import ACTIVATIONS, EluConfig, LeakyReluConfig, SwishConfig
from normlab.config import ActivationConfig
from normlab.config.row import implementation


def build_activation(config: ActivationConfig) -> Callable[[Tensor], Tensor]:
    """The function of `config`, its settings bound; a module where it can have parameters."""
    made = implementation(__name__, ACTIVATIONS[config.name].function)
    built: Callable[[Tensor], Tensor] = (
        made(config) if isinstance(made, type) else partial(made, config=config)
    )
    return built


def identity(z: Tensor, config: ActivationConfig) -> Tensor:
    return z


def sigmoid(z: Tensor, config: ActivationConfig) -> Tensor:
    return torch.sigmoid(z)


def tanh(z: Tensor, config: ActivationConfig) -> Tensor:
    return torch.tanh(z)


def relu(z: Tensor, config: ActivationConfig) -> Tensor:
    return F.relu(z)


def leaky_relu(z: Tensor, config: LeakyReluConfig) -> Tensor:
    return F.leaky_relu(z, config.slope)


def elu(z: Tensor, config: EluConfig) -> Tensor:
    return F.elu(z, config.alpha)


def silu(z: Tensor, config: ActivationConfig) -> Tensor:
    return F.silu(z)


class Swish(nn.Module):
    """z * sigmoid(beta * z), beta fixed or one learned number (1710.05941)."""

    def __init__(self, config: SwishConfig) -> None:
        super().__init__()
        learned = config.learn == "scalar"
        self.beta = nn.Parameter(torch.tensor(config.beta)) if learned else config.beta

    def forward(self, z: Tensor) -> Tensor:
        return z * torch.sigmoid(self.beta * z)


def gelu(z: Tensor, config: ActivationConfig) -> Tensor:
    return F.gelu(z)


def gelu_tanh(z: Tensor, config: ActivationConfig) -> Tensor:
    return F.gelu(z, approximate="tanh")


def relu2(z: Tensor, config: ActivationConfig) -> Tensor:
    return F.relu(z).square()


def erf(z: Tensor, config: ActivationConfig) -> Tensor:
    return torch.erf(z)


def mish(z: Tensor, config: ActivationConfig) -> Tensor:
    return F.mish(z)


def softplus(z: Tensor, config: ActivationConfig) -> Tensor:
    return F.softplus(z)

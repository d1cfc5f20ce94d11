"""Activations: pure functions of a tensor and a row's settings; formulas stand in `tables/activations.py`."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from normlab.config import ActivationConfig
from normlab.tables.activations import ACTIVATIONS, EluConfig, LeakyReluConfig, SwishConfig


def build_activation(config: ActivationConfig) -> Callable[[Tensor], Tensor]:
    """The function of `config`, its settings bound."""
    return partial(globals()[ACTIVATIONS[config.name].function], config=config)


def relu(z: Tensor, config: ActivationConfig) -> Tensor:
    return F.relu(z)


def leaky_relu(z: Tensor, config: LeakyReluConfig) -> Tensor:
    return F.leaky_relu(z, config.slope)


def elu(z: Tensor, config: EluConfig) -> Tensor:
    return F.elu(z, config.alpha)


def sigmoid(z: Tensor, config: ActivationConfig) -> Tensor:
    return torch.sigmoid(z)


def tanh(z: Tensor, config: ActivationConfig) -> Tensor:
    return torch.tanh(z)


def gelu(z: Tensor, config: ActivationConfig) -> Tensor:
    return F.gelu(z)


def gelu_tanh(z: Tensor, config: ActivationConfig) -> Tensor:
    return F.gelu(z, approximate="tanh")


def silu(z: Tensor, config: ActivationConfig) -> Tensor:
    return F.silu(z)


def swish(z: Tensor, config: SwishConfig) -> Tensor:
    return z * torch.sigmoid(config.beta * z)

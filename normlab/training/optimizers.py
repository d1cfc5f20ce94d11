"""Optimizers by the rows of `normlab.tables.optimizers`, each with all parameters in one group.

`fused` takes one kernel for all parameters: on the CPU a tenth of a small model's step.
"""

from collections.abc import Iterable

import torch
from torch import nn

from normlab.config import OptimizerConfig
from normlab.tables.optimizers import OPTIMIZERS, AdamConfig, SGDConfig


def build_optimizer(parameters: Iterable[nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer of `config`; the loop sets its rate each step."""
    optimizer: torch.optim.Optimizer = globals()[OPTIMIZERS[config.name].function](parameters, config)
    return optimizer


def adamw(parameters: Iterable[nn.Parameter], config: AdamConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        parameters,
        lr=config.lr,
        betas=_pair(config),
        eps=config.eps,
        weight_decay=config.weight_decay,
        fused=True,
    )


def adam(parameters: Iterable[nn.Parameter], config: AdamConfig) -> torch.optim.Optimizer:
    return torch.optim.Adam(
        parameters,
        lr=config.lr,
        betas=_pair(config),
        eps=config.eps,
        weight_decay=config.weight_decay,
        fused=True,
    )


def sgd(parameters: Iterable[nn.Parameter], config: SGDConfig) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters,
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
        fused=True,
    )


def _pair(config: AdamConfig) -> tuple[float, float]:
    return config.betas[0], config.betas[1]

"""Norms by statistics of the batch, all axes but the last, with running ones for evaluation. (..., width).

What they keep between steps is in buffers, and so in a checkpoint.
"""

from collections.abc import Callable
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normlab.catalogue.norm_settings import BatchNormConfig, PowerNormConfig
from normlab.config import NormConfig
from normlab.model.norms.base import Norm, group_width, grouped
from normlab.model.padding import Padding
from normlab.model.site import Site


class RunningNorm(Norm):
    """Norms of this kind: the site shows x (N, C), N tokens, and the running statistics that x has gone into,
    those of `statistics`: the variance, or mean square where no mean is taken away; the mean."""

    statistics: ClassVar[tuple[str, ...]]

    def __init__(self, width: int, config: NormConfig, context: int | None = None) -> None:
        super().__init__(width, config)
        self.site = Site()


class BatchNorm(RunningNorm):
    """Batch norm over batch and time of (B, T, C); running statistics in evaluation (1502.03167).

    torch's own module would take (B, T, C) for (N, C, L) and normalize each time step: the input is
    flattened to (B*T, C) here. The running variance is the unbiased one, as in torch. With a `padding` the
    statistics are those of tokens alone, and padding becomes 0.
    """

    statistics = ("std", "mean")
    running_mean: Tensor
    running_var: Tensor
    padding: Padding | None = None

    def __init__(self, width: int, config: NormConfig, context: int | None = None) -> None:
        super().__init__(width, config)
        assert isinstance(config, BatchNormConfig)
        self.momentum = config.momentum
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def normalize(self, x: Tensor) -> Tensor:
        x_NC = x.flatten(0, -2)
        if self.padding is None:
            return self._norm(x_NC).view_as(x)
        rows_N = self.padding.rows(x)
        y_NC = torch.zeros_like(x_NC)
        y_NC[rows_N] = self._norm(x_NC[rows_N])
        return y_NC.view_as(x)

    def _norm(self, x_NC: Tensor) -> Tensor:
        y_NC = F.batch_norm(
            x_NC,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training,
            momentum=self.momentum,
            eps=self.eps,
        )
        self.site(x_NC, self.running_var, self.running_mean)
        return y_NC


class PowerNorm(RunningNorm):
    """Power norm: each channel over the root of a running mean square (Shen et al. 2020, 2003.07845).

    With u = x / rms_group(x), psi2 the running mean square of u, z = u / sqrt(psi2 + eps), decays a, b:

        forward    y = weight * z + bias,               then psi2 <- a psi2 + (1 - a) mean(u^2)
        backward   h = dL/dz - nu z,  dL/du = h / sqrt(psi2 + eps),  then nu <- nu + (1 - b) mean(h z)

    The means run over batch and time. psi2 is that of past batches and a constant to autograd; nu stands
    for the gradient through it. In the first `batch_steps` batches z divides by the batch's own mean square,
    which leaks, and psi2 starts as the mean of all so far. The groups and the first steps are the released
    code's; but that code divides the gradient by the newest batch's root, not by the one of the forward
    pass. A micro-batch counts as a batch.
    """

    statistics = ("std",)
    running_square: Tensor
    running_gradient: Tensor
    steps: Tensor

    def __init__(self, width: int, config: NormConfig, context: int | None = None) -> None:
        super().__init__(width, config)
        assert isinstance(config, PowerNormConfig)
        self.group_width, self.batch_steps = group_width(config.groups, width), config.batch_steps
        self.decay_forward, self.decay_backward = config.decay_forward, config.decay_backward
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_square", torch.ones(width))
        self.register_buffer("running_gradient", torch.zeros(width))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def normalize(self, x: Tensor) -> Tensor:
        u = F.rms_norm(grouped(x, self.group_width), (self.group_width,), eps=self.eps).flatten(-2)
        square = self._advance(u) if self.training else self.running_square
        self.site(u.flatten(0, -2), self.running_square)
        z = u * (square + self.eps).rsqrt()
        if self.training and z.requires_grad:
            cast(Any, z).register_hook(self._correction(z.detach()))
        return self.weight * z + self.bias

    @torch.no_grad()
    def _advance(self, u: Tensor) -> Tensor:
        """Take a batch into the running mean square; returns the mean square to divide by."""
        self.steps += 1
        own, past, first = (
            u.square().flatten(0, -2).mean(0),
            self.running_square,
            self.steps <= self.batch_steps,
        )
        divisor = torch.where(first, own, past)
        average = torch.where(first, past + (own - past) / self.steps, past)
        self.running_square.copy_(average.lerp(own, 1 - self.decay_forward))
        return divisor

    def _correction(self, z: Tensor) -> Callable[[Tensor], Tensor]:
        @torch.no_grad()
        def correct(gradient: Tensor) -> Tensor:
            corrected = gradient - self.running_gradient * z
            self.running_gradient += (1 - self.decay_backward) * (corrected * z).flatten(0, -2).mean(0)
            return corrected

        return correct

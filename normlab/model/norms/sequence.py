"""Norms by statistics that reach over time. (..., T, width); each entry of the axes before T a sequence."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normlab.catalogue.norm_settings import GroupNormConfig, PrefixConfig
from normlab.config import NormConfig
from normlab.errors import ConfigError
from normlab.model.norms.base import Norm, group_width, grouped, wide
from normlab.model.norms.token import LayerNorm


class InstanceNormTime(Norm):
    """Each channel over the time of its sequence (1607.08022); leaks. No running statistics, as in torch."""

    def normalize(self, x: Tensor) -> Tensor:
        turned = x.transpose(-1, -2)
        return F.layer_norm(turned, turned.shape[-1:], eps=self.eps).transpose(-1, -2)


class GroupNormTime(Norm):
    """Each group of channels over the time of its sequence, a gain and bias a channel (1803.08494); leaks."""

    def __init__(self, width: int, config: NormConfig, context: int | None = None) -> None:
        super().__init__(width, config)
        assert isinstance(config, GroupNormConfig)
        self.group_width = group_width(config.groups, width)
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def normalize(self, x: Tensor) -> Tensor:
        groups = grouped(x, self.group_width).transpose(-2, -3)
        normed = F.layer_norm(groups, groups.shape[-2:], eps=self.eps)
        return self.weight * normed.transpose(-2, -3).flatten(-2) + self.bias


class CumulativeInstanceNorm(Norm):
    """Each channel over the tokens so far: instance norm that is causal (after Conv-TasNet, 1809.07454).

    y_t = weight * (x_t - m_t) / sqrt(v_t + eps) + bias, as if n = `prior` tokens of mean 0 and variance 1 had
    gone before: m_t = (x_1 + ... + x_t) / (n + t), v_t = (n + x_1^2 + ... + x_t^2) / (n + t) - m_t^2.
    """

    def __init__(self, width: int, config: NormConfig, context: int | None = None) -> None:
        super().__init__(width, config)
        assert isinstance(config, PrefixConfig)
        self.prior = config.prior
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def normalize(self, x: Tensor) -> Tensor:
        count = torch.arange(1, x.shape[-2] + 1, device=x.device, dtype=x.dtype).unsqueeze(-1) + self.prior
        # Less the first token, which every later one may see: mean(x^2) - mean(x)^2 would cancel far from 0.
        first = x[..., :1, :]
        rest = x - first
        mean = (rest.cumsum(-2) - self.prior * first) / count
        square = (rest.square().cumsum(-2) + self.prior * (1 + first.square())) / count
        variance = (square - mean.square()).clamp_min(0)
        return self.weight * (rest - mean) * (variance + self.eps).rsqrt() + self.bias


class LayerNormTC(Norm):
    """One mean and variance for a sequence and its channels, a gain and bias for each place; leaks.

    A misreading of layer norm. Takes sequences of `context` tokens only.
    """

    def __init__(self, width: int, config: NormConfig, context: int | None = None) -> None:
        super().__init__(width, config)
        if context is None:
            raise ConfigError("norm", f"{config.name} has a gain for each place and needs the context length")
        self.weight = nn.Parameter(torch.ones(context, width))
        self.bias = nn.Parameter(torch.zeros(context, width))

    def normalize(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class PBRelaxLayerNorm(LayerNorm):
    """Layer norm of 8 x / max|x|, the maximum over the tensor and constant to autograd (CogView, 2105.13290).

    A layer norm whose eps is (max|x| / 8)^2 times as large, through which the maximum leaks.
    """

    def forward(self, x: Tensor) -> Tensor:
        x_wide = wide(x)
        largest = x_wide.detach().abs().amax()
        # Zeros, as behind a projection that starts at 0, stay zeros.
        return super().forward(x_wide / torch.where(largest > 0, largest / 8, 1)).to(x.dtype)

"""The hidden layer of the feed-forward sub-layers: units that do nothing, and saturated ones."""

from collections.abc import Mapping

import torch
from torch import Tensor

from normlab.measure.instrument import Looking, Reading, SiteProtocol, wide

#: A unit is dormant below this share of the layer's mean size (Sokar et al. 2023, 2302.12902).
DORMANT = 0.025


def use(act_BTF: Tensor, hidden_BTF: Tensor) -> Tensor:
    """(2F,): for each unit its mean size, and the largest value that its activation gave."""
    sizes = wide(hidden_BTF).abs().mean((0, 1))
    return torch.cat([sizes, wide(act_BTF).amax((0, 1))])


class Hidden(Looking):
    """Shares of the hidden units, over the batch.

    `dead`: the activation gave nothing above 0 for any token. `dormant`: mean size at most 0.025 of the
    layer's mean, which also sees what GELU and SiLU, never exactly 0, put to sleep.
    """

    def __init__(self, sites: Mapping[str, SiteProtocol]) -> None:
        super().__init__("hidden", sites, use)

    def values(self) -> list[Reading]:
        parts = self.parts()
        sizes, largest = parts.chunk(2, dim=-1)
        sizes, largest = sizes.mean(0), largest.amax(0)
        dead = (largest <= 0).to(sizes.dtype).mean(-1)
        dormant = (sizes <= DORMANT * sizes.mean(-1, keepdim=True)).to(sizes.dtype).mean(-1)
        return [Reading("ffn/dead", dead, self.places), Reading("ffn/dormant", dormant, self.places)]


def saturation(act_BTF: Tensor, hidden_BTF: Tensor, *, low: float, high: float) -> Tensor:
    """(1,): share of the activations within 2 % of the range of an end."""
    act, margin = wide(act_BTF), 0.02 * (high - low)
    return ((act < low + margin) | (act > high - margin)).to(act.dtype).mean().view(1)


class Saturation(Looking):
    """`saturated`: share of what a bounded activation (sigmoid, tanh, erf) gives that lies at its ends."""

    def __init__(self, sites: Mapping[str, SiteProtocol], low: float, high: float) -> None:
        def look(act_BTF: Tensor, hidden_BTF: Tensor) -> Tensor:
            return saturation(act_BTF, hidden_BTF, low=low, high=high)

        super().__init__("saturation", sites, look)

    def values(self) -> list[Reading]:
        return [Reading("ffn/saturated", self.parts().mean(0).flatten(), self.places)]

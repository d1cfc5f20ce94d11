"""Covariate shift: how far one step of the optimizer moves the inputs of the layers."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from normlab.measure.instrument import Looking, Reading, SiteProtocol, over


def channels(x_BTD: Tensor) -> Tensor:
    """(2, D): mean and mean square of each channel over the tokens, in float64 where the device has it."""
    x = x_BTD.to(torch.float32 if x_BTD.device.type == "mps" else torch.float64)
    return torch.stack([x.mean((0, 1)), x.square().mean((0, 1))])


class CovariateShift(Looking):
    """What the change of the weights alone does to the distribution of each branch's input: the internal
    covariate shift that Ioffe & Szegedy 2015 (1502.03167) define, of means and variances. (Santurkar et al.
    2018, 1805.11604, measure the change of a layer's gradient instead, and find that batch norm lowers
    neither.)

    m_c and v_c are mean and variance of channel c over the tokens of the step's batch, q the mean over the
    channels of E[x_c^2]; primes are after the optimizer's step, for the same batch and the same dropout.

    `covariate_shift/mean`: sqrt(mean_c (m'_c - m_c)^2 / q). `covariate_shift/variance`:
    sqrt(mean_c (v'_c - v_c)^2) / q.
    """

    def __init__(self, inputs: Mapping[str, SiteProtocol]) -> None:
        super().__init__("covariate_shift", inputs, channels)

    def values(self) -> list[Reading]:
        """Nothing yet: keeps what there is before the step."""
        self._before = self.parts().mean(0)
        return []

    def updated(self, forward: Callable[[], Iterator[None]]) -> list[Reading]:
        self.begin()
        for _ in forward():
            self.keep()
        after = self.parts().mean(0)
        (old, old_square), (new, new_square) = (each.unbind(1) for each in (self._before, after))
        moved = new_square - new.square() - (old_square - old.square())
        size = old_square.mean(-1)
        mean = over((new - old).square().mean(-1), size).sqrt()
        variance = over(moved.square().mean(-1).sqrt(), size)
        return [
            Reading("covariate_shift/mean", mean, self.places),
            Reading("covariate_shift/variance", variance, self.places),
        ]

"""The gains of the norms: how far training has moved them."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from normlab.measure.instrument import Instrument, Reading


class Gains(Instrument):
    """`gain/mean`, `gain/min` and `gain/max` of each place's norms, before the step's update.

    A gain stored as its difference from 1 counts as what it multiplies by.
    """

    def __init__(self, gains: Mapping[str, Sequence[tuple[nn.Parameter, float]]]) -> None:
        self.places, self.gains = list(gains), list(gains.values())

    @torch.no_grad()
    def values(self) -> list[Reading]:
        gains = [torch.cat([(w + centre).flatten() for w, centre in several]) for several in self.gains]
        return [
            Reading("gain/mean", torch.stack([each.mean() for each in gains]), self.places),
            Reading("gain/min", torch.stack([each.amin() for each in gains]), self.places),
            Reading("gain/max", torch.stack([each.amax() for each in gains]), self.places),
        ]

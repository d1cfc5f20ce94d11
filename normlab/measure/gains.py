"""The gains of the norms: how far training has moved them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from normlab.measure.instrument import Instrument


class Gains(Instrument):
    """`gain/mean`, `gain/min` and `gain/max` of each place's norms, before the step's update.

    A gain stored as its difference from 1 counts as what it multiplies by.
    """

    def __init__(self, gains: Mapping[str, Sequence[tuple[nn.Parameter, float]]]) -> None:
        self.gains = list(gains.values())
        self.names = [f"gain/{kind}/{place}" for kind in ("mean", "min", "max") for place in gains]

    @torch.no_grad()
    def values(self) -> Tensor:
        places = [torch.cat([(w + centre).flatten() for w, centre in several]) for several in self.gains]
        kinds = ([p.mean() for p in places], [p.amin() for p in places], [p.amax() for p in places])
        return torch.stack([value for kind in kinds for value in kind])

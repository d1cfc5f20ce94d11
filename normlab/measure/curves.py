"""Norms that are curves without statistics: how much of what passes lies on their flat ends."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from normlab.measure.instrument import Looking, Reading, SiteProtocol, wide

#: Share of the bound from which a curve counts as saturated: for DyT's tanh where |alpha x| > 2.
SATURATED = math.tanh(2)


def flat(curve: Tensor, *, bound: float) -> Tensor:
    """(2,): how many numbers lie beyond the share `SATURATED` of the bound, and how many there are."""
    sizes = wide(curve).abs()
    beyond = (sizes > SATURATED * bound).sum()
    return torch.stack([beyond, torch.full_like(beyond, sizes.numel())]).to(sizes.dtype)


class SaturatedNorms(Looking):
    """`norm/saturated`: share of the numbers in a place's norms that the curve holds close to its bound.

    That is |alpha * x + shift| above 2 for DyT (tanh), above 1.48 for Derf (erf) and above 3.63 for ISRU.
    """

    def __init__(self, curves: Mapping[str, Sequence[SiteProtocol]], bound: float) -> None:
        def look(curve: Tensor) -> Tensor:
            return flat(curve, bound=bound)

        pairs = [(place, site) for place, sites in curves.items() for site in sites]
        super().__init__("curves", {f"{place}/{n}": site for n, (place, site) in enumerate(pairs)}, look)
        self.places, self.counts = list(curves), [len(sites) for sites in curves.values()]

    def values(self) -> list[Reading]:
        places = self.parts().sum(0).split_with_sizes(self.counts)
        beyond, numbers = torch.stack([sites.sum(0) for sites in places]).unbind(-1)
        return [Reading("norm/saturated", beyond / numbers, self.places)]

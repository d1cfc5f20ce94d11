"""Norms with running statistics: how far a batch is from them, and what that costs in evaluation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from normlab.measure.instrument import Looking, Reading, SiteProtocol, over, wide


class RunningNormProtocol(Protocol):
    """A norm whose site shows x (N, C) and its running variance (C,), and mean (C,) if it has one."""

    @property
    def site(self) -> SiteProtocol: ...

    @property
    def statistics(self) -> tuple[str, ...]:
        """What of the batch is set against what is kept, in the order that the site shows it."""

    def train(self, mode: bool = True) -> object: ...


def distances(x_NC: Tensor, square_C: Tensor, *mean_C: Tensor) -> Tensor:
    """(1 + len(mean),): ||s_batch - s|| / ||s|| with s the root of `square`, and ||m_batch - m|| / ||s||.

    Norms run over channels. s_batch is the unbiased deviation, which the running one is an average of;
    without a mean it is the root mean square.
    """
    x_NC, s_C = wide(x_NC), wide(square_C).sqrt()
    own_C = x_NC.std(0) if mean_C else x_NC.square().mean(0).sqrt()
    gaps = [own_C - s_C, *(x_NC.mean(0) - wide(mean) for mean in mean_C)]
    return torch.stack([over(torch.linalg.vector_norm(gap), torch.linalg.vector_norm(s_C)) for gap in gaps])


class RunningGap(Looking):
    """What norms that run on statistics of past batches do to evaluation (Wang et al. 2022, 2210.05153).

    `std_gap`, `mean_gap` of each place: distance of the batch's deviation and mean to the running ones, which
    the batch has just gone into, over the norm of the running deviation; means over micro-batches and the
    place's norms. `loss_eval`: the loss of the step's batch before the update with the running statistics in
    these norms, all else (dropout too) as in training; `loss_gap`, that less the step's loss.
    """

    def __init__(self, norms: Mapping[str, Sequence[RunningNormProtocol]]) -> None:
        self.norms = [(place, norm) for place, several in norms.items() for norm in several]
        sites = {f"{place}/{index}": norm.site for index, (place, norm) in enumerate(self.norms)}
        super().__init__("running", sites, distances)
        self.places, self.counts = list(norms), [len(several) for several in norms.values()]
        self.kinds = self.norms[0][1].statistics

    def rerun(self, loss: Tensor, forward: Callable[[], Tensor]) -> None:
        for _, norm in self.norms:
            norm.train(False)
        evaluated = forward()
        for _, norm in self.norms:
            norm.train()
        self._evaluated, self._gap = evaluated.view(1), (evaluated - loss).view(1)

    def values(self) -> list[Reading]:
        places = self.parts().mean(0).split_with_sizes(self.counts)
        gaps = torch.stack([norms.mean(0) for norms in places], dim=-1)
        return [
            *(
                Reading(f"batchnorm/{kind}_gap", gap, self.places)
                for kind, gap in zip(self.kinds, gaps, strict=True)
            ),
            Reading("batchnorm/loss_eval", self._evaluated),
            Reading("batchnorm/loss_gap", self._gap),
        ]

"""What a step of the optimizer does to the weights, from a copy taken just before it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from normlab.catalogue.optimizers import Least
from normlab.measure.instrument import Reading, over
from normlab.measure.layout import Layout, local


class Updates:
    """For each place (`embedding`, `layer_03` ...), weight decay and constraints included:

    `update/ratio`, ||dW|| / ||W|| with W before the step, exact for any optimizer; `update/cosine`, between
    dW and the downhill direction -g. With an optimizer that has an eps also `update/eps_ratio`, the RMS of
    the gradient over eps, of the places that it steps: where it is near 1 or below, Adam's step shrinks
    (Wortsman et al. 2023, 2309.14322, section 3.4). With SGD also `update/gradient_ratio`,
    lr ||g|| / (1 - momentum) / ||W|| at the full rate: the step that this gradient, lasting, would make.
    All of the gradient that the optimizer meets: after clipping.
    """

    def __init__(self, layout: Layout, least: Sequence[Least]) -> None:
        self.layout, self.parameters, places = layout, layout.parameters, list(layout.places)
        device = self.parameters[0].device
        self._place = torch.tensor([places.index(place) for place, _ in layout.where], device=device)
        self._sizes = torch.tensor(list(layout.sizes.values()), device=device)
        self._least = [each for each in least if each.is_eps or each.step]
        # Squares of large float32 norms overflow float32; mps has nothing wider.
        self._wide = torch.float32 if device.type == "mps" else torch.float64
        self._places = places
        #: Of each of `least`, the places that are held to it, and where they are among all.
        self._held: list[tuple[list[str], Tensor]] = []
        for each in self._least:
            held = [place for place in places if each.held(place)]
            self._held.append((held, torch.tensor([places.index(place) for place in held], device=device)))

    def before(self) -> None:
        """Just before the optimizer's step."""
        self._old = [local(parameter.detach()).clone() for parameter in self.parameters]

    @torch.no_grad()
    def after(self) -> list[Reading]:
        """After the step and what the placement does to the weights, gradients still there."""
        moves = [local(new) - old for new, old in zip(self.parameters, self._old, strict=True)]
        gradients = [local(parameter.grad) for parameter in self.parameters if parameter.grad is not None]
        moved, were, slope = (self._squares(several) for several in (moves, self._old, gradients))
        products = [(move * gradient).sum() for move, gradient in zip(moves, gradients, strict=True)]
        along = self._by_place(torch.stack(products))
        self._old = []
        cosine = over(-along, (moved * slope).sqrt())
        readings = [
            Reading("update/ratio", over(moved, were).sqrt(), self._places),
            Reading("update/cosine", cosine, self._places),
        ]
        for each, (held, at) in zip(self._least, self._held, strict=True):
            rms, share = (slope / self._sizes).sqrt(), over(slope, were).sqrt()
            family = "update/eps_ratio" if each.is_eps else each.family
            values = rms / each.value if each.is_eps else each.step * share
            readings.append(Reading(family, values[at], held))
        return readings

    def _squares(self, tensors: Sequence[Tensor]) -> Tensor:
        """(places,): squares of the norms."""
        return self._by_place(torch.stack(torch._foreach_norm(list(tensors))).to(self._wide).square())

    def _by_place(self, each: Tensor) -> Tensor:
        places = torch.zeros(len(self._sizes), dtype=self._wide, device=each.device)
        return places.index_add_(0, self._place, self.layout.total(each.to(self._wide)))

"""Which parameters belong to which place and site of the model."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def local(x: Tensor) -> Tensor:
    """What this process has of a tensor: its share where several hold it together, else all of it."""
    share: Tensor = x.to_local() if hasattr(x, "to_local") else x
    return share


#: A parameter's name -> (place, kind); see `normlab.model.gpt.site`.
SiteOf = Callable[[str], tuple[str, str]]


class Layout:
    """A model's parameters, each once (a tied one too), in forward order, and where they are."""

    def __init__(self, model: nn.Module, site: SiteOf) -> None:
        named = list(model.named_parameters())
        self.parameters = [parameter for _, parameter in named]
        #: Each parameter's place and kind.
        self.where = [site(name) for name, _ in named]
        #: `embedding`, `layer_03`, `head`: they partition the parameters.
        self.places: dict[str, list[nn.Parameter]] = {}
        #: `layer_03/ffn.in`, and `head`, which has no kinds: so do these.
        self.sites: dict[str, list[nn.Parameter]] = {}
        for (place, kind), parameter in zip(self.where, self.parameters, strict=True):
            self.places.setdefault(place, []).append(parameter)
            self.sites.setdefault(f"{place}/{kind}" if kind else place, []).append(parameter)
        #: Sums over the processes what each has of shared parameters.
        self.total: Callable[[Tensor], Tensor] = lambda own: own
        #: Number of parameters of each place.
        self.sizes = {place: sum(p.numel() for p in several) for place, several in self.places.items()}

    def nonfinite(self) -> str | None:
        """The first site, in the order of the backward pass, whose parameters are not all finite."""
        counts = self._broken([list(several) for several in self.sites.values()])
        return next((name for name, count in reversed(counts.items()) if count), None)

    def nonfinite_gradients(self) -> dict[str, int]:
        """How many numbers of each site's gradients are not finite."""
        return self._broken(
            [[p.grad for p in several if p.grad is not None] for several in self.sites.values()]
        )

    def _broken(self, sites: Sequence[Sequence[Tensor]]) -> dict[str, int]:
        counts = [torch.stack([(~local(x).isfinite()).sum() for x in site]).sum() for site in sites]
        return dict(zip(self.sites, self.total(torch.stack(counts)).tolist(), strict=True))

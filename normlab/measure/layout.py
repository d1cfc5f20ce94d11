"""Which parameters belong to which place and site of the model."""

from collections.abc import Callable

import torch
from torch import nn

#: A parameter's name -> (place, kind); see `normlab.model.site`.
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
        #: Number of parameters of each place.
        self.sizes = {place: sum(p.numel() for p in several) for place, several in self.places.items()}

    def nonfinite(self) -> str | None:
        """The first site, in the order of the backward pass, whose parameters are not all finite."""
        for name in reversed(list(self.sites)):
            if not all(bool(parameter.isfinite().all()) for parameter in self.sites[name]):
                return name
        return None

    def nonfinite_gradients(self) -> dict[str, int]:
        """How many numbers of each site's gradients are not finite."""
        sites = [[p.grad for p in several if p.grad is not None] for several in self.sites.values()]
        counts = [torch.stack([(~gradient.isfinite()).sum() for gradient in site]).sum() for site in sites]
        return dict(zip(self.sites, torch.stack(counts).tolist(), strict=True))

"""Norms of the gradients, per layer and kind of parameter, from one pass over them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

#: A parameter's name -> (place, kind); see `normlab.model.site`.
SiteOf = Callable[[str], tuple[str, str]]


class GradientNorms:
    """Reads `.grad` of a model's parameters, each once, a tied one too.

    `names` are the metrics that `measure` returns, in its order: `grad_norm/global`, then, with `detail`,
    every place (`grad_norm/layer_03`) and every kind in a layer (`grad_norm/layer_03/attn.qkv`).
    """

    def __init__(self, model: nn.Module, site: SiteOf, detail: bool) -> None:
        named = list(model.named_parameters())
        self.parameters = [parameter for _, parameter in named]
        sites = [site(name) for name, _ in named]
        #: Number of parameters of each place.
        self.sizes: dict[str, int] = {}
        for (place, _), parameter in zip(sites, self.parameters, strict=True):
            self.sizes[place] = self.sizes.get(place, 0) + parameter.numel()
        #: Every site in forward order, as `layer_03/ffn.in` or `head`, with its parameters.
        self.sites: dict[str, list[nn.Parameter]] = {}
        for (place, kind), parameter in zip(sites, self.parameters, strict=True):
            self.sites.setdefault(f"{place}/{kind}" if kind else place, []).append(parameter)
        labels = [[place, f"{place}/{kind}"] if kind else [place] for place, kind in sites] if detail else []
        groups = list(dict.fromkeys(label for several in labels for label in several))
        groups.sort(
            key=lambda label: "/" in label
        )  # places first, then kinds; the order is otherwise forward
        self.names = ["grad_norm/global", *(f"grad_norm/{group}" for group in groups)]
        pairs = [(i, groups.index(label)) for i, several in enumerate(labels) for label in several]
        device = self.parameters[0].device
        self._count = len(groups)
        self._from = torch.tensor([i for i, _ in pairs], dtype=torch.long, device=device)
        self._to = torch.tensor([group for _, group in pairs], dtype=torch.long, device=device)
        # Squares of large fp32 norms overflow fp32; mps has nothing wider.
        self._wide = torch.float32 if device.type == "mps" else torch.float64

    def measure(self) -> Tensor:
        """The 2-norms, shape (len(names),), on the parameters' device; the first is over all parameters."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        assert len(gradients) == len(self.parameters), "a parameter took no part in the loss"
        squares = torch.stack(torch._foreach_norm(gradients)).to(self._wide).square()
        total = squares.sum(0, keepdim=True)
        groups = torch.zeros(self._count, dtype=self._wide, device=squares.device)
        groups.index_add_(0, self._to, squares[self._from])
        return torch.cat([total, groups]).sqrt()

    def nonfinite_parameter(self) -> str | None:
        """The first site, in the order of the backward pass, whose parameters are not all finite."""
        for name in reversed(list(self.sites)):
            if not all(bool(parameter.isfinite().all()) for parameter in self.sites[name]):
                return name
        return None

"""Norms of the gradients, per layer and kind of parameter, from one pass over them."""

import re

import torch

from normlab.measure.instrument import Reading, over
from normlab.measure.layout import Layout, local


class GradientNorms:
    """2-norms of the gradients before clipping.

    `grad_norm/global`, over all parameters; in detail also every place (`grad_norm/layer_03`) and every kind
    in a layer (`grad_norm/layer_03/attn.qkv`), the root mean square over each place's parameters
    (`grad_rms/layer_03`) and the first layer's norm over the last one's (`grad_norm/first_to_last`).
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        labels = [[place, f"{place}/{kind}"] if kind else [place] for place, kind in layout.where]
        kinds = [label for several in labels for label in several if label not in layout.places]
        groups = [*layout.places, *dict.fromkeys(kinds)]
        layers = [index for index, group in enumerate(groups) if re.fullmatch(r"layer_\d+", group)]
        self._first, self._last = layers[0], layers[-1]
        self._groups, self._places = groups, list(layout.places)
        pairs = [(i, groups.index(label)) for i, several in enumerate(labels) for label in several]
        device = layout.parameters[0].device
        self._from, self._to = torch.tensor(pairs, dtype=torch.long, device=device).unbind(1)
        # Squares of large fp32 norms overflow fp32; mps has nothing wider.
        self._wide = torch.float32 if device.type == "mps" else torch.float64
        self._roots = torch.tensor(list(layout.sizes.values()), dtype=self._wide, device=device).sqrt()

    def measure(self, detail: bool) -> list[Reading]:
        """The global norm first; without `detail` it alone."""
        parameters = self.layout.parameters
        gradients = [local(parameter.grad) for parameter in parameters if parameter.grad is not None]
        assert len(gradients) == len(parameters), "a parameter took no part in the loss"
        squares = self.layout.total(torch.stack(torch._foreach_norm(gradients)).to(self._wide).square())
        total = squares.sum(0, keepdim=True).sqrt()
        whole = Reading("grad_norm/global", total)
        if not detail:
            return [whole]
        groups = torch.zeros(len(self._groups), dtype=self._wide, device=squares.device)
        norms = groups.index_add_(0, self._to, squares[self._from]).sqrt()
        ratio = over(norms[self._first], norms[self._last]).view(1)
        return [
            whole,
            Reading("grad_norm", norms, self._groups),
            Reading("grad_rms", norms[: len(self._roots)] / self._roots, self._places),
            Reading("grad_norm/first_to_last", ratio),
        ]

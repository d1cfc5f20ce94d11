"""Effective depth: what each block is worth to the loss, found by leaving it out and by swapping it."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

#: The residual stream (B, T, D), and the second one or None.
Streams = tuple[Tensor, Tensor | None]
#: A block, or what stands in for it: the streams before it -> the streams after it.
Layer = Callable[..., Streams]


def variants(
    streams: Streams, layers: Sequence[Layer], without: Sequence[Layer]
) -> Iterator[tuple[str, Streams]]:
    """What a stack of blocks gives, by name: "" as it is; `skip/layer_03` with `without[3]` in its place;
    `swap/layer_03` with blocks 3 and 4 in each other's place. What lies below a change is computed once.
    """
    before = [streams]
    for layer in layers:
        before.append(layer(*before[-1]))
    yield "", before[-1]
    for index, absent in enumerate(without):
        yield f"skip/layer_{index:02d}", _through([absent, *layers[index + 1 :]], before[index])
    for index in range(len(layers) - 1):
        swapped = [layers[index + 1], layers[index], *layers[index + 2 :]]
        yield f"swap/layer_{index:02d}", _through(swapped, before[index])


def _through(layers: Sequence[Layer], streams: Streams) -> Streams:
    for layer in layers:
        streams = layer(*streams)
    return streams


def changes(losses: Mapping[str, float]) -> dict[str, float]:
    """From the losses of `variants`, in nats: `ablation/skip/layer_03` and `ablation/swap/layer_03`, the loss
    less that of the whole model; `ablation/centre`, where in the depth the worth lies:

        sum of max(skip_l, 0) * (l - 1/2) / L  over  sum of max(skip_l, 0),   l = 1 ... L

    0.5 where both halves matter alike, below it where the lower blocks matter more, NaN where none does.

    Leaving out: Gromov et al. 2024 (2403.17887), Sun et al. 2025 (2502.05795), Csordas et al. 2025
    (2505.13898); swapping: Lad et al. 2024 (2406.19384). The centre is our own.
    """
    whole = losses[""]
    rises = {name: loss - whole for name, loss in losses.items() if name}
    skips = [rise for name, rise in rises.items() if name.startswith("skip/")]
    worth = torch.tensor(skips, dtype=torch.float64).clamp(min=0)
    depth = (torch.arange(len(worth), dtype=torch.float64) + 0.5) / len(worth)
    centre = (worth * depth).sum() / worth.sum()
    return {f"ablation/{name}": rise for name, rise in rises.items()} | {"ablation/centre": centre.item()}

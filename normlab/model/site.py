"""Sites: the named places in the model where instruments may look. Part of the model, not hooks on it, so
that they work in a compiled model, under autocast and when a block is run again for its backward pass."""

from collections.abc import Callable

from torch import Tensor, nn

#: Tensors that pass a site -> 1-D tensor of what is kept of them.
Look = Callable[..., Tensor]


class Site(nn.Module):
    """Shows the tensors that pass to whoever looks; without a look, nothing happens.

    What each look returns of the latest pass is in `seen`, under the look's name. A pass that is run again
    (activation checkpointing) replaces it by the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.looks: dict[str, Look] = {}
        self.seen: dict[str, Tensor] = {}

    def forward(self, *tensors: Tensor) -> None:
        if self.looks:
            shown = [tensor.detach() for tensor in tensors]
            self.seen = {name: look(*shown) for name, look in self.looks.items()}


class StreamSite(Site):
    """A site on the residual stream, which passes on x and can also have its gradient taken.

    While `probe` is zeros of x's shape that require a gradient, x goes on as x + 0, the same to the bit, and
    the backward pass leaves dL/dx in `probe.grad`. A `fault` is added to x too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.probe: Tensor | None = None
        self.fault: Tensor | None = None

    def forward(self, x_BTD: Tensor, *others: Tensor) -> Tensor:  # type: ignore[override]
        x_BTD = x_BTD if self.fault is None else x_BTD + self.fault
        super().forward(x_BTD, *others)
        return x_BTD if self.probe is None else x_BTD + self.probe

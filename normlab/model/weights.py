"""What holds the weight matrices in bounds: nothing, a factor by their spectral norm, or unit length.

A kind has three parts: `build` exchanges modules before the initial weights are drawn, `settle` runs after
they are, and `constrain` after each step of the optimizer.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SigmaLinear(nn.Linear):
    """x -> x (gamma / sigma(W) * W)^T + bias, sigma the largest singular value (2303.06296).

    sigma = u^T W v, where u and v follow W by one power iteration a training step.
    """

    u: Tensor
    v: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None)
        self.weight, self.bias = linear.weight, linear.bias
        self.gamma = nn.Parameter(torch.ones(()))
        self.register_buffer("u", torch.zeros(linear.out_features))
        self.register_buffer("v", torch.zeros(linear.in_features))

    @torch.no_grad()
    def settle(self) -> None:
        """Set u and v to the singular vectors of W."""
        left, _, right = torch.linalg.svd(self.weight.double(), full_matrices=False)
        self.u.copy_(left[:, 0])
        self.v.copy_(right[0])

    @torch.no_grad()
    def _iterate(self) -> None:
        with torch.autocast(self.weight.device.type, enabled=False):
            self.v.copy_(F.normalize(self.weight.T @ self.u, dim=0))
            self.u.copy_(F.normalize(self.weight @ self.v, dim=0))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self._iterate()
        # A new tensor: a later iteration must not change what this backward pass needs. No matrix product:
        # autocast would take that to bf16.
        sigma = (torch.outer(self.u, self.v) * self.weight).sum()
        return F.linear(x, self.gamma / sigma * self.weight, self.bias)


def _reparametrize(layers: nn.Module) -> None:
    """Every linear layer of a model or of its blocks; the embedding is none (apple/ml-sigma-reparam)."""
    for parent in list(layers.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, SigmaLinear(child))


def _settle(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, SigmaLinear):
            module.settle()


@torch.no_grad()
def _unit_length(model: nn.Module) -> None:
    """Every vector along the width of the stream gets length 1 (nGPT, 2410.01131)."""
    for name, parameter in model.named_parameters():
        if name.endswith("weight") and parameter.dim() == 2:
            along_rows = not name.endswith(("branch.out.weight", "branch.w_out.weight"))
            parameter.copy_(F.normalize(parameter, dim=1 if along_rows else 0))


def _nothing(module: nn.Module) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Weights:
    """One way to treat the matrices."""

    build: Callable[[nn.Module], None] = _nothing
    settle: Callable[[nn.Module], None] = _nothing
    constrain: Callable[[nn.Module], None] = _nothing


#: By the word of `placement.weights`.
WEIGHTS: dict[str, Weights] = {
    "free": Weights(),
    "sigma_reparam": Weights(build=_reparametrize, settle=_settle),
    "unit": Weights(settle=_unit_length, constrain=_unit_length),
}

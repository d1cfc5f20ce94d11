"""Optimizers by the rows of `normlab.catalogue.optimizers`.

`fused` takes one kernel for all parameters: on the CPU a tenth of a small model's step. Each group has an
`lr_scale`, by which the loop multiplies the rate that it sets.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from normlab.catalogue.optimizers import OPTIMIZERS, AdamConfig, LionConfig, MuonConfig, SGDConfig
from normlab.config import OptimizerConfig
from normlab.config.row import implementation

#: Parameters by name.
Named = dict[str, nn.Parameter]
#: The rows of each matrix in a parameter that holds several, by its name; see `normlab.model.gpt.fused`.
Fused = Mapping[str, Sequence[int]]
#: The kinds of parameters (`kind_of`) that do not decay, by `optimizer.decay`.
SPARED: dict[str, tuple[str, ...]] = {
    "all": (),
    "matrices": ("norm", "bias", "scale"),
    "no_norms": ("norm",),
    "no_embeddings": ("embedding",),
}


def build_optimizer(
    named: Iterable[tuple[str, nn.Parameter]], config: OptimizerConfig, fused: Fused | None = None
) -> torch.optim.Optimizer:
    """The optimizer of `config` for a model's `named_parameters()`; the loop sets its rate each step.

    Args:
        fused: the matrices that are several in one, for an optimizer that takes each by itself.
    """
    if isinstance(config, MuonConfig):
        return muon(dict(named), config, fused or {})
    function: Callable[[Named, Any], torch.optim.Optimizer] = implementation(
        __name__, OPTIMIZERS[config.name].function
    )
    return function(dict(named), config)


def kind_of(name: str, parameter: nn.Parameter) -> str:
    """`norm` (all it has), `bias`, `scale` (other vectors and numbers), `embedding`, `head` or `matrix`."""
    place, *_, last = name.split(".")
    if "norm" in name:
        return "norm"
    if last == "bias":
        return "bias"
    if parameter.ndim < 2:
        return "scale"
    return place if place in ("embedding", "head") else "matrix"


def groups(named: Named, config: OptimizerConfig, lr_scale: float = 1.0) -> list[dict[str, Any]]:
    """The parameters that decay and, where some do not, those that do not, each in the model's order."""
    spared = SPARED[config.decay] if config.weight_decay else ()
    decaying = [p for name, p in named.items() if kind_of(name, p) not in spared]
    others = [p for name, p in named.items() if kind_of(name, p) in spared]
    return [
        {"params": parameters, "weight_decay": decay, "lr_scale": lr_scale}
        for parameters, decay in ((decaying, config.weight_decay), (others, 0.0))
        if parameters
    ]


def adamw(named: Named, config: AdamConfig, lr_scale: float = 1.0) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        groups(named, config, lr_scale), lr=config.lr, betas=_pair(config), eps=config.eps, fused=True
    )


def adam(named: Named, config: AdamConfig) -> torch.optim.Optimizer:
    return torch.optim.Adam(
        groups(named, config), lr=config.lr, betas=_pair(config), eps=config.eps, fused=True
    )


def sgd(named: Named, config: SGDConfig) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        groups(named, config),
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        # torch has no such kernel for parts of parameters.
        fused=not any(isinstance(parameter, DTensor) for parameter in named.values()),
    )


def lion(named: Named, config: LionConfig) -> torch.optim.Optimizer:
    return Lion(groups(named, config), config.lr, _pair(config))


def muon(named: Named, config: MuonConfig, fused: Fused) -> torch.optim.Optimizer:
    """Muon for the matrices of the blocks, AdamW for embeddings, head and vectors."""
    matrices = {name: p for name, p in named.items() if kind_of(name, p) == "matrix"}
    rest = {name: p for name, p in named.items() if name not in matrices}
    return Together(
        Muon(
            groups(matrices, config),
            {named[name]: list(rows) for name, rows in fused.items() if name in matrices},
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            ns_steps=config.iterations,
            adjust_lr_fn=config.adjust,
        ),
        adamw(rest, config, lr_scale=config.adamw_scale),
    )


def _pair(config: AdamConfig | LionConfig) -> tuple[float, float]:
    return config.betas[0], config.betas[1]


class Muon(torch.optim.Muon):
    """torch's Muon, which takes each matrix of a fused parameter by itself, as its author advises.

    U V^T of q, k and v stacked is that of none of them: the largest of the three sets the step of all, and
    the shape that scales the step is three times as high (Jordan et al. 2024,
    kellerjordan.github.io/posts/muon). The momentum is kept whole, as the parameter is.
    """

    def __init__(
        self, params: Iterable[Any], fused: Mapping[nn.Parameter, Sequence[int]], **settings: Any
    ) -> None:
        super().__init__(params, **settings)
        self._fused = fused

    def _init_group(
        self,
        group: Any,
        params_with_grad: list[Tensor],
        grads: list[Tensor],
        muon_momentum_bufs: list[Tensor],
    ) -> Any:
        """What torch's `step` goes through: rows of a fused parameter in its place, as views of it."""
        whole: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
        complex_numbers = super()._init_group(group, *whole)
        for parameter, gradient, momentum in zip(*whole, strict=True):
            rows = self._fused.get(parameter, [len(parameter)])  # type: ignore[call-overload]
            params_with_grad += torch.split(parameter, rows)
            grads += torch.split(gradient, rows)
            muon_momentum_bufs += torch.split(momentum, rows)
        return complex_numbers


class Lion(torch.optim.Optimizer):
    """w -= lr * (sign(b1 m + (1 - b1) g) + decay * w), then m = b2 m + (1 - b2) g (2302.06675)."""

    def __init__(self, params: Iterable[Any], lr: float, betas: tuple[float, float]) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            if moved:
                self._update(moved, [p.grad for p in moved], group)

    def _update(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        momenta = [self.state[parameter]["momentum"] for parameter in parameters]
        rate, (look, keep) = group["lr"], group["betas"]
        steps = torch._foreach_lerp(momenta, gradients, 1 - look)
        torch._foreach_sign_(steps)
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - rate * group["weight_decay"])
        torch._foreach_add_(parameters, steps, alpha=-rate)
        torch._foreach_lerp_(momenta, gradients, 1 - keep)


class Together(torch.optim.Optimizer):
    """Optimizers that step as one. Its groups are theirs: a rate set in one is set in the other."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every part."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        # A part that loads has new groups.
        self.param_groups = [group for part in self.parts for group in part.param_groups]

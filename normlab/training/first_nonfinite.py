"""What was not finite first: a step is run again with every module of the model under watch."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from normlab.measure.layout import Layout, local
from normlab.model.gpt import site
from normlab.model.site import Site

#: Ends of the paths of modules that have a name of their own among the gradient norms.
NAMED = ("norm_in", "norm_out", "norm_post", "w_in", "w_gate", "w_out", "qkv", "branch.out")


@dataclass
class Witness:
    """Notes the first module that gave what is not finite, in the order of the forward or backward pass."""

    found: dict[str, Any] = field(default_factory=dict)

    def forward(self, name: str, inputs: tuple[Any, ...], output: Any) -> None:
        given = [value for value in inputs if isinstance(value, Tensor) and value.is_floating_point()]
        results = output if isinstance(output, tuple) else (output,)
        results = tuple(value for value in results if isinstance(value, Tensor))
        if not all(map(finite, given)):
            # No module gave it: what computes between the modules of its parent did.
            self._note("forward", name.rpartition(".")[0], given)
        elif not all(map(finite, results)):
            self._note("forward", name, given)
        for value in results:
            if value.requires_grad:
                value.register_hook(lambda gradient: self.backward(name, gradient))

    def backward(self, name: str, gradient: Tensor) -> None:
        if not finite(gradient):
            self._note("backward", name, [gradient])

    def _note(self, direction: str, name: str, values: list[Tensor]) -> None:
        if not self.found:
            parts = [value[value.isfinite()].float() for value in map(Tensor.detach, values)]
            numbers = torch.cat([part.flatten() for part in parts]) if parts else torch.empty(0)
            extremes = numbers.aminmax() if len(numbers) else None
            self.found = {"nonfinite/pass": direction, "nonfinite/site": called(name)}
            if extremes is not None:
                low, high = extremes.min.item(), extremes.max.item()
                self.found |= {"nonfinite/input_min": low, "nonfinite/input_max": high}


def finite(value: Tensor) -> bool:
    # Detached: what is saved for a backward pass must be the same in a pass that is run again.
    return bool(value.detach().isfinite().all())


def called(module: str) -> str:
    """`layers.5.ffn.branch.w_in` -> `layer_05/ffn.in`; what has no such name keeps its path in the layer."""
    match = re.match(r"layers\.(\d+)\.?(.*)$", module)
    if not match:
        return module.split(".")[0] or "loss"
    place, rest = f"layer_{int(match[1]):02d}", match[2]
    kind = site(f"{module}.weight")[1] if rest.startswith(("attn.", "ffn.")) else ""
    return f"{place}/{kind if rest.endswith(NAMED) else rest}".removesuffix("/").removesuffix("/site")


def find_first_nonfinite(model: nn.Module, layout: Layout, rerun: Callable[[], object]) -> dict[str, Any]:
    """Where `rerun`, the same step with the same random numbers, first meets what is not finite.

    Returns the row's keys `nonfinite/pass` (forward or backward), `nonfinite/site` and, of what went into
    that module (backward: of the gradient that came out), `nonfinite/input_min` and `_max` over what is
    finite; empty if all is finite this time. The gradients stay those of `rerun`.
    """
    witness, hooks = Witness(), []
    with torch.compiler.set_stance("force_eager"):
        for name, module in model.named_modules():
            if all(isinstance(child, Site) for child in module.children()):

                def look(module: nn.Module, inputs: Any, output: Any, name: str = name) -> None:
                    witness.forward(name, inputs, output)

                hooks.append(module.register_forward_hook(look))
        try:
            rerun()
        finally:
            for hook in hooks:
                hook.remove()
        if not witness.found:
            _ask_parameters(witness, layout)
    return witness.found


def _ask_parameters(witness: Witness, layout: Layout) -> None:
    for name in reversed(list(layout.sites)):
        for parameter in layout.sites[name]:
            if parameter.grad is not None and not finite(local(parameter.grad)):
                witness.found = {"nonfinite/pass": "backward", "nonfinite/site": name}
                return

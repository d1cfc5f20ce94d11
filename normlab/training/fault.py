"""Faults put into a run on purpose, to see what the instruments and detectors make of them."""

import torch
from torch import Tensor

from normlab.config import FaultConfig
from normlab.model.gpt import GPT, Block


class Fault:
    """No fault; each kind below changes one thing at `config.step`, or from there on."""

    def __init__(self, config: FaultConfig, model: GPT) -> None:
        self.config, self.model = config, model

    def now(self, step: int) -> bool:
        return step == self.config.step

    @property
    def block(self) -> Block:
        block = self.model.layers[self.config.layer]
        assert isinstance(block, Block)
        return block

    def rate(self, step: int, rate: float) -> float:
        """The learning rate of the step."""
        return rate

    def forward(self, step: int) -> None:
        """Before the forward pass."""

    def gradients(self, step: int) -> None:
        """When all gradients are there."""

    def updated(self, step: int) -> None:
        """After the optimizer's step."""

    def over(self) -> None:
        """At the end of the step, updated or not."""


class NanActivation(Fault):
    """A NaN in what a block gives of each sequence, at one step."""

    def forward(self, step: int) -> None:
        if self.now(step):
            context, width = self.model.context, self.model.embedding.tokens.weight.shape[1]
            fault_TD = self.model.embedding.tokens.weight.new_zeros(context, width)
            fault_TD[context // 2, width // 2] = torch.nan
            self.block.site.fault = fault_TD

    def over(self) -> None:
        self.block.site.fault = None


class NanGradient(Fault):
    """One NaN in the gradient of a block's first feed-forward matrix, at one step."""

    def gradients(self, step: int) -> None:
        if self.now(step):
            self._matrix().view(-1)[0] = torch.nan

    def _matrix(self) -> Tensor:
        gradient = next(
            parameter.grad for name, parameter in self.block.ffn.named_parameters() if "w_in" in name
        )
        assert gradient is not None
        return gradient


class GradientScale(Fault):
    """A block's gradients times `factor`, at one step."""

    def gradients(self, step: int) -> None:
        if self.now(step):
            for parameter in self.block.parameters():
                assert parameter.grad is not None
                parameter.grad.mul_(self.config.factor)


class RateJump(Fault):
    """The learning rate times `factor`, at one step."""

    def rate(self, step: int, rate: float) -> float:
        return rate * self.config.factor if self.now(step) else rate


class FrozenEmbedding(Fault):
    """The embedding (tokens, learned positions, its norm) keeps the values that it has at the step."""

    kept: tuple[Tensor, ...] = ()

    def now(self, step: int) -> bool:
        return step >= self.config.step

    def forward(self, step: int) -> None:
        if self.now(step):
            self.kept = tuple(parameter.detach().clone() for parameter in self.model.embedding.parameters())

    @torch.no_grad()
    def updated(self, step: int) -> None:
        if self.kept:
            for parameter, kept in zip(self.model.embedding.parameters(), self.kept, strict=True):
                parameter.copy_(kept)


#: By `fault.kind`.
FAULTS: dict[str, type[Fault]] = {
    "none": Fault,
    "nan_activation": NanActivation,
    "nan_gradient": NanGradient,
    "gradient_scale": GradientScale,
    "lr_jump": RateJump,
    "frozen_embedding": FrozenEmbedding,
}

"""What a model shows before training, each quantity a pure function of one forward and backward pass.

B batch, T time, D width, V vocabulary, L depth; x_0 is the embedding and x_s the residual stream after
sub-layer s = 1 ... 2L. The sub-layer weights are the matrices of attention and feed-forward layers, q, k and
v one by one.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normlab.measure.growth import exponent
from normlab.model.gpt import GPT
from normlab.model.init import normal_
from normlab.probe.settings import ProbeConfig


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Token ids (B, T) and what each position is to predict (B, T)."""

    ids_BT: Tensor  # noqa: N815
    targets_BT: Tensor  # noqa: N815


def random_batch(vocab: int, batch_size: int, context: int, seed: int) -> Batch:
    """Tokens and targets drawn evenly and independently, by the seed alone: the same for every model."""
    digest = hashlib.sha256(f"{seed}/probe.tokens".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    ids_BT, targets_BT = torch.randint(vocab, (2, batch_size, context), generator=generator)
    return Batch(ids_BT=ids_BT, targets_BT=targets_BT)


@dataclass(frozen=True, kw_only=True)
class ProbedMatrix:
    """A sub-layer's weight, with its gradient of the loss; `parts` are views of its q, k and v, or itself."""

    name: str
    weight: nn.Parameter
    gradient: Tensor
    parts: tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class UntrainedModel:
    """A model before its first step, and what one forward and backward pass over a batch gives."""

    model: GPT
    batch: Batch
    settings: ProbeConfig
    seed: int
    bf16: bool = False
    logits_BTV: Tensor = field(repr=False)  # noqa: N815
    loss: float
    #: x_0, then x_s after each sub-layer, (B, T, D) each, with the gradient of the loss at each.
    streams: list[Tensor] = field(repr=False)
    stream_gradients: list[Tensor] = field(repr=False)
    matrices: list[ProbedMatrix] = field(repr=False)
    #: What the passes may move: running statistics, power iterations.
    buffers: list[tuple[Tensor, Tensor]] = field(repr=False)

    @property
    def depth(self) -> int:
        return len(self.model.layers)

    def ffn_out(self, layer: int) -> ProbedMatrix:
        """The second feed-forward matrix of block `layer` (from 0; -1 is the last)."""
        return [matrix for matrix in self.matrices if matrix.name.endswith("ffn.branch.w_out.weight")][layer]


def start(
    model: GPT, batch: Batch, settings: ProbeConfig, seed: int, *, bf16: bool = False
) -> UntrainedModel:
    """Run `model`, in training mode, forward and backward over `batch`; `bf16` under autocast."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    streams: list[Tensor] = []
    hooks = [model.embedding.register_forward_hook(lambda module, inputs, out: streams.append(out))]
    for block in model.layers:
        for sublayer in (block.get_submodule("attn"), block.get_submodule("ffn")):
            hooks.append(sublayer.register_forward_hook(lambda module, inputs, out: streams.append(out[0])))
    try:
        logits_BTV = _logits(model, batch, seed, bf16)
    finally:
        for hook in hooks:
            hook.remove()
    loss = F.cross_entropy(logits_BTV.flatten(0, 1), batch.targets_BT.flatten())
    named = list(_named_matrices(model))
    wanted = [*(weight for _, weight, _ in named), *streams]
    # What is cut off from the loss has no gradient; that is a gradient of zero.
    found = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
    return UntrainedModel(
        model=model,
        batch=batch,
        settings=settings,
        seed=seed,
        bf16=bf16,
        logits_BTV=logits_BTV.detach(),
        loss=loss.item(),
        streams=[stream.detach() for stream in streams],
        stream_gradients=list(found[len(named) :]),
        matrices=[
            ProbedMatrix(name=name, weight=weight, gradient=gradient, parts=parts)
            for (name, weight, parts), gradient in zip(named, found, strict=False)
        ],
        buffers=buffers,
    )


def _logits(model: GPT, batch: Batch, seed: int, bf16: bool) -> Tensor:
    torch.manual_seed(seed)  # the same dropout in every pass
    with torch.autocast(batch.ids_BT.device.type, torch.bfloat16, enabled=bf16):
        logits_BTV: Tensor = model(batch.ids_BT)
    return logits_BTV.float() if bf16 else logits_BTV


def _named_matrices(model: GPT) -> Iterator[tuple[str, nn.Parameter, tuple[Tensor, ...]]]:
    for name, weight in model.named_parameters():
        if not name.startswith("layers.") or weight.dim() != 2:
            continue
        parts: tuple[Tensor, ...] = (weight,)
        if name.endswith("branch.qkv.weight"):
            attention: Any = model.get_submodule(name.removesuffix(".qkv.weight"))
            with torch.no_grad():  # else autograd refuses to have several views changed in place
                parts = torch.split(weight, attention.widths)
        yield name, weight, parts


@torch.no_grad()
def output_change(at: UntrainedModel, change: Callable[[ProbedMatrix], None]) -> Tensor:
    """The logits' change (B, T, V) when `change` is made to every sub-layer matrix; all is put back."""
    before = [matrix.weight.clone() for matrix in at.matrices]
    try:
        for buffer, value in at.buffers:
            buffer.copy_(value)
        for matrix in at.matrices:
            change(matrix)
        return _logits(at.model, at.batch, at.seed, at.bf16) - at.logits_BTV
    finally:
        for matrix, weight in zip(at.matrices, before, strict=True):
            matrix.weight.copy_(weight)


def grad_last_ffn(at: UntrainedModel) -> float:
    return float(at.ffn_out(-1).gradient.norm())


def grad_first_ffn(at: UntrainedModel) -> float:
    return float(at.ffn_out(0).gradient.norm())


def stream_variance(at: UntrainedModel) -> float:
    return stream_variance_by_block(at)[-1]


def stream_variance_by_block(at: UntrainedModel) -> list[float]:
    return [stream.var(correction=0).item() for stream in at.streams[2::2]]


def grad_stream_by_block(at: UntrainedModel) -> list[float]:
    return [gradient.norm().item() for gradient in at.stream_gradients[2::2]]


def grad_stream_first_to_last(at: UntrainedModel) -> float:
    first, last = (at.stream_gradients[place].norm() for place in (1, -1))
    return float(first / last)


def noise_amplification(at: UntrainedModel) -> float:
    def add_noise(matrix: ProbedMatrix) -> None:
        for number, part in enumerate(matrix.parts):
            noise = torch.empty(part.shape, dtype=part.dtype)
            std = at.settings.noise * part.std(correction=0).item()
            normal_(noise, std, at.seed, f"probe.noise/{matrix.name}/{number}")
            part.add_(noise.to(part.device))

    return output_change(at, add_noise).square().mean().item()


def update_sgd(at: UntrainedModel) -> float:
    def step(matrix: ProbedMatrix) -> None:
        matrix.weight.sub_(at.settings.sgd_lr * matrix.gradient)

    return _rms(output_change(at, step)).item()


def update_sign(at: UntrainedModel) -> float:
    def step(matrix: ProbedMatrix) -> None:
        matrix.weight.sub_(at.settings.sign_lr * matrix.gradient.sign())

    return _rms(output_change(at, step)).item()


def growth_exponent(at: UntrainedModel) -> float:
    return exponent(_rms(at.streams[0]), _rms(at.streams[-1]), at.depth).item()


def loss_excess(at: UntrainedModel) -> float:
    return at.loss - math.log(at.logits_BTV.shape[-1])


def _rms(x: Tensor) -> Tensor:
    return x.square().mean().sqrt()


@dataclass(frozen=True, kw_only=True)
class ProbeQuantity:
    """One number a model; `formula` says what it is, and `short` heads it where there is little room."""

    of: Callable[[UntrainedModel], float]
    short: str
    formula: str
    #: The profile that it is the last value of: its slope is then against the block.
    by_block: str = ""


#: By name, in the order in which they are shown.
QUANTITIES: dict[str, ProbeQuantity] = {
    "grad_last_ffn": ProbeQuantity(
        of=grad_last_ffn,
        short="gradient, last FFN",
        formula="norm of dL/dW_out, last block's feed-forward layer",
    ),
    "grad_first_ffn": ProbeQuantity(
        of=grad_first_ffn,
        short="gradient, first FFN",
        formula="norm of dL/dW_out, first block's feed-forward layer",
    ),
    "stream_variance": ProbeQuantity(
        of=stream_variance,
        short="stream variance",
        formula="variance of x_2L, the residual stream after the last block",
        by_block="stream_variance_by_block",
    ),
    "grad_stream_first_to_last": ProbeQuantity(
        of=grad_stream_first_to_last,
        short="stream gradient, first / last",
        formula="norm of dL/dx_1 over norm of dL/dx_2L: after the first sub-layer and after the last",
    ),
    "noise_amplification": ProbeQuantity(
        of=noise_amplification,
        short="weight noise: change^2",
        formula="mean squared change of the logits, noise of 1 % of each sub-layer matrix's std (noise=)",
    ),
    "update_sgd": ProbeQuantity(
        of=update_sgd, short="one SGD step: change", formula="rms change of the logits, W -= sgd_lr * dL/dW"
    ),
    "update_sign": ProbeQuantity(
        of=update_sign,
        short="one sign step: change",
        formula="rms change of the logits, W -= sign_lr * sign(dL/dW)",
    ),
    "growth_exponent": ProbeQuantity(
        of=growth_exponent,
        short="growth exponent",
        formula="ln(rms(x_2L) / rms(x_0)) / L (OLMo 2, 2501.00656)",
    ),
    "loss_excess": ProbeQuantity(
        of=loss_excess, short="loss - ln V", formula="loss in nats a token, less ln V"
    ),
}

#: Series after each block, beside the quantities.
PROFILES: Mapping[str, Callable[[UntrainedModel], list[float]]] = {
    "stream_variance_by_block": stream_variance_by_block,
    "grad_stream_by_block": grad_stream_by_block,
}


def measure(at: UntrainedModel) -> dict[str, Any]:
    """Every quantity and profile by name."""
    return {name: quantity.of(at) for name, quantity in QUANTITIES.items()} | {
        name: profile(at) for name, profile in PROFILES.items()
    }

"""The residual stream: its size and shape after each sub-layer, and the gradient with respect to it."""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from normlab.measure.instrument import (
    Instrument,
    Look,
    Looking,
    Reading,
    SiteProtocol,
    StreamSiteProtocol,
    over,
    wide,
)


def moments(skip_BTD: Tensor, branch_BTD: Tensor, z_BTD: Tensor) -> Tensor:
    """(8,): of z sum, sum of squares and of fourth powers, largest size, non-finite values and their number;
    sums of squares of skip and branch."""
    z = wide(z_BTD)
    # x - x is 0 where x is finite, else NaN: less work than isfinite, as squares are than fourth powers.
    broken = (z - z).count_nonzero()
    size = torch.full_like(broken, z.numel())
    square = z.square()
    powers = [square.sum(), square.square().sum()]
    squares = [torch.linalg.vector_norm(wide(x)).square() for x in (skip_BTD, branch_BTD)]
    return torch.stack([z.sum(), *powers, z.abs().amax(), broken.to(z.dtype), size.to(z.dtype), *squares])


class Stream(Looking):
    """The stream after each sub-layer, over all tokens and channels of the batch.

    `rms`; `variance` about the mean of all; `max`, the largest size; `kurtosis` E[x^4] / E[x^2]^2, 3 for a
    Gaussian and large where few channels hold it all; `branch_ratio` = rms(branch) / rms(skip), both as they
    are added, before a post norm (Takase et al. 2023, 2312.16903); `nonfinite`, how many values.
    """

    def __init__(
        self, residual: Mapping[str, SiteProtocol], stream: str = "stream", look: Look = moments
    ) -> None:
        super().__init__(stream, residual, look)
        self.after = [place.removesuffix("/ffn") for place in residual]

    def values(self) -> list[Reading]:
        parts = self.parts()
        total, square, fourth, _, broken, size, skip, branch = parts.sum(0).unbind(-1)
        largest = parts[..., 3].amax(0)
        mean = square / size
        variance = mean - (total / size).square()
        kurtosis = over(fourth / size, mean.square())
        return [
            Reading(f"{self.family}/rms", mean.sqrt(), self.after),
            Reading(f"{self.family}/variance", variance, self.after),
            Reading(f"{self.family}/max", largest, self.after),
            Reading(f"{self.family}/kurtosis", kurtosis, self.after),
            Reading(f"{self.family}/branch_ratio", over(branch, skip).sqrt(), self.places),
            Reading(f"nonfinite/{self.family}", broken, self.after),
        ]


class SecondStream(Stream):
    """The same of the second stream y of `residual_dual` and its kin, to which the outputs of the branches
    are added without a norm: `second_stream/rms` and so on. Its sites show (y', y, rho * f)."""

    def __init__(self, second: Mapping[str, SiteProtocol]) -> None:
        def look(z_BTD: Tensor, skip_BTD: Tensor, branch_BTD: Tensor) -> Tensor:
            return moments(skip_BTD, branch_BTD, z_BTD)

        super().__init__(second, "second_stream", look)


def likeness(z_BTD: Tensor, x_BTD: Tensor) -> Tensor:
    """(4,): sums over tokens of cos(z, x) and its arccos, their number; most massive activations a sequence.

    Massive: above 100 and above 1000 times the median size of the sequence (Sun et al. 2024, 2402.17762).
    """
    z, x = wide(z_BTD), wide(x_BTD)
    cosine = F.cosine_similarity(z, x, dim=-1)
    sizes = z.flatten(1).abs()
    bounds = (1000 * sizes.median(-1, keepdim=True).values).clamp(min=100)
    massive = (sizes > bounds).sum(-1).amax()
    angle = cosine.clamp(-1, 1).arccos()
    tokens = torch.full_like(cosine.sum(), cosine.numel())
    return torch.stack([cosine.sum(), angle.sum(), tokens, massive.to(z.dtype)])


class Blocks(Looking):
    """What a block does to the stream.

    `cosine`, the mean over tokens of cos(x_in, x_out); `angle`, that of arccos(cos(x_in, x_out)) / pi, the
    angular distance of Gromov et al. 2024, 2403.17887; `massive`, the most massive activations that its
    output has in a sequence of the batch.
    """

    def __init__(self, stream: Mapping[str, SiteProtocol]) -> None:
        blocks = {name: site for name, site in stream.items() if name != "embedding"}
        super().__init__("blocks", blocks, likeness)

    def values(self) -> list[Reading]:
        parts = self.parts()
        cosine, angle, tokens, _ = parts.sum(0).unbind(-1)
        return [
            Reading("stream/cosine", cosine / tokens, self.places),
            Reading("stream/angle", angle / tokens / math.pi, self.places),
            Reading("stream/massive", parts[..., 3].amax(0), self.places),
        ]


class StreamGradient(Instrument):
    """`grad_stream`: the norm of dL/dx over the batch, x the stream after the embedding and each block; or,
    of the second stream, `grad_second_stream`.

    x goes on as x + 0 in such a step, and the zeros' gradient is that of x.
    """

    def __init__(
        self, stream: Mapping[str, StreamSiteProtocol], zeros_BTD: Tensor, family: str = "grad_stream"
    ) -> None:
        self.family, self.places, self.sites = family, list(stream), list(stream.values())
        self._zeros = zeros_BTD
        self._squares: Tensor | None = None

    def begin(self) -> None:
        self._squares = None
        for site in self.sites:
            site.probe = self._zeros.detach().requires_grad_()

    def micro(self, logits_NV: Tensor, targets_N: Tensor) -> None:
        norms = []
        for site in self.sites:
            assert site.probe is not None
            assert site.probe.grad is not None
            norms.append(torch.linalg.vector_norm(site.probe.grad))
            site.probe.grad = None
        squares = torch.stack(norms).square()
        self._squares = squares if self._squares is None else self._squares + squares

    def values(self) -> list[Reading]:
        assert self._squares is not None
        for site in self.sites:
            site.probe = None
        # Each process takes the gradient of its own mean; the run's loss is the mean of those.
        processes = self.gather(self._squares[None])
        return [Reading(self.family, processes.sum(0).sqrt() / len(processes), self.places)]

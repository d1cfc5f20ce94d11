"""The residual sub-layer that every placement is a setting of."""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normlab.config import ScaleConfig, SublayerConfig, laws
from normlab.model.site import Site, StreamSite


class MakeNorm(Protocol):
    """Makes the norm of a place in the model."""

    def __call__(self, width: int, gain: float = 1.0) -> nn.Module:
        """A norm of `width` channels whose gain starts at `gain`, where its formula has 1."""


def no_norm(width: int, gain: float = 1.0) -> nn.Module:
    """Where no norm is wanted."""
    return nn.Identity()


class Shift(nn.Module):
    """x -> x + bias, one learned number, 0 at the start (Fixup, 1901.09321)."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


def shift(wanted: bool) -> nn.Module:
    """A scalar bias, or nothing."""
    return Shift() if wanted else nn.Identity()


class Times(nn.Module):
    """x -> factor * x, with a fixed number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor

    def extra_repr(self) -> str:
        return f"{self.factor:.6g}"


class LearnedScale(nn.Module):
    """x -> weight * x, with one learned number or one a channel."""

    def __init__(self, start: float, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full(shape, start))

    def factor(self) -> Tensor:
        return self.weight

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor()


class StoredScale(LearnedScale):
    """x -> start * |weight| / stored * x: `stored` sets how far a step of the optimizer goes (2410.01131)."""

    def __init__(self, start: float, shape: tuple[int, ...], stored: float) -> None:
        super().__init__(stored, shape)
        self.ratio = start / stored

    def factor(self) -> Tensor:
        return self.weight.abs() * self.ratio


class Rest(nn.Module):
    """x -> (1 - b) * x, where b is the branch's factor."""

    def __init__(self, branch_scale: nn.Module) -> None:
        super().__init__()
        self._branch_scale = (branch_scale,)  # in a tuple: its parameter keeps one name

    def forward(self, x: Tensor) -> Tensor:
        scaled: Tensor = self._branch_scale[0](x)
        return x - scaled


class ScheduledScale(nn.Module):
    """x -> factor * x, where a law of the step sets the factor (`set_step`)."""

    factor: Tensor

    def __init__(self, law: str, at: Mapping[str, float]) -> None:
        super().__init__()
        self.law, self.at = law, dict(at)
        self.register_buffer("factor", torch.tensor(laws.value(law, {**at, laws.STEP: 0})))

    def set_step(self, step: int) -> None:
        self.factor.fill_(laws.value(self.law, {**self.at, laws.STEP: step}))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor

    def extra_repr(self) -> str:
        return self.law


def build_scale(config: ScaleConfig, width: int, at: Mapping[str, float]) -> nn.Module:
    """The factor that `config` gives where its law sees `at`; Identity where it is a fixed 1."""
    if laws.STEP in laws.names(config.value):
        return ScheduledScale(config.value, at)
    start = laws.value(config.value, at)
    if config.learn != "none":
        shape = (width,) if config.learn == "vector" else ()
        stored = laws.value(config.stored, at) if config.stored else None
        return LearnedScale(start, shape) if stored is None else StoredScale(start, shape, stored)
    return nn.Identity() if start == 1 else Times(start)


class Gpas(nn.Module):
    """x -> x - silu(gate) * sg(x): smaller forward, the same backward (GPAS, 2506.22049)."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x - F.silu(self.gate) * x.detach()


class ReadStream(nn.Module):
    """What a sub-layer reads of (x, y, what the block was given): the stream x."""

    def forward(self, x: Tensor, y: Tensor | None, start: Tensor) -> Tensor:
        return x


class ReadBlock(nn.Module):
    """What the block was given."""

    def forward(self, x: Tensor, y: Tensor | None, start: Tensor) -> Tensor:
        return start


class ReadBoth(nn.Module):
    """x + N(y)."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor, y: Tensor, start: Tensor) -> Tensor:
        normed: Tensor = self.norm(y)
        return x + normed


class Carry(nn.Module):
    """The second stream after a sub-layer: y + rho * f."""

    def __init__(self, rho: float) -> None:
        super().__init__()
        self.rho = rho
        self.site = StreamSite()

    def forward(self, y: Tensor, h: Tensor) -> Tensor:
        branch = self.rho * h
        carried: Tensor = self.site(y + branch, y, branch)
        return carried

    def extra_repr(self) -> str:
        return f"{self.rho:.6g}"


class CarryNothing(nn.Module):
    """There is no second stream."""

    def forward(self, y: None, h: Tensor) -> None:
        return None


_READS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "x": lambda norm: ReadStream(),
    "block": lambda norm: ReadBlock(),
    "both": ReadBoth,
}
#: (x, what the block was given, N_in of what is read) -> what the skip path carries.
_SKIPS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "x": lambda x, start, normed: x,
    "norm_in": lambda x, start, normed: normed,
    "block": lambda x, start, normed: x + start,
}


class Residual(nn.Module):
    """x' = N_post(a*skip + b*N_out(f(c*N_in(x)))), skip = x or N_in(x). (B, T, D) -> (B, T, D).

    What a placement leaves out is `nn.Identity` or a module that passes things on, so there is one path
    through `forward`. A second stream y goes beside x; it is None where the placement has one stream.
    """

    def __init__(
        self,
        branch: nn.Module,
        record: SublayerConfig,
        norm: MakeNorm,
        width: int,
        at: Mapping[str, float],
        dropout: float,
        carry: nn.Module,
    ) -> None:
        super().__init__()

        def norm_or_nothing(wanted: bool) -> nn.Module:
            return norm(width) if wanted else nn.Identity()

        def gate_or_nothing(wanted: bool) -> nn.Module:
            return Gpas() if wanted else nn.Identity()

        self.read = _READS[record.reads](norm_or_nothing(record.reads == "both"))
        self.norm_in = norm_or_nothing(record.norm_in)
        self.in_scale = build_scale(record.in_scale, width, at)
        self.branch = branch
        self.norm_out = norm(width, record.norm_out_gain) if record.norm_out else nn.Identity()
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.skip_gate = gate_or_nothing(record.gpas == "skip")
        self.skip_scale = build_scale(record.skip_scale, width, at)
        self.branch_scale = build_scale(record.branch_scale, width, at)
        if record.skip_scale.tie:
            self.skip_scale = Rest(self.branch_scale)
        self.norm_post = norm_or_nothing(record.norm_post)
        self.stream_gate = gate_or_nothing(record.gpas == "stream")
        self.carry = carry
        self.record = record
        self.site, self.input_site = Site(), Site()

    def forward(self, x_BTD: Tensor, y_BTD: Tensor | None, start_BTD: Tensor) -> tuple[Tensor, Tensor | None]:
        """Both streams after this sub-layer; `start_BTD` is the x that the block was given."""
        u_BTD = self.norm_in(self.read(x_BTD, y_BTD, start_BTD))
        in_BTD = self.in_scale(u_BTD)
        self.input_site(in_BTD)
        h_BTD = self.dropout(self.norm_out(self.branch(in_BTD)))
        return self._join(x_BTD, y_BTD, start_BTD, u_BTD, h_BTD)

    def without(self, x_BTD: Tensor, y_BTD: Tensor | None, start_BTD: Tensor) -> tuple[Tensor, Tensor | None]:
        """Both streams where the branch, b * N_out(f(...)), is 0: a, N_post and the rest act as ever."""
        u_BTD = self.norm_in(self.read(x_BTD, y_BTD, start_BTD))
        return self._join(x_BTD, y_BTD, start_BTD, u_BTD, torch.zeros_like(u_BTD))

    def _join(
        self, x_BTD: Tensor, y_BTD: Tensor | None, start_BTD: Tensor, u_BTD: Tensor, h_BTD: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Put what the branch gives, h, back into the streams."""
        skip_BTD = self.skip_gate(_SKIPS[self.record.skip](x_BTD, start_BTD, u_BTD))
        skip_BTD, branch_BTD = self.skip_scale(skip_BTD), self.branch_scale(h_BTD)
        z_BTD = self.stream_gate(self.norm_post(skip_BTD + branch_BTD))
        self.site(skip_BTD, branch_BTD, z_BTD)
        return z_BTD, self.carry(y_BTD, h_BTD)


def share(first: Residual, second: Residual) -> None:
    """Give the second sub-layer of a block what its record says it has from the first."""
    if second.record.shared_norm:
        second.norm_in = first.norm_in
    for name in ("skip_scale", "branch_scale"):
        ours, theirs = (getattr(sublayer.record, name) for sublayer in (first, second))
        if ours == theirs and ours.learn != "none" and ours.share == "block":
            setattr(second, name, getattr(first, name))
    if second.record.skip_scale.tie:
        second.skip_scale = Rest(second.branch_scale)
    if first.record.gpas == second.record.gpas:
        second.skip_gate, second.stream_gate = first.skip_gate, first.stream_gate

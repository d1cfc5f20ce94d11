"""Settings of single norm types beside `NormConfig`'s; the rows that use them are in `catalogue/norms.py`."""

from dataclasses import dataclass, replace
from typing import Self

from normlab.config import NormConfig
from normlab.errors import require


@dataclass(frozen=True, kw_only=True)
class NoEpsConfig(NormConfig):
    """A norm that divides by nothing."""

    eps: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.eps == 0, "norm.eps", f"{self.name} divides by nothing and has no eps; leave it at 0")


@dataclass(frozen=True, kw_only=True)
class PartialConfig(NormConfig):
    """Partial RMS norm's share of the channels."""

    #: The first ceil(p * width) channels make the statistics.
    p: float = 0.0625

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = "must be above 0 and at most 1 (1 for all channels; the paper's is 0.0625)"
        require(0 < self.p <= 1, "norm.p", f"{allowed}, got {self.p}")


@dataclass(frozen=True, kw_only=True)
class BatchNormConfig(NormConfig):
    """Batch norm keeps running statistics for evaluation."""

    #: Weight of the newest batch in the running statistics.
    momentum: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.eps > 0, "norm.eps", "must be above 0: torch trains no batch norm without it; 1e-5 is usual"
        )
        allowed = "must be above 0 and at most 1 (1 keeps the newest batch alone)"
        require(0 < self.momentum <= 1, "norm.momentum", f"{allowed}, got {self.momentum}")


@dataclass(frozen=True, kw_only=True)
class GroupNormConfig(NormConfig):
    """Norms of groups of channels."""

    #: Groups, which must divide the width; as many as heads for one a head. A token's group of one channel is
    #: normed to 0.
    groups: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.groups >= 1, "norm.groups", f"must be 1 or more, got {self.groups}; the nearest is 1")


@dataclass(frozen=True, kw_only=True)
class WhiteningConfig(GroupNormConfig):
    """Group whitening's root of a matrix. With more groups than channels in each, no output can be white."""

    #: Newton steps towards the inverse root of the covariance; more of them whiten its small directions too.
    iterations: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        ok = 1 <= self.iterations <= _MOST_STEPS
        require(ok, "norm.iterations", f"must be 1 to {_MOST_STEPS}, got {self.iterations}")


#: Newton's method has long come to rest by then.
_MOST_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class PowerNormConfig(GroupNormConfig):
    """Power norm's averages, and when they take over from the batch's own statistics."""

    #: Training batches normalized by their own statistics, which leak; 0 for none. The released code has 1000
    #: or 10000, in runs hundreds of times as long as this lab's.
    batch_steps: int = 100
    #: Weight of the past in the running mean square.
    decay_forward: float = 0.9
    #: Weight of the past in the running mean of gradient times output.
    decay_backward: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.batch_steps >= 0, "norm.batch_steps", f"must be 0 or more, got {self.batch_steps}")
        for key in ("decay_forward", "decay_backward"):
            value = getattr(self, key)
            allowed = "must be 0 or more and below 1 (0 keeps the newest batch alone)"
            require(0 <= value < 1, f"norm.{key}", f"{allowed}, got {value}")


@dataclass(frozen=True, kw_only=True)
class PrefixConfig(NormConfig):
    """Cumulative instance norm's prior."""

    #: Tokens of mean 0 and variance 1 that count as seen before the first; with 0 the first token becomes 0.
    prior: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        ok = 0 <= self.prior < float("inf")
        require(ok, "norm.prior", f"must be a finite number, 0 or more, got {self.prior}")


@dataclass(frozen=True, kw_only=True)
class SlopeConfig(NoEpsConfig):
    """The slope of a curve, by the site of the norm."""

    #: The slope at the start, for all channels; learned.
    alpha: float = 0.5
    #: That of the norms of attention, of the feed-forward layers and of the final norm; null for `alpha`.
    alpha_attn: float | None = None
    alpha_ffn: float | None = None
    alpha_final: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("alpha", *(f"alpha_{site}" for site in _SITES)):
            if getattr(self, key) is not None:
                _finite(getattr(self, key), f"norm.{key}")

    def at(self, site: str) -> Self:
        """The settings with the slope of that site."""
        own = getattr(self, f"alpha_{site}") if site in _SITES else None
        return self if own is None else replace(self, alpha=own)


_SITES = ("attn", "ffn", "final")


@dataclass(frozen=True, kw_only=True)
class DyTConfig(SlopeConfig):
    """DyT's slope. The paper's LLaMA has no bias, and a slope by width and site (0.8, 0.2, 0.2 in the 7B)."""

    bias: bool = True


@dataclass(frozen=True, kw_only=True)
class ShiftedConfig(SlopeConfig):
    """The slope and shift of Derf and ISRU."""

    #: What is added before the curve, at the start; learned.
    shift: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _finite(self.shift, "norm.shift")


@dataclass(frozen=True, kw_only=True)
class AdaNormConfig(NormConfig):
    """AdaNorm's fixed rescale."""

    #: How much a large entry is held back.
    k: float = 0.1
    #: Multiplies the output.
    scale: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.k < float("inf"), "norm.k", f"must be a finite number, 0 or more, got {self.k}")
        ok = 0 < self.scale < float("inf")
        require(ok, "norm.scale", f"must be a finite number above 0, got {self.scale}")


def _finite(value: float, key: str) -> None:
    require(abs(value) < float("inf"), key, f"must be a finite number, got {value}")

"""The record of a placement: what one residual sub-layer is, exceptions from it, the ends of the model."""

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from normlab import laws
from normlab.errors import ConfigError, require, require_one_of

#: The matrices whose initial scale a placement may set.
PROJECTIONS = ("attn.q", "attn.k", "attn.v", "attn.out", "ffn.gate", "ffn.in", "ffn.out", "embedding", "head")


@dataclass(frozen=True, kw_only=True)
class ScaleConfig:
    """A factor on one path of a residual sub-layer."""

    #: A law of depth and layer (`normlab.laws`), at the start if it is learned, else also of the `step`.
    value: str = "1"
    #: `none`, or a learned `scalar` or `vector` (one entry a channel).
    learn: str = "none"
    #: Whether a learned factor belongs to the `sublayer` or is shared in its `block`.
    share: str = "sublayer"
    #: A law of what a learned factor is stored as: then factor = value * |weight| / stored. Empty: as it is.
    stored: str = ""
    #: Only for skip_scale: one minus the branch's scale.
    tie: bool = False


#: What the words of a sub-layer may be.
SUBLAYER_WORDS = {
    "reads": ("x", "block", "both"),
    "skip": ("x", "norm_in", "block"),
    "gpas": ("none", "stream", "skip"),
    "qk_norm": ("none", "head", "width"),
    "v_norm": ("none", "head"),
}
WEIGHTS = ("free", "sigma_reparam", "unit")
SCALES = ("skip_scale", "branch_scale", "in_scale")


@dataclass(frozen=True, kw_only=True)
class SublayerConfig:
    """One residual sub-layer: x' = N_post(a*skip + b*N_out(f(c*N_in(x)))), skip = x or N_in(x)."""

    norm_in: bool = False
    norm_out: bool = False
    norm_post: bool = False
    #: What N_in and the branch read: the stream `x`, what the `block` was given (parallel sub-layers), or
    #: `both` streams, x + N(y), where placement.second_stream=true.
    reads: str = "x"
    #: Take attention's N_in instead of one's own (for a feed-forward sub-layer that reads the block).
    shared_norm: bool = False
    #: What the skip path carries: `x`, `norm_in` for N_in(x), or `block` for x + what the block was given.
    skip: str = "x"
    skip_scale: ScaleConfig = field(default_factory=ScaleConfig)
    branch_scale: ScaleConfig = field(default_factory=ScaleConfig)
    in_scale: ScaleConfig = field(default_factory=ScaleConfig)
    #: GPAS: x - silu(gate) * x, with the gradient of x, on the `stream` or the `skip`; one gate a block.
    gpas: str = "none"
    #: Norm of queries and keys, before any rotation: of each `head`, or over the `width` of all.
    qk_norm: str = "none"
    #: Norm of the values of each `head`.
    v_norm: str = "none"
    #: Norm before the output projection: of what attention mixed, or of the hidden feed-forward layer.
    mid_norm: bool = False
    #: One learned factor for each head's output.
    head_scale: bool = False
    #: A learned factor a channel on queries and keys; logits are then q.k * sqrt(K), not over it (nGPT).
    qk_scale: bool = False
    #: A learned factor a channel, times sqrt(width), on what the activation and the gate are given (nGPT).
    hidden_scale: bool = False
    #: Attention logits become cap * tanh(logits / cap); 0 for no cap.
    softcap: float = 0.0

    def __post_init__(self) -> None:
        for name, words in SUBLAYER_WORDS.items():
            require_one_of(getattr(self, name), words, f"placement.{name}")
        require(
            self.skip != "norm_in" or self.norm_in, "placement.skip", "norm_in needs placement.norm_in=true"
        )
        require(
            self.skip != "norm_in" or self.reads == "x",
            "placement.skip",
            f"norm_in would lose the stream where placement.reads={self.reads}; use placement.skip=x",
        )
        require(
            self.gpas != "stream" or not self.norm_post,
            "placement.gpas",
            "stream would rescale what placement.norm_post has just normed; use placement.gpas=skip",
        )
        require(
            not self.shared_norm or (self.norm_in and self.reads == "block"),
            "placement.shared_norm",
            "needs placement.norm_in=true and placement.reads=block: the norm of what attention reads too",
        )
        for name in SCALES:
            scale: ScaleConfig = getattr(self, name)
            require_one_of(scale.learn, ("none", "scalar", "vector"), f"placement.{name}.learn")
            require_one_of(scale.share, ("sublayer", "block"), f"placement.{name}.share")
            key = f"placement.{name}"
            require(not scale.stored or scale.learn != "none", f"{key}.stored", "needs a learned scale")
            require(not scale.tie or name == "skip_scale", f"{key}.tie", "only skip_scale can be tied")
            require(
                not scale.tie or scale.learn == "none", f"{key}.tie", "needs learn=none: b is what learns"
            )
            require(
                scale.learn == "none" or name != "in_scale",
                f"placement.{name}.learn",
                "this scale cannot be learned; use placement.branch_scale",
            )
        ok = math.isfinite(self.softcap) and self.softcap >= 0
        require(ok, "placement.softcap", f"must be a finite number, 0 or more, got {self.softcap}")


@dataclass(frozen=True, kw_only=True)
class ExceptionConfig:
    """Fields that differ in some layers or in one kind of sub-layer."""

    #: A law of depth and layer: the exception holds where it is not 0.
    where: str = "1"
    #: `attn`, `ffn` or `both`.
    sublayer: str = "both"
    #: Fields of the sub-layer by name, e.g. {norm_in: false, branch_scale: {value: "0.5"}}.
    set: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Named:
    """First among the fields of a class that has others to inherit."""

    name: str


@dataclass(frozen=True, kw_only=True)
class PlacementConfig(SublayerConfig, _Named):
    """Where norms and scales sit: a record of every sub-layer, exceptions from it, the model's ends."""

    embedding_norm: bool = False
    final_norm: bool = False
    #: Carry a second stream y' = y + rho * f beside x, and end with x + N(y).
    second_stream: bool = False
    #: rho, a law of depth; the second stream starts as rho times the first.
    second_scale: str = "1"
    #: Set the learned skip_scale from the variances that a first batch gives (Admin).
    profile: bool = False
    #: How matrices are kept: `free`, `sigma_reparam` (in the blocks, gamma / sigma(W) * W), or `unit`
    #: (vectors along the width get length 1 after each step).
    weights: str = "free"
    #: A learned factor for each token of the vocabulary on its logit (nGPT).
    head_gain: bool = False
    #: Laws that multiply the initial standard deviation of a projection, by its name.
    gains: dict[str, str] = field(default_factory=dict)
    #: Constants that the laws here may speak of; one called `fraction` lies between 0 and 1.
    parameters: dict[str, float] = field(default_factory=dict)
    #: Later ones win.
    exceptions: list[ExceptionConfig] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, number in self.parameters.items():
            key = f"placement.parameters.{name}"
            require(laws.is_name(name), key, "is no name for a constant, or a law's own; use another")
            require(math.isfinite(number), key, f"must be a finite number, got {number}")
            ok = name != "fraction" or 0 <= number <= 1
            require(ok, key, f"a fraction lies between 0 and 1, got {number}")
        self._check_scales(self, "placement")
        for projection, law in self.gains.items():
            require_one_of(projection, PROJECTIONS, "placement.gains")
            self._check_law(law, f"placement.gains.{projection}")
        for index, exception in enumerate(self.exceptions):
            key = f"placement.exceptions[{index}]"
            self._check_law(exception.where, f"{key}.where")
            require_one_of(exception.sublayer, ("both", "attn", "ffn"), f"{key}.sublayer")
            self._check_scales(apply(exception, self.common, key), f"{key}.set", exception.set)
        self._check_law(self.second_scale, "placement.second_scale")
        require_one_of(self.weights, WEIGHTS, "placement.weights")
        own = self.skip_scale.learn != "none" and self.skip_scale.share == "sublayer"
        require(
            not self.profile or (own and not self.skip_scale.stored),
            "placement.profile",
            "sets a learned scale of each sub-layer; use placement.skip_scale.learn=vector",
        )
        require(
            not self.second_stream or self.final_norm,
            "placement.second_stream",
            "ends in x + N(y); set placement.final_norm=true",
        )
        for record in self._variants(0) + self._variants(1):
            require(
                record.reads != "both" or self.second_stream,
                "placement.reads",
                "both needs placement.second_stream=true; use x",
            )
            require(
                record.gpas == "none" or self.weights != "unit",
                "placement.gpas",
                "would shrink a stream that placement.weights=unit (nGPT) keeps at one length; use gpas=none",
            )
        for attn in self._variants(0):
            for ffn in self._variants(1):
                require(
                    ffn.reads != "block" or not attn.norm_post,
                    "placement.norm_post",
                    "parallel sub-layers (reads=block) have one sum and no norm within it; "
                    "use norm_out, or reads=x",
                )

    @property
    def common(self) -> SublayerConfig:
        """The sub-layer that the exceptions start from."""
        return SublayerConfig(**{item.name: getattr(self, item.name) for item in fields(SublayerConfig)})

    def sublayer_at(self, at: Mapping[str, float], place: int) -> SublayerConfig:
        """The record of the sub-layer `place` (0 attention, 1 feed-forward) where the laws see `at`."""
        record = self.common
        for index, exception in enumerate(self.exceptions):
            if exception.sublayer in ("both", PLACES[place]) and laws.value(
                exception.where, {**at, **self.parameters}
            ):
                record = apply(exception, record, f"placement.exceptions[{index}]")
        return record

    def _variants(self, place: int) -> list[SublayerConfig]:
        """What the sub-layer may be somewhere: without exceptions, and with those so far."""
        records = [self.common]
        for index, exception in enumerate(self.exceptions):
            if exception.sublayer in ("both", PLACES[place]):
                always = laws.names(exception.where) == set()
                kept = [] if always else records
                records = [*kept, apply(exception, records[-1], f"placement.exceptions[{index}]")]
        return records

    def _check_scales(self, record: SublayerConfig, key: str, only: Container[str] = SCALES) -> None:
        for name in SCALES:
            if name in only:
                scale: ScaleConfig = getattr(record, name)
                self._check_law(scale.value, f"{key}.{name}.value", step=scale.learn == "none")
                self._check_law(scale.stored or "1", f"{key}.{name}.stored")

    def _check_law(self, law: str, key: str, step: bool = False) -> None:
        at = {**laws.variables(depth=2, width=64), **self.parameters, **({laws.STEP: 0} if step else {})}
        try:
            laws.value(law, at)
        except laws.LawError as error:
            raise ConfigError(key, str(error)) from None


#: The sub-layers of a block.
PLACES = ("attn", "ffn")


def apply(exception: ExceptionConfig, record: SublayerConfig, key: str) -> SublayerConfig:
    """`record` with the fields that `exception` sets.

    Raises:
        ConfigError: a field that is unknown, of another type, or contradicts the others.
    """
    changes: dict[str, Any] = {}
    for name, value in exception.set.items():
        where = f"{key}.set.{name}"
        require_one_of(name, [item.name for item in fields(SublayerConfig)], f"{key}.set")
        before = getattr(record, name)
        if isinstance(before, ScaleConfig):
            changes[name] = _scale_with(value, before, where)
        else:
            fits = (
                isinstance(value, int | float)
                if isinstance(before, float)
                else isinstance(value, type(before))
            )
            fits = fits and isinstance(value, bool) == isinstance(before, bool)
            require(fits, where, f"must be {_KINDS[type(before)]}, got {value}")
            changes[name] = value
    try:
        return replace(record, **changes)
    except ConfigError as error:
        problem = str(error).removeprefix(f"{error.key}: ")
        raise ConfigError(f"{key}.set.{error.key.removeprefix('placement.')}", problem) from None


_KINDS = {bool: "true or false", str: "a word", float: "a number"}


def _scale_with(value: Any, before: ScaleConfig, key: str) -> ScaleConfig:
    require(isinstance(value, Mapping), key, f"must be a mapping such as {{value: 2}}, got {value}")
    names = [item.name for item in fields(ScaleConfig)]
    for name in value:
        require_one_of(name, names, key)
    ok = isinstance(value.get("tie", False), bool)
    require(ok, f"{key}.tie", f"must be true or false, got {value.get('tie')}")
    changes: dict[str, Any] = {name: text if name == "tie" else str(text) for name, text in value.items()}
    return replace(before, **changes)

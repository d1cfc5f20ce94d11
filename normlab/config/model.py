"""The model: norm type, activation, the GPT around the norms, initial weights."""

import math
from dataclasses import dataclass, field
from typing import Self

from normlab.config import laws
from normlab.errors import ConfigError, at_least, not_negative, positive, require, require_one_of

POSITIONS = ("learned", "rope", "sinusoidal", "alibi", "none")


@dataclass(frozen=True, kw_only=True)
class NormConfig:
    """A norm type; kinds with more settings extend this beside their row in `catalogue/norms.py`."""

    name: str
    eps: float = 1e-5
    #: Train a norm whose training statistics mix tokens, though predictions can then see the future.
    allow_leaky: bool = False

    def __post_init__(self) -> None:
        not_negative(self.eps, "norm.eps")

    def at(self, site: str) -> Self:
        """The settings of the norms at a site: `attn`, `ffn`, `embedding` or `final`."""
        return self


@dataclass(frozen=True, kw_only=True)
class ActivationConfig:
    """An activation; kinds with more settings extend this beside their row in `catalogue/activations.py`."""

    name: str


@dataclass(frozen=True, kw_only=True)
class FFNConfig:
    """The feed-forward width: `ratio` times the model's; two thirds of that if gated, up to a multiple."""

    ratio: float = 4.0
    multiple_of: int = 8

    def __post_init__(self) -> None:
        positive(self.ratio, "model.ffn.ratio", most=1000)
        at_least(self.multiple_of, 1, "model.ffn.multiple_of", most=10**6)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The GPT around the norms."""

    name: str = "gpt"
    width: int = 64
    heads: int = 4
    #: Heads of keys and values, each shared by several of queries (grouped-query attention); 0 for `heads`.
    kv_heads: int = 0
    #: Tokens a sequence.
    context: int = 64
    ffn: FFNConfig = field(default_factory=FFNConfig)
    #: Whether a token attends to itself and those before it alone; without, to all (an encoder).
    causal: bool = True
    positions: str = "learned"
    rope_base: float = 10000.0
    #: Share of each head that is turned (partial rotary).
    rope_fraction: float = 1.0
    #: Laws (of depth and width) that multiply the token embedding and the logits.
    embedding_scale: str = "1"
    #: Whether the embedding's factor is one learned number, with that law's value at the start.
    embedding_scale_learn: bool = False
    logit_scale: str = "1"
    #: Logits become cap * tanh(logits / cap); 0 for no cap.
    logit_softcap: float = 0.0
    #: Share the embedding's matrix with the output head.
    tie: bool = False
    dropout: float = 0.0
    #: Biases on the linear layers of the blocks; norms have their own.
    bias: bool = False
    #: Biases on attention's; null for `bias`.
    attention_bias: bool | None = None
    #: A bias on the output head.
    head_bias: bool = False

    def __post_init__(self) -> None:
        at_least(self.width, 1, "model.width", most=10**6)
        at_least(self.heads, 1, "model.heads", most=10**6)
        at_least(self.context, 2, "model.context", most=10**7)
        require(
            self.width % self.heads == 0,
            "model.width",
            f"{self.width} is not divisible by model.heads={self.heads}; "
            f"{_nearest_divisor(self.width, self.heads)} heads would do",
        )
        require_one_of(self.positions, POSITIONS, "model.positions")
        at_least(self.kv_heads, 0, "model.kv_heads")
        require(
            self.heads % (self.kv_heads or self.heads) == 0,
            "model.kv_heads",
            f"{self.kv_heads} does not divide model.heads={self.heads}; "
            f"{_nearest_divisor(self.heads, self.kv_heads)} would",
        )
        ok = 0 < self.rope_fraction <= 1
        require(ok, "model.rope_fraction", f"must be above 0 and up to 1, got {self.rope_fraction}")
        require(
            self.positions != "rope" or (self.rotary_width > 0 and self.rotary_width % 2 == 0),
            "model.positions",
            f"rope turns pairs, and {self.rotary_width} (model.rope_fraction of model.width / model.heads) "
            "is not an even number above 0",
        )
        not_negative(self.logit_softcap, "model.logit_softcap")
        for key in ("embedding_scale", "logit_scale"):
            try:
                laws.value(getattr(self, key), {"depth": 2, "width": self.width})
            except laws.LawError as error:
                raise ConfigError(f"model.{key}", str(error)) from None
        positive(self.rope_base, "model.rope_base")
        require(0 <= self.dropout < 1, "model.dropout", f"must be 0 or more and below 1, got {self.dropout}")

    @property
    def has_attention_bias(self) -> bool:
        return self.bias if self.attention_bias is None else self.attention_bias

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def kv_width(self) -> int:
        """Keys' (and values') width, all heads together."""
        return (self.kv_heads or self.heads) * self.head_width

    @property
    def rotary_width(self) -> int:
        """How much of a head rotary positions turn."""
        return int(self.rope_fraction * self.head_width)


@dataclass(frozen=True, kw_only=True)
class InitConfig:
    """The distribution of the initial weights; `gains` then scales or sets single projections."""

    name: str
    #: Multiplies the standard deviation of every matrix in the blocks.
    gain: float = 1.0
    #: `placement` for the placement's own gains, `none`, or a row of `catalogue/inits.py:GAINS`.
    gains: str = "placement"
    #: Standard deviation of the token embedding; null for the distribution's own.
    embedding_std: float | None = None
    #: Standard deviation of learned positions; null for that of the embeddings.
    position_std: float | None = None
    #: Standard deviation of the output head; null for the distribution's own.
    head_std: float | None = None
    #: Draw anew what lies further out than this many standard deviations; null to keep it.
    truncate: float | None = None

    def __post_init__(self) -> None:
        not_negative(self.gain, "init.gain")
        for key in ("embedding_std", "position_std", "head_std"):
            value = getattr(self, key)
            if value is not None:
                not_negative(value, f"init.{key}")
        require(
            self.truncate is None or (math.isfinite(self.truncate) and self.truncate >= 1),
            "init.truncate",
            f"must be a finite number, 1 or more, or null, got {self.truncate}",
        )


def _nearest_divisor(of: int, wanted: int) -> int:
    return min((n for n in range(1, of + 1) if of % n == 0), key=lambda n: abs(n - wanted))

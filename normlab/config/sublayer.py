"""The record of one residual sub-layer, which every placement is made of, and what in it is contradictory."""

import math
from dataclasses import dataclass, field

from normlab.errors import require, require_one_of


@dataclass(frozen=True, kw_only=True)
class ScaleConfig:
    """A factor on one path of a residual sub-layer."""

    #: A law of depth and layer (`laws.py`), at the start if it is learned, else also of the `step`.
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
SCALE_WORDS = {"learn": ("none", "scalar", "vector"), "share": ("sublayer", "block")}
SCALES = ("skip_scale", "branch_scale", "in_scale")
#: Fields that act inside one kind of branch and mean nothing in the other.
ONLY_IN = {
    "attn": ("qk_norm", "v_norm", "cosine", "head_scale", "qk_scale", "softcap"),
    "ffn": ("shared_norm", "hidden_scale"),
}


@dataclass(frozen=True, kw_only=True)
class SublayerConfig:
    """One residual sub-layer: x' = N_post(a*skip + b*N_out(f(c*N_in(x)))), skip = x or N_in(x)."""

    norm_in: bool = False
    norm_out: bool = False
    norm_post: bool = False
    #: What N_out's gain starts at, in place of 1; with 0 (Swin v2) the branch is silent at first.
    norm_out_gain: float = 1.0
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
    #: Attention logits are tau * cos(q, k), tau learned for each head, first 10, at most 100 (Swin v2).
    cosine: bool = False
    #: Norm before the output projection: of what attention mixed, or of the hidden feed-forward layer.
    mid_norm: bool = False
    #: One learned factor for each head's output.
    head_scale: bool = False
    #: A learned factor a channel on queries and keys; logits are then q.k * sqrt(K), not over it (nGPT).
    qk_scale: bool = False
    #: A learned factor a channel, times sqrt(width), on what the activation and the gate are given (nGPT).
    hidden_scale: bool = False
    #: One learned number added before each linear layer and each activation, and before the head (Fixup).
    scalar_biases: bool = False
    #: Attention logits become cap * tanh(logits / cap); 0 for no cap.
    softcap: float = 0.0

    def __post_init__(self) -> None:
        for name, words in SUBLAYER_WORDS.items():
            require_one_of(getattr(self, name), words, f"placement.{name}")
        self._check_paths()
        self._check_hooks()
        for name in SCALES:
            _check_scale(name, getattr(self, name))
        branch = self.branch_scale
        require(
            not self.skip_scale.tie or branch.learn != "none" or branch.value.strip() != "1",
            "placement.skip_scale.tie",
            "one minus the branch's scale leaves no skip where that is 1; set placement.branch_scale.value",
        )

    def _check_paths(self) -> None:
        """Norms, and what is read and carried around the branch."""
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
        gain, key = self.norm_out_gain, "placement.norm_out_gain"
        require(math.isfinite(gain) and gain >= 0, key, f"must be a finite number, 0 or more, got {gain}")
        require(
            gain == 1 or self.norm_out,
            key,
            "is the gain of N_out: needs placement.norm_out=true, or 1 where there is none",
        )

    def _check_hooks(self) -> None:
        """What happens to queries, keys and logits."""
        cap, length = self.softcap, "unit length"
        require(
            math.isfinite(cap) and cap >= 0,
            "placement.softcap",
            f"must be a finite number, 0 or more, got {cap}",
        )
        require(
            not self.cosine or self.qk_norm == "none",
            "placement.cosine",
            f"already gives queries and keys {length}; use placement.qk_norm=none",
        )
        require(
            not self.cosine or not self.qk_scale,
            "placement.cosine",
            "and placement.qk_scale are two learned sizes of the same logits; use one of them",
        )
        require(
            not self.qk_scale or self.qk_norm == "head",
            "placement.qk_scale",
            f"multiplies by sqrt(K), which is for queries and keys of {length}: needs placement.qk_norm=head",
        )


def _check_scale(name: str, scale: ScaleConfig) -> None:
    key = f"placement.{name}"
    for word, words in SCALE_WORDS.items():
        require_one_of(getattr(scale, word), words, f"{key}.{word}")
    learned = scale.learn != "none"
    require(not scale.stored or learned, f"{key}.stored", "needs a learned scale")
    require(
        scale.share == "sublayer" or learned, f"{key}.share", "only what is learned is shared; set its learn"
    )
    require(not scale.tie or name == "skip_scale", f"{key}.tie", "only skip_scale can be tied")
    require(not scale.tie or not learned, f"{key}.tie", "needs learn=none: b is what learns")
    require(
        not scale.tie or scale.value.strip() == "1",
        f"{key}.value",
        f"{key}.tie=true makes it one minus the branch's scale; leave the value at 1",
    )
    require(
        not learned or name != "in_scale",
        f"{key}.learn",
        "this scale cannot be learned; use placement.branch_scale",
    )

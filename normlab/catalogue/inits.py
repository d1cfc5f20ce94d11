"""Initial weights: the distributions, and named sets of gains on single projections.

All of it is laws (`normlab.config.laws`), so that a standard deviation can be told without drawing anything.
`normlab.model.init` draws.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from normlab.config import InitConfig, RunConfig, laws
from normlab.config.row import Row, table
from normlab.errors import require


@dataclass(frozen=True, kw_only=True)
class NormalConfig(InitConfig):
    """One standard deviation for every matrix, embeddings and head too."""

    std: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0 <= self.std < float("inf"), "init.std", f"must be a finite number, 0 or more, got {self.std}"
        )


@dataclass(frozen=True, kw_only=True)
class InitRow(Row[InitConfig]):
    """A distribution of initial weights.

    Its laws may also speak of `fan_in` and `fan_out`, the matrix's inputs and outputs, and of the row's own
    settings.
    """

    #: Standard deviation of a matrix in the blocks.
    matrix: str
    #: Standard deviation of embeddings, positions and head.
    edge: str = "width**(-1/2)"


#: gain 1/sqrt(2): with AdamW at 2.5e-3 and depth 12 this is where warm-up decides whether Post-LN trains.
INITS: dict[str, InitRow] = table(
    InitRow(
        config=InitConfig(name="fan_in", gain=0.7071),
        meaning="variance by the number of inputs; embeddings, positions and head at width^-0.5",
        equation="std = gain / sqrt(fan_in)",
        source="LeCun et al. 1998; He et al. 2015, arXiv 1502.01852",
        matrix="gain / sqrt(fan_in)",
    ),
    *(
        InitRow(
            config=InitConfig(name=name),
            meaning=meaning,
            equation="std = gain * sqrt(2 / (fan_in + fan_out))",
            source="Glorot, Bengio 2010",
            matrix="gain * sqrt(2 / (fan_in + fan_out))",
        )
        for name, meaning in {
            "xavier": "variance by inputs and outputs, q, k and v each by itself; embeddings as in fan_in",
            "xavier_normal": "xavier under torch's name: the same normal distribution",
        }.items()
    ),
    InitRow(
        config=NormalConfig(name="normal"),
        meaning="one standard deviation for all; at small width it hides what a placement does",
        equation="std = gain * std",
        source="Radford et al. 2019 (GPT-2)",
        matrix="gain * std",
        edge="std",
    ),
    InitRow(
        config=InitConfig(name="small_init"),
        meaning="one standard deviation for all, by the width: xavier's of a matrix of width by 4 widths",
        equation="std = gain * sqrt(2 / (5 width))",
        source="Nguyen, Salazar 2019, arXiv 1910.05895; Black et al. 2022 (GPT-NeoX), arXiv 2204.06745",
        matrix="gain * sqrt(2 / (5*width))",
        edge="sqrt(2 / (5*width))",
    ),
)


@dataclass(frozen=True, kw_only=True)
class InitGains:
    """What a scheme does to the initial weights of single projections; the others keep the distribution's.

    Its laws may also speak of `fan_in` and `fan_out`.
    """

    name: str
    #: Laws that multiply the distribution's standard deviation, by projection.
    gain: dict[str, str] = field(default_factory=dict)
    #: Laws that take its place, whatever the distribution and its settings, by projection.
    std: dict[str, str] = field(default_factory=dict)


_OUT = ("attn.out", "ffn.out")
#: What DeepNorm scales. Its FFN has two matrices; with a gate, a third would make the branch beta^3.
_DEEP = ("attn.v", "attn.out", "ffn.in", "ffn.out")
_DEEP_GATED = (*_DEEP, "ffn.gate")
_BLOCK = ("attn.q", "attn.k", *_DEEP_GATED)


def _every(projections: tuple[str, ...], law: str) -> dict[str, str]:
    return dict.fromkeys(projections, law)


#: `init.gains=NAME`. A placement's own gains are these too, where it has any.
GAINS: dict[str, Row[InitGains]] = table(
    *(
        Row(
            config=InitGains(name=name, gain=_every(_OUT, "(2*depth)**(-1/2)")),
            meaning=meaning,
            equation="std(attn.out, ffn.out) *= (2 depth)^(-1/2)",
            source=source,
        )
        for name, meaning, source in (
            (
                "gpt2",
                "output projections smaller with depth, so that the stream keeps its size",
                "Radford et al. 2019 (GPT-2)",
            ),
            (
                "megatron",
                "the same as gpt2, under Megatron's name (scaled init)",
                "Shoeybi et al. 2019 (Megatron-LM), arXiv 1909.08053",
            ),
        )
    ),
    Row(
        config=InitGains(name="wang", std=_every(_OUT, "2 / (depth*sqrt(width))")),
        meaning="output projections by depth and width alone; with init=small_init, GPT-NeoX's",
        equation="std(attn.out, ffn.out) = 2 / (depth sqrt(width))",
        source="Wang, Komatsuzaki 2021 (GPT-J); Black et al. 2022 (GPT-NeoX), arXiv 2204.06745",
    ),
    Row(
        config=InitGains(name="mitchell", std=_every(_OUT, "(2*layer*fan_in)**(-1/2)")),
        meaning="output projections smaller layer by layer; OLMo's is with init.gain=1 init.truncate=3",
        equation="std(attn.out, ffn.out) = (2 layer fan_in)^(-1/2)",
        source="Groeneveld et al. 2024 (OLMo), arXiv 2402.00838",
    ),
    Row(
        config=InitGains(name="depth_mup", gain=_every(_OUT, "sublayers**(-1/2)")),
        meaning="the branch's factor of depth-muP and Stable ResNet, put into the output projections; both "
        "count branches, of which a block has two, so the numbers are gpt2's",
        equation="std(attn.out, ffn.out) *= (2 depth)^(-1/2)",
        source="Yang et al. 2023, arXiv 2310.02244; Hayou et al. 2020, arXiv 2010.12859",
    ),
    Row(
        config=InitGains(name="deepnorm", gain=_every(_DEEP, "(8*depth)**(-1/4)")),
        meaning="DeepNorm's beta, for decoders; a gate keeps gain 1, so that a branch has beta^2 with it too",
        equation="std(attn.v, attn.out, ffn.in, ffn.out) *= (8 depth)^(-1/4)",
        source="Wang et al. 2022 (DeepNet), arXiv 2203.00555",
    ),
    Row(
        config=InitGains(name="deepnorm_glu_all", gain=_every(_DEEP_GATED, "(8*depth)**(-1/4)")),
        meaning="DeepNorm's beta on the gate as well: beta^3 a branch, as public LLaMA variants have it",
        equation="std(attn.v, attn.out, ffn.gate, ffn.in, ffn.out) *= (8 depth)^(-1/4)",
        source="public code of GPAS, arXiv 2506.22049, and of ProRes, arXiv 2603.05369",
    ),
    Row(
        config=InitGains(name="deepnorm_glm", gain=_every(_DEEP_GATED, "(2*depth)**(-1/2)")),
        meaning="GLM-130B's form of DeepNorm, which scales the whole feed-forward layer, gate included",
        equation="std(attn.v, attn.out, ffn.gate, ffn.in, ffn.out) *= (2 depth)^(-1/2)",
        source="Zeng et al. 2022 (GLM-130B), arXiv 2210.02414",
    ),
    Row(
        config=InitGains(name="deepnorm_inverted", gain=_every(_DEEP_GATED, "(8*depth)**(1/4)")),
        meaning="A PUBLISHED BUG, for comparison: DeepNorm's beta with the sign of its exponent turned",
        equation="std(attn.v, attn.out, ffn.gate, ffn.in, ffn.out) *= (8 depth)^(+1/4)",
        source="public code of Mix-LN, arXiv 2412.13795, and of LayerNorm Scaling, arXiv 2502.05795",
    ),
    Row(
        config=InitGains(name="subln", gain=_every(_DEEP, "sqrt(log(2*depth))")),
        meaning="Sub-LN's gamma, for decoders: larger with depth, as the norms inside the branch allow",
        equation="std(attn.v, attn.out, ffn.in, ffn.out) *= sqrt(log(2 depth))",
        source="Wang et al. 2022 (Magneto), arXiv 2210.06423",
    ),
    Row(
        config=InitGains(
            name="tfixup",
            gain=_every(_DEEP, "0.67 * depth**(-1/4)") | {"embedding": "(9*depth)**(-1/4)"},
        ),
        meaning="T-Fixup by its encoder's rule, for blocks of two sub-layers; made for xavier and no norms",
        equation="std(attn.v, attn.out, ffn.in, ffn.out) *= 0.67 depth^(-1/4), "
        "std(embedding) *= (9 depth)^(-1/4)",
        source="Huang et al. 2020 (T-Fixup), ICML",
    ),
    Row(
        config=InitGains(
            name="fixup",
            gain=_every((*_OUT, "head"), "0")
            | _every(("attn.q", "attn.k", "attn.v"), "sublayers**(-1/6)")
            | {"ffn.in": "sublayers**(-1/2)"},
        ),
        meaning="branches and head start at zero; the rest by the m matrices of a branch, S^(-1/(2m-2))",
        equation="std(attn.out, ffn.out, head) = 0, std(attn.q, attn.k, attn.v) *= (2 depth)^(-1/6), "
        "std(ffn.in) *= (2 depth)^(-1/2)",
        source="Zhang, Dauphin, Ma 2019, arXiv 1901.09321, and its code's transformer",
    ),
    Row(
        config=InitGains(name="b2t", gain=_every(_BLOCK, "depth**(-1/2)")),
        meaning="every matrix of a block smaller with depth, as the code of the B2T connection has it",
        equation="std(all in block) *= depth^(-1/2)",
        source="takase/b2t_connection, of Takase et al. 2022, arXiv 2206.00330",
    ),
    Row(
        config=InitGains(name="ds_init", gain=_every(_BLOCK, "layer**(-1/2)")),
        meaning="every matrix of a block smaller, layer by layer",
        equation="std(all in block) *= layer^(-1/2)",
        source="Zhang, Titov, Sennrich 2019, arXiv 1908.11365",
    ),
    Row(
        config=InitGains(name="post_ln_init", gain=_every(_BLOCK, "1 / (depth - layer + 1)")),
        meaning="every matrix of a block smaller the further it is from the top; DeepNet's first experiment",
        equation="std(all in block) /= depth - layer + 1",
        source="Wang et al. 2022 (DeepNet), section 3, arXiv 2203.00555",
    ),
)


def selected(config: InitConfig, placement: Mapping[str, str]) -> InitGains:
    """The gains that `init.gains` selects: the placement's own laws, none, or a named table."""
    if config.gains == "placement":
        return InitGains(name="placement", gain=dict(placement))
    return InitGains(name="none") if config.gains == "none" else GAINS[config.gains].config


def variables(at: Mapping[str, float], fan_in: int, fan_out: int) -> dict[str, float]:
    """What the laws of a matrix may speak of: `laws.variables` of its place, and its inputs and outputs."""
    return {**at, "fan_in": float(fan_in), "fan_out": float(fan_out)}


def std(config: InitConfig, gains: InitGains, projection: str, at: Mapping[str, float]) -> float:
    """Initial standard deviation of one projection at one place, gains included.

    Args:
        projection: one of `config.PROJECTIONS`, or `positions`: embeddings with a setting of their own.
        at: see `variables`.
    """
    part = "embedding" if projection == "positions" else projection
    if part in gains.std:
        return laws.value(gains.std[part], at)
    set_to = {"embedding": config.embedding_std, "positions": config.position_std, "head": config.head_std}
    own = set_to.get(projection)
    if own is None and projection == "positions":
        own = config.embedding_std
    if own is None:
        row = INITS[config.name]
        own = laws.value(row.edge if projection in set_to else row.matrix, {**at, **_settings(config)})
    return own * (laws.value(gains.gain[part], at) if part in gains.gain else 1.0)


def embedding_factor(config: RunConfig) -> float:
    """What multiplies the token embedding, at the start where it is learned.

    `model.embedding_scale`; or, where that is 1 and the placement has `unit_embedding`, one over the standard
    deviation that the distribution gives the embedding (a gain of the placement on it acts all the same).

    Raises:
        ConfigError: `unit_embedding`, and the embedding starts at 0.
    """
    at = laws.variables(config.depth, config.model.width)
    scale = laws.value(config.model.embedding_scale, at)
    if scale != 1 or not config.placement.unit_embedding:
        return scale
    drawn = std(config.init, InitGains(name="none"), "embedding", at)
    require(
        drawn > 0,
        "init.embedding_std",
        "0 cannot be brought to 1, which placement.unit_embedding does; use placement.unit_embedding=false",
    )
    return 1 / drawn


def _settings(config: InitConfig) -> dict[str, float]:
    return {key: value for key, value in dataclasses.asdict(config).items() if isinstance(value, int | float)}

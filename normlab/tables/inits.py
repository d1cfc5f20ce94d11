"""Initial weights: the distributions, and named sets of gains on single projections.

A row names its function in `normlab.components.init`.
"""

from dataclasses import dataclass

from normlab.config import InitConfig
from normlab.errors import require
from normlab.tables.row import Row, table


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
    """A distribution of initial weights."""

    #: Function in `normlab.components.init`: (fan_in, fan_out, config) -> standard deviation.
    function: str


#: gain 1/sqrt(2): with AdamW at 2.5e-3 and depth 12 this is where warm-up decides whether Post-LN trains.
INITS: dict[str, InitRow] = table(
    InitRow(
        config=InitConfig(name="fan_in", gain=0.7071),
        meaning="variance by the number of inputs; embeddings, positions and head at width^-0.5",
        equation="std = gain / sqrt(fan_in)",
        source="LeCun et al. 1998; He et al. 2015, arXiv 1502.01852",
        function="fan_in",
    ),
    InitRow(
        config=InitConfig(name="xavier"),
        meaning="variance by inputs and outputs, q, k and v each by itself; embeddings as in fan_in",
        equation="std = gain * sqrt(2 / (fan_in + fan_out))",
        source="Glorot, Bengio 2010",
        function="xavier",
    ),
    InitRow(
        config=NormalConfig(name="normal"),
        meaning="one standard deviation for all; at small width it hides what a placement does",
        equation="std = gain * std",
        source="Radford et al. 2019 (GPT-2)",
        function="normal",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Gains:
    """Laws that multiply the initial standard deviation of projections, by projection."""

    name: str
    laws: dict[str, str]


#: `init.gains=NAME`.
GAINS: dict[str, Row[Gains]] = table(
    Row(
        config=Gains(name="gpt2", laws={"attn.out": "(2*depth)**(-1/2)", "ffn.out": "(2*depth)**(-1/2)"}),
        meaning="output projections smaller with depth, so that the stream keeps its size",
        equation="std(attn.out, ffn.out) *= (2 depth)^(-1/2)",
        source="Radford et al. 2019 (GPT-2)",
    ),
)

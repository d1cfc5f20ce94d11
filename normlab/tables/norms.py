"""Norm types. A row names its module in `normlab.components.norms`."""

from dataclasses import dataclass

from normlab.config import NormConfig
from normlab.errors import require
from normlab.tables.row import Row, table


@dataclass(frozen=True, kw_only=True)
class BatchNormConfig(NormConfig):
    """Batch norm keeps running statistics for evaluation."""

    #: Weight of the newest batch in the running statistics.
    momentum: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0 < self.momentum <= 1, "norm.momentum", f"must be above 0 and at most 1, got {self.momentum}"
        )


@dataclass(frozen=True, kw_only=True)
class NormRow(Row[NormConfig]):
    """A norm type, and whether a prediction can see the future through its training statistics."""

    #: Class in `normlab.components.norms`.
    module: str
    #: What leaks in training, or an empty string for a norm that is causal.
    leak: str = ""


NORMS: dict[str, NormRow] = table(
    NormRow(
        config=NormConfig(name="layernorm"),
        meaning="mean and variance of each token's channels, with gain and bias",
        equation="y = g * (x - mean(x)) / sqrt(var(x) + eps) + b",
        source="Ba, Kiros, Hinton 2016, arXiv 1607.06450",
        module="LayerNorm",
    ),
    NormRow(
        config=NormConfig(name="layernorm_nobias"),
        meaning="layer norm with a gain and no bias",
        equation="y = g * (x - mean(x)) / sqrt(var(x) + eps)",
        source="Chowdhery et al. 2022 (PaLM), arXiv 2204.02311",
        module="LayerNormNoBias",
    ),
    NormRow(
        config=NormConfig(name="rmsnorm"),
        meaning="root mean square of each token's channels, no centring, gain only",
        equation="y = g * x / sqrt(mean(x^2) + eps)",
        source="Zhang, Sennrich 2019, arXiv 1910.07467; eps inside as in LLaMA, arXiv 2302.13971",
        module="RMSNorm",
    ),
    NormRow(
        config=BatchNormConfig(name="batchnorm"),
        meaning="mean and variance of each channel over the whole batch; running ones in evaluation",
        equation="y = g * (x - mean_BT(x)) / sqrt(var_BT(x) + eps) + b",
        source="Ioffe, Szegedy 2015, arXiv 1502.03167; for language Shen et al. 2020, arXiv 2003.07845",
        module="BatchNorm",
        leak="its training statistics run over all tokens of the batch, later ones too",
    ),
    NormRow(
        config=NormConfig(name="identity"),
        meaning="no normalization: the control",
        equation="y = x",
        module="Identity",
    ),
)

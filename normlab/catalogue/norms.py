"""Norm types. A row names its module in `normlab.model.norms`; own settings are in `norm_settings`."""

from dataclasses import dataclass

from normlab.catalogue.norm_settings import (
    AdaNormConfig,
    BatchNormConfig,
    DyTConfig,
    GroupNormConfig,
    NoEpsConfig,
    PartialConfig,
    PowerNormConfig,
    PrefixConfig,
    ShiftedConfig,
    WhiteningConfig,
)
from normlab.config import NormConfig
from normlab.config.row import Row, table

#: Where eps can stand: under the root, added to it, as the least divisor, or nowhere.
EPS_PLACES = ("inside", "outside", "clamp", "none")
#: What statistics run over: a token's channels or groups of them; a channel over batch and time, over time,
#: with its group over time, over the tokens so far; a sequence with its channels; the whole tensor; nothing.
SCOPES = ("token", "token_group", "batch", "time", "time_group", "prefix", "sequence", "tensor", "none")


@dataclass(frozen=True, kw_only=True)
class NormRow(Row[NormConfig]):
    """A norm type, and whether a prediction can see the future through its training statistics.

    The formulas: x a token, D its width, g gain, b bias, mean and var over a token's channels, var biased.
    """

    #: File and class in `normlab/model/norms/`: `token.LayerNorm`.
    module: str
    #: What is learned, with its start and shape (D width, T context, 1 a scalar); empty for nothing.
    parameters: str = ""
    #: Where eps stands: one of `EPS_PLACES`.
    eps_place: str = "inside"
    #: What the statistics run over: one of `SCOPES`.
    scope: str = "token"
    #: Takes each token's mean away over its channels, or over each group of them.
    centred: bool = False
    #: What leaks in training, or an empty string for a norm that is causal.
    leak: str = ""
    #: Evaluation uses running statistics, and so is causal whatever training is.
    running: bool = False
    #: What the norm is held within before its gain and bias: (-bound, bound); None where nothing holds it.
    bound: float | None = None

    @property
    def facts(self) -> dict[str, str]:
        place = f"{self.config.eps:g}, {self.eps_place}" if self.eps_place != "none" else "none"
        return {
            "parameters": self.parameters or "none",
            "eps": place,
            "statistics": self.scope.replace("_", " "),
            "causal in training": f"no: {self.leak}" if self.leak else "yes",
        }


def leak(config: NormConfig, objective: str = "clm") -> str:
    """What leaks in training under these settings, or an empty string.

    Later tokens are the targets of clm; of mlm the targets are hidden from what is read, and nothing leaks.
    """
    causal = isinstance(config, PowerNormConfig) and config.batch_steps == 0
    return "" if causal or objective == "mlm" else NORMS[config.name].leak


def leak_in_evaluation(config: NormConfig, objective: str = "clm") -> str:
    """What leaks in evaluation too, or an empty string; no setting of the norm heals it."""
    row = NORMS[config.name]
    return "" if row.running or objective == "mlm" else row.leak


_LN = "Ba, Kiros, Hinton 2016, arXiv 1607.06450"
_RMS = "Zhang, Sennrich 2019, arXiv 1910.07467"
_GAIN = "g=1 (D)"
_AFFINE = "g=1 (D), b=0 (D)"
_AFTER = "; evaluation has no other statistics and leaks too"

NORMS: dict[str, NormRow] = table(
    NormRow(
        config=NormConfig(name="layernorm"),
        meaning="mean and variance of each token's channels, with gain and bias",
        equation="y = g * (x - mean(x)) / sqrt(var(x) + eps) + b",
        source=_LN,
        module="token.LayerNorm",
        centred=True,
        parameters=_AFFINE,
    ),
    NormRow(
        config=NormConfig(name="layernorm_nobias"),
        meaning="layer norm with a gain and no bias",
        equation="y = g * (x - mean(x)) / sqrt(var(x) + eps)",
        source="Chowdhery et al. 2022 (PaLM), arXiv 2204.02311",
        module="token.LayerNormNoBias",
        centred=True,
        parameters=_GAIN,
    ),
    NormRow(
        config=NormConfig(name="layernorm_nonparam"),
        meaning="layer norm with nothing learned",
        equation="y = (x - mean(x)) / sqrt(var(x) + eps)",
        source="Groeneveld et al. 2024 (OLMo), arXiv 2402.00838",
        module="token.LayerNormNonParametric",
        centred=True,
    ),
    NormRow(
        config=NormConfig(name="layernorm_annotated", eps=1e-6),
        meaning="layer norm with the unbiased deviation and eps beside it, as in the Annotated Transformer",
        equation="y = g * (x - mean(x)) / (sqrt(var(x) * D/(D-1)) + eps) + b",
        source="Rush 2018, The Annotated Transformer",
        module="token.LayerNormAnnotated",
        centred=True,
        parameters=_AFFINE,
        eps_place="outside",
    ),
    NormRow(
        config=NormConfig(name="layernorm1p"),
        meaning="layer norm whose gain is held as its distance from 1, so that weight decay pulls it to 1",
        equation="y = (1 + g) * (x - mean(x)) / sqrt(var(x) + eps) + b",
        source="Parmar et al. 2024 (Nemotron-4), arXiv 2402.16819",
        module="token.LayerNorm1p",
        centred=True,
        parameters="g=0 (D), b=0 (D)",
    ),
    NormRow(
        config=NormConfig(name="rmsnorm"),
        meaning="root mean square of each token's channels, no centring, gain only",
        equation="y = g * x / sqrt(mean(x^2) + eps)",
        source=f"{_RMS}; eps inside as in LLaMA, arXiv 2302.13971",
        module="token.RMSNorm",
        parameters=_GAIN,
    ),
    NormRow(
        config=NormConfig(name="rmsnorm_orig", eps=1e-8),
        meaning="RMS norm with eps beside the root, as its authors' code has it",
        equation="y = g * x / (sqrt(mean(x^2)) + eps)",
        source=f"{_RMS}; github.com/bzhangGo/rmsnorm",
        module="token.RMSNormOriginal",
        parameters=_GAIN,
        eps_place="outside",
    ),
    NormRow(
        config=NormConfig(name="rmsnorm_zc", eps=1e-6),
        meaning="RMS norm whose gain is held as its distance from 1, as in Gemma",
        equation="y = (1 + g) * x / sqrt(mean(x^2) + eps)",
        source="Gemma Team 2024, arXiv 2403.08295",
        module="token.RMSNormZeroCentred",
        parameters="g=0 (D)",
    ),
    NormRow(
        config=PartialConfig(name="prmsnorm", eps=1e-8),
        meaning="RMS norm whose root mean square is that of the first few channels",
        equation="y = g * x / (sqrt(mean(x[:k]^2)) + eps), k = ceil(p * D)",
        source=_RMS,
        module="token.PartialRMSNorm",
        parameters=_GAIN,
        eps_place="outside",
    ),
    NormRow(
        config=NormConfig(name="scalenorm"),
        meaning="the token at one learned length",
        equation="y = g * x / max(|x|, eps)",
        source="Nguyen, Salazar 2019, arXiv 1910.05895",
        module="token.ScaleNorm",
        parameters="g=sqrt(D) (1)",
        eps_place="clamp",
    ),
    NormRow(
        config=NormConfig(name="l2norm", eps=1e-8),
        meaning="the token at length 1, as in nGPT",
        equation="y = x / max(|x|, eps)",
        source="Loshchilov et al. 2024 (nGPT), arXiv 2410.01131",
        module="token.L2Norm",
        eps_place="clamp",
    ),
    NormRow(
        config=BatchNormConfig(name="batchnorm"),
        meaning="mean and variance of each channel over the whole batch; running ones in evaluation",
        equation="y = g * (x - mean_BT(x)) / sqrt(var_BT(x) + eps) + b",
        source="Ioffe, Szegedy 2015, arXiv 1502.03167; for language Shen et al. 2020, arXiv 2003.07845",
        module="batch.BatchNorm",
        parameters=_AFFINE,
        scope="batch",
        leak="its training statistics run over all tokens of the batch, later ones too",
        running=True,
    ),
    NormRow(
        config=PowerNormConfig(name="powernorm"),
        meaning="groups of channels by their RMS, then each channel by a running RMS of past batches",
        equation="y = g * u / sqrt(psi2 + eps) + b, u = x / rms_group(x), psi2 = running mean_BT(u^2)",
        source="Shen et al. 2020, arXiv 2003.07845",
        module="batch.PowerNorm",
        parameters=_AFFINE,
        scope="batch",
        leak="for its first norm.batch_steps batches it divides by their own mean square, later tokens' too",
        running=True,
    ),
    NormRow(
        config=NormConfig(name="instancenorm_time"),
        meaning="mean and variance of each channel over the sequence, nothing learned",
        equation="y = (x - mean_T(x)) / sqrt(var_T(x) + eps)",
        source="Ulyanov, Vedaldi, Lempitsky 2016, arXiv 1607.08022",
        module="sequence.InstanceNormTime",
        scope="time",
        leak=f"its statistics run over all tokens of the sequence, later ones too{_AFTER}",
    ),
    NormRow(
        config=GroupNormConfig(name="groupnorm_time"),
        meaning="mean and variance of a group of channels over the sequence: group norm as for images",
        equation="y = g * (x - mean_TG(x)) / sqrt(var_TG(x) + eps) + b",
        source="Wu, He 2018, arXiv 1803.08494",
        module="sequence.GroupNormTime",
        parameters=_AFFINE,
        scope="time_group",
        leak=f"its statistics run over all tokens of the sequence, later ones too{_AFTER}",
    ),
    NormRow(
        config=GroupNormConfig(name="groupnorm_token"),
        meaning="layer norm of each group of a token's channels",
        equation="y = g * (x - mean_G(x)) / sqrt(var_G(x) + eps) + b",
        source="Wu, He 2018, arXiv 1803.08494, on each token by itself",
        module="token.GroupNormToken",
        centred=True,
        parameters=_AFFINE,
        scope="token_group",
    ),
    NormRow(
        config=WhiteningConfig(name="group_whitening"),
        meaning="groups of a token's channels made uncorrelated: group norm with a whole covariance matrix",
        equation="y = g * S^(-1/2) (X - mean_G(X)) + b, S = cov_G(X) + eps I, X the token as rows of groups; "
        "the root by Newton's method",
        source="Huang et al. 2021 (Group Whitening), arXiv 2009.13333; the root: Huang et al. 2019 "
        "(IterNorm), arXiv 1904.03441",
        module="token.GroupWhitening",
        centred=True,
        parameters=_AFFINE,
        scope="token_group",
    ),
    NormRow(
        config=PrefixConfig(name="cum_instancenorm"),
        meaning="mean and variance of each channel over the tokens so far: instance norm made causal",
        equation="y_t = g * (x_t - m_t) / sqrt(v_t + eps) + b; m_t, v_t of x_1 ... x_t and a prior",
        source="after cumulative layer norm: Luo, Mesgarani 2018 (Conv-TasNet), arXiv 1809.07454",
        module="sequence.CumulativeInstanceNorm",
        parameters=_AFFINE,
        scope="prefix",
    ),
    NormRow(
        config=NormConfig(name="layernorm_TC"),
        meaning="layer norm over a sequence and its channels at once, with a gain for each place: a mistake",
        equation="y = g * (x - mean_TC(x)) / sqrt(var_TC(x) + eps) + b",
        source=f"a misreading of {_LN}",
        module="sequence.LayerNormTC",
        parameters="g=1 (T,D), b=0 (T,D)",
        scope="sequence",
        leak=f"its statistics run over all tokens of the sequence, later ones too{_AFTER}",
    ),
    NormRow(
        config=NormConfig(name="pb_relax_ln"),
        meaning="layer norm of the input over an eighth of its largest entry, against overflow",
        equation="y = g * (u - mean(u)) / sqrt(var(u) + eps) + b, u = 8 x / max|x|, max over the tensor",
        source="Ding et al. 2021 (CogView), arXiv 2105.13290",
        module="sequence.PBRelaxLayerNorm",
        centred=True,
        parameters=_AFFINE,
        scope="tensor",
        leak="the largest entry of the whole batch reaches every output through eps, by about 1e-6, "
        "in evaluation too",
    ),
    NormRow(
        config=DyTConfig(name="dyt"),
        meaning="dynamic tanh: a curve for each entry, no statistics",
        equation="y = g * tanh(alpha * x) + b",
        source="Zhu et al. 2025, arXiv 2503.10622",
        module="elementwise.DyT",
        parameters=f"alpha=0.5 (1), {_AFFINE}",
        eps_place="none",
        scope="none",
        bound=1,
    ),
    NormRow(
        config=ShiftedConfig(name="derf"),
        meaning="dynamic erf: a curve for each entry, no statistics",
        equation="y = g * erf(alpha * x + s) + b",
        source="Chen et al. 2025, arXiv 2512.10938",
        module="elementwise.Derf",
        parameters=f"alpha=0.5 (1), s=0 (1), {_AFFINE}",
        eps_place="none",
        scope="none",
        bound=1,
    ),
    NormRow(
        config=ShiftedConfig(name="isru"),
        meaning="inverse square root unit: a curve for each entry, no statistics",
        equation="y = g * u / sqrt(u^2 + 1) + b, u = alpha * x + s",
        source="Chen et al. 2025, arXiv 2512.10938; Stollenwerk 2025, arXiv 2503.21708",
        module="elementwise.ISRU",
        parameters=f"alpha=0.5 (1), s=0 (1), {_AFFINE}",
        eps_place="none",
        scope="none",
        bound=1,
    ),
    NormRow(
        config=AdaNormConfig(name="adanorm"),
        meaning="layer norm whose gain is a falling function of its output, nothing learned",
        equation="y = C * (1 - k * sg(u)) * u, u = (x - mean(x)) / (sqrt(var(x) * D/(D-1)) + eps)",
        source="Xu et al. 2019, arXiv 1911.07013",
        module="token.AdaNorm",
        centred=True,
        eps_place="outside",
    ),
    NormRow(
        config=NoEpsConfig(name="identity"),
        meaning="no normalization: the control",
        equation="y = x",
        module="elementwise.Identity",
        eps_place="none",
        scope="none",
    ),
)

"""Optimizers. A row names its builder in `normlab.training.optimizers`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from normlab.config import OptimizerConfig
from normlab.config.row import Row, table
from normlab.errors import require, require_one_of

#: How the size of Muon's update follows the shape of a matrix; torch's names.
ADJUSTS = ("original", "match_rms_adamw")


def _check_betas(betas: list[float]) -> None:
    ok = len(betas) == 2 and all(0 <= beta < 1 for beta in betas)
    require(ok, "optimizer.betas", f"must be two numbers, 0 or more and below 1, got {betas}")


def _check_momentum(momentum: float, nesterov: bool) -> None:
    require(0 <= momentum < 1, "optimizer.momentum", f"must be 0 or more and below 1, got {momentum}")
    require(momentum > 0 or not nesterov, "optimizer.nesterov", "needs optimizer.momentum above 0")


@dataclass(frozen=True, kw_only=True)
class AdamConfig(OptimizerConfig):
    """Adam's and AdamW's settings."""

    lr: float = 2.5e-3
    betas: list[float] = field(default_factory=lambda: [0.9, 0.95])
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_betas(self.betas)
        require(
            0 <= self.eps < float("inf"),
            "optimizer.eps",
            f"must be a finite number, 0 or more, got {self.eps}",
        )


@dataclass(frozen=True, kw_only=True)
class SGDConfig(OptimizerConfig):
    """SGD's settings."""

    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_momentum(self.momentum, self.nesterov)


@dataclass(frozen=True, kw_only=True)
class LionConfig(OptimizerConfig):
    """Lion's settings: a tenth of AdamW's rate, and for the same effect ten times its weight decay."""

    lr: float = 2.5e-4
    betas: list[float] = field(default_factory=lambda: [0.9, 0.99])

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_betas(self.betas)


@dataclass(frozen=True, kw_only=True)
class MuonConfig(AdamConfig):
    """Muon's settings for the matrices of the blocks; `betas` and `eps` are AdamW's, which takes the rest."""

    momentum: float = 0.95
    nesterov: bool = True
    #: Newton-Schulz iterations a step.
    iterations: int = 5
    #: `match_rms_adamw`, for updates as large as AdamW's so that its rate and decay fit, or the `original`.
    adjust: str = "match_rms_adamw"
    #: AdamW's rate, as a multiple of `optimizer.lr`.
    adamw_scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_momentum(self.momentum, self.nesterov)
        require(
            1 <= self.iterations < 100,
            "optimizer.iterations",
            f"must be 1 or more and below 100, got {self.iterations}",
        )
        require_one_of(self.adjust, ADJUSTS, "optimizer.adjust")
        require(
            0 < self.adamw_scale < float("inf"),
            "optimizer.adamw_scale",
            f"must be a finite number above 0, got {self.adamw_scale}",
        )


@dataclass(frozen=True, kw_only=True)
class Least:
    """A gradient so small that the optimizer's step all but ends: what `vanishing` compares with."""

    #: What is compared: `grad_rms` of a place, `grad_norm` of the matrices in a block, or, already a share of
    #: the weights, `update/gradient_ratio` of a place.
    family: str
    value: float
    #: What it is, and what happens below it, as text.
    name: str
    effect: str
    #: Whether only what lies outside the blocks is compared.
    outside: bool = False
    #: Whether `update/eps_ratio` gives gradients as multiples of it.
    is_eps: bool = False
    #: The step that a gradient of 1, lasting, makes; for `update/gradient_ratio` alone.
    step: float = 0.0

    def held(self, place: str) -> bool:
        """Whether the place's parameters are compared with it."""
        return not (self.outside and place.startswith("layer_"))


#: Of float32: the smallest normal number, under which results count as 0, and the spacing of numbers at 1.
TINY, SPACING = 2.0**-126, 2.0**-23
#: Muon divides a matrix's momentum by its norm, or by this where the norm is less (torch's default); then
#: each iteration multiplies small singular values by this.
MUON_EPS, MUON_SLOPE = 1e-7, 3.4445


def _least_of_adam(config: AdamConfig, outside: bool = False) -> tuple[Least, ...]:
    """m / (sqrt(v) + eps): a lasting gradient of eps moves a weight by half the rate."""
    least = Least(
        family="grad_rms",
        value=config.eps,
        name="AdamW's eps" if outside else "the optimizer's eps",
        effect="eps begins to hold their updates back",
        outside=outside,
        is_eps=True,
    )
    return (least,) if config.eps else ()


def _least_of_muon(config: MuonConfig) -> tuple[Least, ...]:
    """Matrices take a step of one size, but for gradients whose norm Muon's iterations cannot bring to 1."""
    value = MUON_EPS / MUON_SLOPE**config.iterations
    matrices = Least(
        family="grad_norm",
        value=value,
        name=f"the {value:.2g} that Muon can bring to a step of full size",
        effect="their updates begin to shrink with them",
    )
    return (*_least_of_adam(config, outside=True), matrices)


def _least_of_sgd(config: SGDConfig) -> tuple[Least, ...]:
    """The step is proportional: lr * ||g|| / (1 - momentum) is compared with the norm of the weights."""
    least = Least(
        family="update/gradient_ratio",
        value=SPACING,
        name="float32's spacing of the weights, as steps at the full rate",
        effect="their weights all but stand still",
        step=config.lr / (1 - config.momentum),
    )
    return (least,)


def _least_of_lion(config: LionConfig) -> tuple[Least, ...]:
    """A sign has no size: only what its momentum, in float32, cannot hold makes no step."""
    share = 1 - max(config.betas)
    least = Least(
        family="grad_rms",
        value=TINY / share,
        name="the least that Lion's momentum can hold",
        effect="their momentum rounds to 0, which has no sign",
    )
    return (least,)


@dataclass(frozen=True, kw_only=True)
class OptimizerRow(Row[OptimizerConfig]):
    """An optimizer."""

    #: Function in `normlab.training.optimizers`: (named parameters, config) -> torch optimizer.
    function: str
    #: Numbers it keeps for each number of a parameter: (config, kind of parameter, as in `kind_of`) -> count.
    state: Callable[[Any, str], int]
    #: What gradients are too small for its step: (config) -> one for each way in which it steps.
    least: Callable[[Any], tuple[Least, ...]]


OPTIMIZERS: dict[str, OptimizerRow] = table(
    OptimizerRow(
        config=AdamConfig(name="adamw"),
        meaning="Adam with decoupled weight decay",
        equation="w -= lr * (m_hat / (sqrt(v_hat) + eps) + decay * w)",
        source="Loshchilov, Hutter 2017, arXiv 1711.05101",
        function="adamw",
        state=lambda config, kind: 2,
        least=_least_of_adam,
    ),
    OptimizerRow(
        config=AdamConfig(name="adam"),
        meaning="Adam; weight decay goes into the gradient",
        equation="w -= lr * m_hat / (sqrt(v_hat) + eps), of g + decay * w",
        source="Kingma, Ba 2014, arXiv 1412.6980",
        function="adam",
        state=lambda config, kind: 2,
        least=_least_of_adam,
    ),
    OptimizerRow(
        config=SGDConfig(name="sgd"),
        meaning="stochastic gradient descent with momentum",
        equation="m = momentum * m + g + decay * w, w -= lr * m",
        source="Polyak 1964; Sutskever et al. 2013",
        function="sgd",
        state=lambda config, kind: int(config.momentum > 0),
        least=_least_of_sgd,
    ),
    OptimizerRow(
        config=LionConfig(name="lion"),
        meaning="the sign of a momentum: every weight moves by the rate; decoupled weight decay",
        equation="w -= lr * (sign(b1 m + (1 - b1) g) + decay * w), then m = b2 m + (1 - b2) g",
        source="Chen et al. 2023, arXiv 2302.06675",
        function="lion",
        state=lambda config, kind: 1,
        least=_least_of_lion,
    ),
    OptimizerRow(
        config=MuonConfig(name="muon"),
        meaning="orthogonalized momentum for the matrices of blocks (q, k and v apart), AdamW for the rest",
        equation="w -= lr * (0.2 sqrt(max(rows, columns)) * U V^T + decay * w), U S V^T = momentum",
        source="Jordan et al. 2024; Liu et al. 2025 (Moonlight), arXiv 2502.16982",
        function="muon",
        state=lambda config, kind: 1 if kind == "matrix" else 2,
        least=_least_of_muon,
    ),
)

"""Optimizers. A row names its builder in `normlab.training.optimizers`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from normlab.config import OptimizerConfig
from normlab.errors import require, require_one_of
from normlab.tables.row import Row, table

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
class OptimizerRow(Row[OptimizerConfig]):
    """An optimizer."""

    #: Function in `normlab.training.optimizers`: (named parameters, config) -> torch optimizer.
    function: str
    #: Numbers it keeps for each number of a parameter: (config, kind of parameter, as in `kind_of`) -> count.
    state: Callable[[Any, str], int]


OPTIMIZERS: dict[str, OptimizerRow] = table(
    OptimizerRow(
        config=AdamConfig(name="adamw"),
        meaning="Adam with decoupled weight decay",
        equation="w -= lr * (m_hat / (sqrt(v_hat) + eps) + decay * w)",
        source="Loshchilov, Hutter 2017, arXiv 1711.05101",
        function="adamw",
        state=lambda config, kind: 2,
    ),
    OptimizerRow(
        config=AdamConfig(name="adam"),
        meaning="Adam; weight decay goes into the gradient",
        equation="w -= lr * m_hat / (sqrt(v_hat) + eps), of g + decay * w",
        source="Kingma, Ba 2014, arXiv 1412.6980",
        function="adam",
        state=lambda config, kind: 2,
    ),
    OptimizerRow(
        config=SGDConfig(name="sgd"),
        meaning="stochastic gradient descent with momentum",
        equation="m = momentum * m + g + decay * w, w -= lr * m",
        source="Polyak 1964; Sutskever et al. 2013",
        function="sgd",
        state=lambda config, kind: int(config.momentum > 0),
    ),
    OptimizerRow(
        config=LionConfig(name="lion"),
        meaning="the sign of a momentum: every weight moves by the rate; decoupled weight decay",
        equation="w -= lr * (sign(b1 m + (1 - b1) g) + decay * w), then m = b2 m + (1 - b2) g",
        source="Chen et al. 2023, arXiv 2302.06675",
        function="lion",
        state=lambda config, kind: 1,
    ),
    OptimizerRow(
        config=MuonConfig(name="muon"),
        meaning="orthogonalized momentum for the matrices of blocks (q, k and v apart), AdamW for the rest",
        equation="w -= lr * (0.2 sqrt(max(rows, columns)) * U V^T + decay * w), U S V^T = momentum",
        source="Jordan et al. 2024; Liu et al. 2025 (Moonlight), arXiv 2502.16982",
        function="muon",
        state=lambda config, kind: 1 if kind == "matrix" else 2,
    ),
)

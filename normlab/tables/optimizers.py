"""Optimizers. A row names its builder in `normlab.training.optimizers`."""

from dataclasses import dataclass, field

from normlab.config import OptimizerConfig
from normlab.errors import require
from normlab.tables.row import Row, table


@dataclass(frozen=True, kw_only=True)
class AdamConfig(OptimizerConfig):
    """Adam's and AdamW's settings."""

    lr: float = 2.5e-3
    betas: list[float] = field(default_factory=lambda: [0.9, 0.95])
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        ok = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        require(ok, "optimizer.betas", f"must be two numbers, 0 or more and below 1, got {self.betas}")
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
        require(
            0 <= self.momentum < 1,
            "optimizer.momentum",
            f"must be 0 or more and below 1, got {self.momentum}",
        )
        require(
            self.momentum > 0 or not self.nesterov, "optimizer.nesterov", "needs optimizer.momentum above 0"
        )


@dataclass(frozen=True, kw_only=True)
class OptimizerRow(Row[OptimizerConfig]):
    """An optimizer."""

    #: Function in `normlab.training.optimizers`: (parameters, config) -> torch optimizer.
    function: str


OPTIMIZERS: dict[str, OptimizerRow] = table(
    OptimizerRow(
        config=AdamConfig(name="adamw"),
        meaning="Adam with decoupled weight decay",
        source="Loshchilov, Hutter 2017, arXiv 1711.05101",
        function="adamw",
    ),
    OptimizerRow(
        config=AdamConfig(name="adam"),
        meaning="Adam; weight decay goes into the gradient",
        source="Kingma, Ba 2014, arXiv 1412.6980",
        function="adam",
    ),
    OptimizerRow(
        config=SGDConfig(name="sgd"),
        meaning="stochastic gradient descent with momentum",
        source="Polyak 1964; Sutskever et al. 2013",
        function="sgd",
    ),
)

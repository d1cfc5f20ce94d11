"""Activations of the feed-forward layer. A row names its function in `normlab.components.activations`."""

from dataclasses import dataclass

from normlab.config import ActivationConfig
from normlab.errors import require
from normlab.tables.row import Row, table

_GLU = "Shazeer 2020, arXiv 2002.05202"


@dataclass(frozen=True, kw_only=True)
class SwishConfig(ActivationConfig):
    """Swish with a fixed slope."""

    beta: float = 1.0

    def __post_init__(self) -> None:
        require(self.beta == self.beta and abs(self.beta) < float("inf"), "activation.beta", "must be finite")


@dataclass(frozen=True, kw_only=True)
class EluConfig(ActivationConfig):
    """ELU's saturation value for negative inputs."""

    alpha: float = 1.0

    def __post_init__(self) -> None:
        require(
            0 < self.alpha < float("inf"), "activation.alpha", f"must be finite and above 0, got {self.alpha}"
        )


@dataclass(frozen=True, kw_only=True)
class LeakyReluConfig(ActivationConfig):
    """The slope for negative inputs."""

    slope: float = 0.01

    def __post_init__(self) -> None:
        require(
            0 <= self.slope < float("inf"), "activation.slope", f"must be finite, 0 or more, got {self.slope}"
        )


@dataclass(frozen=True, kw_only=True)
class ActivationRow(Row[ActivationConfig]):
    """An activation; a gated one multiplies act(x W_gate) with x W_in."""

    #: Function in `normlab.components.activations`: (z, config) -> tensor of z's shape.
    function: str
    gated: bool = False


ACTIVATIONS: dict[str, ActivationRow] = table(
    ActivationRow(
        config=ActivationConfig(name="relu"),
        meaning="rectifier",
        equation="max(0, z)",
        source="Nair, Hinton 2010",
        function="relu",
    ),
    ActivationRow(
        config=LeakyReluConfig(name="leaky_relu"),
        meaning="rectifier with a small slope below zero",
        equation="max(slope * z, z)",
        source="Maas, Hannun, Ng 2013",
        function="leaky_relu",
    ),
    ActivationRow(
        config=EluConfig(name="elu"),
        meaning="exponential below zero",
        equation="z if z > 0 else alpha * (exp(z) - 1)",
        source="Clevert, Unterthiner, Hochreiter 2015, arXiv 1511.07289",
        function="elu",
    ),
    ActivationRow(
        config=ActivationConfig(name="sigmoid"),
        meaning="logistic; bounded",
        equation="1 / (1 + exp(-z))",
        function="sigmoid",
    ),
    ActivationRow(
        config=ActivationConfig(name="tanh"),
        meaning="hyperbolic tangent; bounded",
        equation="tanh(z)",
        function="tanh",
    ),
    ActivationRow(
        config=ActivationConfig(name="gelu"),
        meaning="Gaussian error linear unit, exact",
        equation="z * Phi(z)",
        source="Hendrycks, Gimpel 2016, arXiv 1606.08415",
        function="gelu",
    ),
    ActivationRow(
        config=ActivationConfig(name="gelu_tanh"),
        meaning="GELU's tanh approximation, as in GPT-2",
        equation="z/2 * (1 + tanh(sqrt(2/pi) * (z + 0.044715 z^3)))",
        source="Hendrycks, Gimpel 2016, arXiv 1606.08415",
        function="gelu_tanh",
    ),
    ActivationRow(
        config=ActivationConfig(name="silu"),
        meaning="sigmoid-weighted linear unit: swish with beta 1",
        equation="z * sigmoid(z)",
        source="Elfwing, Uchibe, Doya 2017, arXiv 1702.03118",
        function="silu",
    ),
    ActivationRow(
        config=SwishConfig(name="swish"),
        meaning="SiLU with a slope inside",
        equation="z * sigmoid(beta * z)",
        source="Ramachandran, Zoph, Le 2017, arXiv 1710.05941",
        function="swish",
    ),
    ActivationRow(
        config=ActivationConfig(name="glu"),
        meaning="gated by a sigmoid",
        equation="sigmoid(x W_gate) * (x W_in)",
        source=f"Dauphin et al. 2016, arXiv 1612.08083; {_GLU}",
        function="sigmoid",
        gated=True,
    ),
    ActivationRow(
        config=ActivationConfig(name="reglu"),
        meaning="gated by a rectifier",
        equation="relu(x W_gate) * (x W_in)",
        source=_GLU,
        function="relu",
        gated=True,
    ),
    ActivationRow(
        config=ActivationConfig(name="geglu"),
        meaning="gated by GELU",
        equation="gelu(x W_gate) * (x W_in)",
        source=_GLU,
        function="gelu",
        gated=True,
    ),
    ActivationRow(
        config=ActivationConfig(name="swiglu"),
        meaning="gated by SiLU, as in LLaMA",
        equation="silu(x W_gate) * (x W_in)",
        source=_GLU,
        function="silu",
        gated=True,
    ),
)

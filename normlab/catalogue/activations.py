"""Activations of the feed-forward layer. A row names its function in `normlab.model.activations`.

What each does to the size of its input is in `normlab.catalogue.activation_moments`.
"""

from dataclasses import dataclass

from normlab.config import ActivationConfig
from normlab.config.row import Row, table
from normlab.errors import require, require_one_of

_GLU = "Shazeer 2020, arXiv 2002.05202"


@dataclass(frozen=True, kw_only=True)
class SwishConfig(ActivationConfig):
    """Swish's slope."""

    #: The slope, at the start if it is learned.
    beta: float = 1.0
    #: `none`, or `scalar` for one learned slope a layer.
    learn: str = "none"

    def __post_init__(self) -> None:
        require(abs(self.beta) < float("inf"), "activation.beta", f"must be finite, got {self.beta}")
        require_one_of(self.learn, ("none", "scalar"), "activation.learn")


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

    #: Function in `normlab.model.activations`, (z, config) -> tensor of z's shape, or module (config).
    function: str
    gated: bool = False
    #: The ends of its range, where both are finite.
    bounds: tuple[float, float] | None = None

    @property
    def facts(self) -> dict[str, str]:
        from normlab.catalogue.activation_moments import moments  # which reads this table

        seen = moments(self.config)
        values = {"E f": seen.mean, "E f^2": seen.square, "gain": seen.gain, "chi": seen.chi}
        return {name: f"{round(value, 4) + 0.0:.4f}" for name, value in values.items()}  # no -0.0000


ACTIVATIONS: dict[str, ActivationRow] = table(
    ActivationRow(
        config=ActivationConfig(name="identity"),
        meaning="no activation: the layer is linear",
        equation="z",
        function="identity",
    ),
    ActivationRow(
        config=ActivationConfig(name="sigmoid"),
        meaning="logistic; bounded, and never centred",
        equation="1 / (1 + exp(-z))",
        source="Rumelhart, Hinton, Williams 1986",
        function="sigmoid",
        bounds=(0, 1),
    ),
    ActivationRow(
        config=ActivationConfig(name="tanh"),
        meaning="hyperbolic tangent; bounded",
        equation="tanh(z)",
        source="LeCun et al. 1998",
        function="tanh",
        bounds=(-1, 1),
    ),
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
        equation="z if z > 0 else slope * z",
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
        config=ActivationConfig(name="silu"),
        meaning="sigmoid-weighted linear unit: swish with beta 1",
        equation="z * sigmoid(z)",
        source="Elfwing, Uchibe, Doya 2017, arXiv 1702.03118",
        function="silu",
    ),
    ActivationRow(
        config=SwishConfig(name="swish"),
        meaning="SiLU with a slope inside, fixed or learned",
        equation="z * sigmoid(beta * z)",
        source="Ramachandran, Zoph, Le 2017, arXiv 1710.05941",
        function="Swish",
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
        config=ActivationConfig(name="relu2"),
        meaning="squared rectifier, as in Primer and Nemotron-4; grows with the square of its weights",
        equation="max(0, z)^2",
        source="So et al. 2021 (Primer), arXiv 2109.08668",
        function="relu2",
    ),
    ActivationRow(
        config=ActivationConfig(name="erf"),
        meaning="error function; bounded",
        equation="2/sqrt(pi) * integral of exp(-t^2) from 0 to z",
        source="Williams 1998",
        function="erf",
        bounds=(-1, 1),
    ),
    ActivationRow(
        config=ActivationConfig(name="mish"),
        meaning="SiLU's shape from softplus and tanh",
        equation="z * tanh(log(1 + exp(z)))",
        source="Misra 2019, arXiv 1908.08681",
        function="mish",
    ),
    ActivationRow(
        config=ActivationConfig(name="softplus"),
        meaning="smooth rectifier; always above zero",
        equation="log(1 + exp(z))",
        source="Dugas et al. 2001",
        function="softplus",
    ),
    ActivationRow(
        config=ActivationConfig(name="glu"),
        meaning="gated by a sigmoid",
        equation="sigmoid(x W_gate) * (x W_in)",
        source=f"Dauphin et al. 2016, arXiv 1612.08083; {_GLU}",
        function="sigmoid",
        bounds=(0, 1),
        gated=True,
    ),
    ActivationRow(
        config=ActivationConfig(name="bilinear"),
        meaning="the product of two linear maps, without an activation",
        equation="(x W_gate) * (x W_in)",
        source=f"Mnih, Hinton 2007; {_GLU}",
        function="identity",
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
        config=ActivationConfig(name="geglu_tanh"),
        meaning="gated by GELU's tanh approximation, as in Gemma",
        equation="gelu_tanh(x W_gate) * (x W_in)",
        source=_GLU,
        function="gelu_tanh",
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

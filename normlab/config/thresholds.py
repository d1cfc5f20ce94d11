"""What counts as a divergence event: the thresholds of each detector."""

import math
from dataclasses import dataclass, field

from normlab.errors import at_least, fraction, not_negative, positive, require, require_one_of


@dataclass(frozen=True, kw_only=True)
class SpikeConfig:
    """A value far above its own recent past: robust z-score over a detrended window."""

    #: Values the baseline is made of.
    window: int = 64
    #: How many robust standard deviations above the trend make a spike. Of 9,000 batches, a trained model's
    #: losses on the oddest three are at 6.5, 6.6 and 8.1: that is the text, not the training.
    z: float = 10.0
    #: In a run whose noise has a heavy tail, `z` is raised to where a step lands with this probability.
    chance: float = 1e-7
    #: In the first 16 steps, which have no past: nats above the median of the last 3 losses. Healthy runs
    #: stay within 0.24.
    early: float = 1.0
    #: Loss and gradient both above this within `co_steps` make one too.
    co_z: float = 6.0
    co_steps: int = 5
    #: A gradient must also be this many times what was expected: an odd batch of text reaches 4, and healthy
    #: runs of 12 layers reach 6 for a step at a time, to no harm.
    grad_ratio: float = 8.0
    #: One place's gradient must be this many times its usual, beside the place that has risen second most:
    #: 28,000 healthy steps reach 1.9, in the first 40; lower layers rise together, and by much.
    alone_ratio: float = 4.0
    #: Consecutive outliers after which the new level is the baseline.
    rebaseline: int = 64

    def __post_init__(self) -> None:
        at_least(self.window, 8, "divergence.spike.window")
        positive(self.z, "divergence.spike.z")
        positive(self.co_z, "divergence.spike.co_z")
        positive(self.early, "divergence.spike.early")
        positive(self.chance, "divergence.spike.chance")
        require(self.chance < 1, "divergence.spike.chance", f"must be below 1, got {self.chance}")
        at_least(self.co_steps, 0, "divergence.spike.co_steps")
        for key in ("grad_ratio", "alone_ratio"):
            ratio = getattr(self, key)
            at_all = math.isfinite(ratio) and ratio >= 1
            require(at_all, f"divergence.spike.{key}", f"must be a finite number, 1 or more, got {ratio}")
        at_least(self.rebaseline, 2, "divergence.spike.rebaseline")


@dataclass(frozen=True, kw_only=True)
class ExplosionConfig:
    """The loss above ln V by `margin` nats for `steps` consecutive steps, or for half of a shorter run."""

    margin: float = 0.1
    steps: int = 50

    def __post_init__(self) -> None:
        not_negative(self.margin, "divergence.explosion.margin")
        at_least(self.steps, 1, "divergence.explosion.steps")


@dataclass(frozen=True, kw_only=True)
class SlowDivergenceConfig:
    """The median loss of `window` steps above the lowest such median so far, for `steps` consecutive steps.

    How far above: `margin` nats, or `z` standard errors of such a median where the loss is noisier than that.
    """

    window: int = 50
    margin: float = 0.1
    z: float = 6.0
    steps: int = 25
    #: The same for humps: the median of this many steps, for as many consecutive ones, `hump` nats above the
    #: lowest.
    short: int = 16
    hump: float = 0.5

    def __post_init__(self) -> None:
        at_least(self.window, 4, "divergence.slow_divergence.window")
        positive(self.margin, "divergence.slow_divergence.margin")
        not_negative(self.z, "divergence.slow_divergence.z")
        at_least(self.steps, 1, "divergence.slow_divergence.steps")
        at_least(self.short, 4, "divergence.slow_divergence.short")
        positive(self.hump, "divergence.slow_divergence.hump")


@dataclass(frozen=True, kw_only=True)
class PlateauConfig:
    """The median loss of `window` steps within `tolerance` nats of a floor of the text, and flat."""

    tolerance: float = 0.1
    window: int = 50
    #: Steps after the warm-up before a plateau counts.
    grace: int = 100
    #: Largest fall, in nats, from the first to the second half of the window that still counts as flat; over
    #: twice the window, from the first to the last quarter, it is `tolerance`.
    flat: float = 0.05
    #: Steps for which a loss must be flat, from the first quarter to the last, where it is above the unigram
    #: entropy and near no floor.
    long_window: int = 150

    def __post_init__(self) -> None:
        positive(self.tolerance, "divergence.plateau.tolerance")
        at_least(self.window, 2, "divergence.plateau.window")
        at_least(self.grace, 0, "divergence.plateau.grace")
        positive(self.flat, "divergence.plateau.flat")
        require(
            self.long_window >= self.window,
            "divergence.plateau.long_window",
            f"must be at least divergence.plateau.window={self.window}, got {self.long_window}",
        )


@dataclass(frozen=True, kw_only=True)
class VanishingConfig:
    """A layer's gradient below `factor` times the least that the optimizer's step can feel (Adam's eps, say)
    for `steps` consecutive steps."""

    factor: float = 10.0
    steps: int = 20

    def __post_init__(self) -> None:
        positive(self.factor, "divergence.vanishing.factor")
        at_least(self.steps, 1, "divergence.vanishing.steps")


@dataclass(frozen=True, kw_only=True)
class FrozenConfig:
    """A place whose gradient, or whose update, is exactly 0 for `steps` consecutive steps."""

    steps: int = 20

    def __post_init__(self) -> None:
        at_least(self.steps, 1, "divergence.frozen.steps")


@dataclass(frozen=True, kw_only=True)
class EntropyCollapseConfig:
    """A layer's attention entropy below `share` of the largest there can be for `steps` consecutive steps.

    Measured at depth 4 to 6: 0.4 or more after 1,000 healthy steps; 0.00 in the first layer at a rate 12
    times as high, where the loss stays 0.9 nats above.
    """

    share: float = 0.05
    steps: int = 20

    def __post_init__(self) -> None:
        fraction(self.share, "divergence.entropy_collapse.share")
        at_least(self.steps, 1, "divergence.entropy_collapse.steps")


@dataclass(frozen=True, kw_only=True)
class LogitGrowthConfig:
    """A layer's largest attention logit above `limit` for `steps` consecutive steps.

    The limit is where Wortsman et al. (arXiv 2309.14322) see harm. Measured at depth 4 to 6: up to 28 in
    1,000 healthy steps; above 1,000 by step 150, and 15,000 at the end, at a rate 12 times as high.
    """

    limit: float = 1e3
    steps: int = 20

    def __post_init__(self) -> None:
        positive(self.limit, "divergence.logit_growth.limit")
        at_least(self.steps, 1, "divergence.logit_growth.steps")


@dataclass(frozen=True, kw_only=True)
class MassiveActivationConfig:
    """At least `count` massive activations in the stream after a layer for `steps` consecutive steps."""

    count: int = 1
    steps: int = 20

    def __post_init__(self) -> None:
        at_least(self.count, 1, "divergence.massive_activation.count")
        at_least(self.steps, 1, "divergence.massive_activation.steps")


@dataclass(frozen=True, kw_only=True)
class DivergenceConfig:
    """What counts as a divergence event, and what to do then."""

    name: str = "standard"
    #: `record` keeps training; `stop` ends the run at the first event that decides its outcome.
    action: str = "record"
    spike: SpikeConfig = field(default_factory=SpikeConfig)
    explosion: ExplosionConfig = field(default_factory=ExplosionConfig)
    slow_divergence: SlowDivergenceConfig = field(default_factory=SlowDivergenceConfig)
    plateau: PlateauConfig = field(default_factory=PlateauConfig)
    vanishing: VanishingConfig = field(default_factory=VanishingConfig)
    frozen: FrozenConfig = field(default_factory=FrozenConfig)
    entropy_collapse: EntropyCollapseConfig = field(default_factory=EntropyCollapseConfig)
    logit_growth: LogitGrowthConfig = field(default_factory=LogitGrowthConfig)
    massive_activation: MassiveActivationConfig = field(default_factory=MassiveActivationConfig)

    def __post_init__(self) -> None:
        require_one_of(self.action, ("record", "stop"), "divergence.action")

"""What is measured, where it is sent, and faults put in to see whether they are found."""

from dataclasses import dataclass, field

from normlab.errors import at_least, positive, require_one_of

#: What `measure` has a cadence for.
MEASURED = (
    "grad_norm",
    "grad_stream",
    "stream",
    "update",
    "gain",
    "norm",
    "batchnorm",
    "attention",
    "hidden",
    "output",
    "covariate_shift",
)
#: What `measure` has passes of its own for, and when: never, with the last evaluation, with every one.
PASSES = ("ablation", "sharpness", "noise_scale", "growth")
WHEN = ("never", "end", "eval")
TRACKER_MODES = ("auto", "online", "offline", "disabled")
#: What `fault.kind` may be.
FAULT_KINDS = ("none", "nan_activation", "nan_gradient", "gradient_scale", "lr_jump", "frozen_embedding")


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """What is measured, and when. None of it changes the training.

    First, steps from one measurement to the next, 0 for never. What takes passes of its own, from `ablation`
    on, is measured `never`, at the `end` or at every `eval` (evaluation).
    """

    name: str = "standard"
    #: Gradient norm of every layer and kind of parameter.
    grad_norm: int = 1
    #: Norm of the gradient with respect to the residual stream, at every block.
    grad_stream: int = 20
    #: Size and shape of the residual stream after each sub-layer, share of the branch, likeness of blocks.
    stream: int = 20
    #: Relative size of the updates, their direction, gradients against the least that the optimizer feels.
    update: int = 20
    #: Mean, least and largest gain of each layer's norms.
    gain: int = 20
    #: Saturation of the norms that are curves: dyt, derf, isru.
    norm: int = 20
    #: Batch against running statistics, and the loss with these: batchnorm, powernorm.
    batchnorm: int = 20
    #: Largest attention logits and entropy.
    attention: int = 20
    #: Dead, dormant and saturated units of the feed-forward layers.
    hidden: int = 20
    #: Normalizer and largest of the output's logits, tail of the token losses.
    output: int = 10
    #: Change of mean and variance of each sub-layer's input by one step; takes a forward pass of its own.
    covariate_shift: int = 0
    #: Rise of the validation loss with a block left out, and with it and the next one swapped.
    ablation: str = "never"
    #: How much longer a step may be before it raises its batch's loss.
    sharpness: str = "never"
    #: Variance of the gradient against its square, from micro-batches: needs train.accumulation=2 or more.
    noise_scale: str = "never"
    #: Growth of the residual stream and of its gradient from block to block.
    growth: str = "never"
    #: Latest steps that are kept in memory, and written to `events/` when an event comes; 0 for none.
    ring: int = 64

    def __post_init__(self) -> None:
        for key in (*MEASURED, "ring"):
            at_least(getattr(self, key), 0, f"measure.{key}")
        for key in PASSES:
            require_one_of(getattr(self, key), WHEN, f"measure.{key}")


@dataclass(frozen=True, kw_only=True)
class TrackerConfig:
    """wandb. `auto` follows WANDB_MODE, else is online with an API key and offline without."""

    name: str = "wandb"
    mode: str = "auto"
    project: str = "normlab"
    entity: str | None = None
    tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        require_one_of(self.mode, TRACKER_MODES, "tracker.mode")


@dataclass(frozen=True, kw_only=True)
class FaultConfig:
    """A fault put into the run on purpose, to see whether it is found."""

    kind: str = "none"
    #: When it happens; a frozen embedding stays so.
    step: int = 100
    #: The block, from 0, of the kinds that have one.
    layer: int = 0
    #: What gradient_scale and lr_jump multiply by.
    factor: float = 1000.0

    def __post_init__(self) -> None:
        require_one_of(self.kind, FAULT_KINDS, "fault.kind")
        at_least(self.step, 0, "fault.step")
        at_least(self.layer, 0, "fault.layer")
        positive(self.factor, "fault.factor")

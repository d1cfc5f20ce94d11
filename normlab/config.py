"""What a run is made of: a tree of frozen dataclasses, with every default and every range check.

The field names are the words of the command line, of `config.yaml` and of wandb. Groups that have a table
of variants (`norm`, `placement`, ...) take a row of it; `conf/config.yaml` names the default rows.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Self

from normlab import laws
from normlab.errors import ConfigError, require, require_one_of
from normlab.placement import PROJECTIONS as PROJECTIONS
from normlab.placement import WEIGHTS as WEIGHTS
from normlab.placement import ExceptionConfig as ExceptionConfig
from normlab.placement import PlacementConfig as PlacementConfig
from normlab.ranges import at_least, fraction, not_negative, positive
from normlab.sublayer import SCALES as SCALES
from normlab.sublayer import SUBLAYER_WORDS as SUBLAYER_WORDS
from normlab.sublayer import ScaleConfig as ScaleConfig
from normlab.sublayer import SublayerConfig as SublayerConfig
from normlab.thresholds import DivergenceConfig as DivergenceConfig
from normlab.thresholds import EntropyCollapseConfig as EntropyCollapseConfig
from normlab.thresholds import ExplosionConfig as ExplosionConfig
from normlab.thresholds import FrozenConfig as FrozenConfig
from normlab.thresholds import LogitGrowthConfig as LogitGrowthConfig
from normlab.thresholds import MassiveActivationConfig as MassiveActivationConfig
from normlab.thresholds import PlateauConfig as PlateauConfig
from normlab.thresholds import SlowDivergenceConfig as SlowDivergenceConfig
from normlab.thresholds import SpikeConfig as SpikeConfig
from normlab.thresholds import VanishingConfig as VanishingConfig

POSITIONS = ("learned", "rope", "sinusoidal", "alibi", "none")
PRECISIONS = ("fp32", "bf16", "fp64")
PARALLELS = ("ddp", "fsdp")
DEVICES = ("auto", "cpu", "cuda", "mps")
TRACKER_MODES = ("auto", "online", "offline", "disabled")
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
)
#: What `measure` has passes of its own for, and when: never, with the last evaluation, with every one.
PASSES = ("ablation", "sharpness", "noise_scale", "growth")
WHEN = ("never", "end", "eval")
#: Which parameters `optimizer.weight_decay` takes hold of.
DECAYS = ("all", "matrices", "no_norms", "no_embeddings")


def _nearest_divisor(of: int, wanted: int) -> int:
    return min((n for n in range(1, of + 1) if of % n == 0), key=lambda n: abs(n - wanted))


@dataclass(frozen=True, kw_only=True)
class NormConfig:
    """A norm type; kinds with more settings extend this beside their row in `tables/norms.py`."""

    name: str
    eps: float = 1e-5
    #: Train a norm whose training statistics mix tokens, though predictions can then see the future.
    allow_leaky: bool = False

    def __post_init__(self) -> None:
        not_negative(self.eps, "norm.eps")

    def at(self, site: str) -> Self:
        """The settings of the norms at a site: `attn`, `ffn`, `embedding` or `final`."""
        return self


@dataclass(frozen=True, kw_only=True)
class ActivationConfig:
    """An activation; kinds with more settings extend this beside their row in `tables/activations.py`."""

    name: str


@dataclass(frozen=True, kw_only=True)
class FFNConfig:
    """The feed-forward width: `ratio` times the model's; two thirds of that if gated, up to a multiple."""

    ratio: float = 4.0
    multiple_of: int = 8

    def __post_init__(self) -> None:
        positive(self.ratio, "model.ffn.ratio")
        at_least(self.multiple_of, 1, "model.ffn.multiple_of")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The GPT around the norms."""

    name: str = "gpt"
    width: int = 64
    heads: int = 4
    #: Heads of keys and values, each shared by several of queries (grouped-query attention); 0 for `heads`.
    kv_heads: int = 0
    #: Tokens a sequence.
    context: int = 64
    ffn: FFNConfig = field(default_factory=FFNConfig)
    positions: str = "learned"
    rope_base: float = 10000.0
    #: Share of each head that is turned (partial rotary).
    rope_fraction: float = 1.0
    #: Laws (of depth and width) that multiply the token embedding and the logits.
    embedding_scale: str = "1"
    #: Whether the embedding's factor is one learned number, with that law's value at the start.
    embedding_scale_learn: bool = False
    logit_scale: str = "1"
    #: Logits become cap * tanh(logits / cap); 0 for no cap.
    logit_softcap: float = 0.0
    #: Share the embedding's matrix with the output head.
    tie: bool = False
    dropout: float = 0.0
    #: Biases on the linear layers of the blocks; norms have their own.
    bias: bool = False
    #: Biases on attention's; null for `bias`.
    attention_bias: bool | None = None
    #: A bias on the output head.
    head_bias: bool = False

    def __post_init__(self) -> None:
        at_least(self.width, 1, "model.width")
        at_least(self.heads, 1, "model.heads")
        at_least(self.context, 2, "model.context")
        require(
            self.width % self.heads == 0,
            "model.width",
            f"{self.width} is not divisible by model.heads={self.heads}; "
            f"{_nearest_divisor(self.width, self.heads)} heads would do",
        )
        require_one_of(self.positions, POSITIONS, "model.positions")
        at_least(self.kv_heads, 0, "model.kv_heads")
        require(
            self.heads % (self.kv_heads or self.heads) == 0,
            "model.kv_heads",
            f"{self.kv_heads} does not divide model.heads={self.heads}; "
            f"{_nearest_divisor(self.heads, self.kv_heads)} would",
        )
        ok = 0 < self.rope_fraction <= 1
        require(ok, "model.rope_fraction", f"must be above 0 and up to 1, got {self.rope_fraction}")
        require(
            self.positions != "rope" or (self.rotary_width > 0 and self.rotary_width % 2 == 0),
            "model.positions",
            f"rope turns pairs, and {self.rotary_width} (model.rope_fraction of model.width / model.heads) "
            "is not an even number above 0",
        )
        not_negative(self.logit_softcap, "model.logit_softcap")
        for key in ("embedding_scale", "logit_scale"):
            try:
                laws.value(getattr(self, key), {"depth": 2, "width": self.width})
            except laws.LawError as error:
                raise ConfigError(f"model.{key}", str(error)) from None
        positive(self.rope_base, "model.rope_base")
        require(0 <= self.dropout < 1, "model.dropout", f"must be 0 or more and below 1, got {self.dropout}")

    @property
    def has_attention_bias(self) -> bool:
        return self.bias if self.attention_bias is None else self.attention_bias

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def kv_width(self) -> int:
        """Keys' (and values') width, all heads together."""
        return (self.kv_heads or self.heads) * self.head_width

    @property
    def rotary_width(self) -> int:
        """How much of a head rotary positions turn."""
        return int(self.rope_fraction * self.head_width)


@dataclass(frozen=True, kw_only=True)
class InitConfig:
    """The distribution of the initial weights; `gains` then scales or sets single projections."""

    name: str
    #: Multiplies the standard deviation of every matrix in the blocks.
    gain: float = 1.0
    #: `placement` for the placement's own gains, `none`, or a row of `tables/inits.py:GAINS`.
    gains: str = "placement"
    #: Standard deviation of the token embedding; null for the distribution's own.
    embedding_std: float | None = None
    #: Standard deviation of learned positions; null for that of the embeddings.
    position_std: float | None = None
    #: Standard deviation of the output head; null for the distribution's own.
    head_std: float | None = None
    #: Draw anew what lies further out than so many standard deviations; null to keep it.
    truncate: float | None = None

    def __post_init__(self) -> None:
        not_negative(self.gain, "init.gain")
        for key in ("embedding_std", "position_std", "head_std"):
            value = getattr(self, key)
            if value is not None:
                not_negative(value, f"init.{key}")
        require(
            self.truncate is None or (math.isfinite(self.truncate) and self.truncate >= 1),
            "init.truncate",
            f"must be a finite number, 1 or more, or null, got {self.truncate}",
        )


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which text, and how it becomes tokens. Each source extends this in `tables/datasets.py`."""

    name: str
    #: Which loader reads it: stdlib, text, hub or markov.
    source: str
    #: byte, char, bpe, or the path of a `tokenizer.json`.
    tokenizer: str = "byte"
    #: Vocabulary of a bpe tokenizer, trained on the training split.
    vocab_size: int = 1024
    #: Share of the text kept for validation.
    val_fraction: float = 0.05
    #: `document` (by a hash of each), `tail` (the end of the text), `auto` (document where there are 20).
    val_split: str = "auto"
    #: Read at most so many tokens; null for all.
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        at_least(self.vocab_size, 257, "data.vocab_size")
        fraction(self.val_fraction, "data.val_fraction")
        require_one_of(self.val_split, ("auto", "document", "tail"), "data.val_split")
        if self.max_tokens is not None:
            at_least(self.max_tokens, 1, "data.max_tokens")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """An optimizer; each row of `tables/optimizers.py` extends this."""

    name: str
    lr: float
    weight_decay: float = 0.0
    #: What decays: `all`, only `matrices` (with embeddings and head), all but norms, or all but embeddings.
    decay: str = "all"

    def __post_init__(self) -> None:
        positive(self.lr, "optimizer.lr")
        not_negative(self.weight_decay, "optimizer.weight_decay")
        require_one_of(self.decay, DECAYS, "optimizer.decay")


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The learning rate after the warm-up, as a share of `optimizer.lr`."""

    name: str


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When the state of a run is saved; it always is at the end, on an interrupt and after an evaluation with
    the lowest loss so far."""

    #: Steps between checkpoints.
    every: int = 100
    #: Minutes after which there is one at the latest; null for by steps alone.
    minutes: float | None = 10.0
    #: How many to keep, besides the best and the one before an event.
    keep: int = 2

    def __post_init__(self) -> None:
        at_least(self.every, 1, "train.checkpoint.every")
        if self.minutes is not None:
            positive(self.minutes, "train.checkpoint.minutes")
        at_least(self.keep, 1, "train.checkpoint.keep")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The training loop and the machine it runs on."""

    name: str = "default"
    steps: int = 300
    #: Sequences a step.
    batch_size: int = 16
    #: Micro-batches that `batch_size` is cut into.
    accumulation: int = 1
    #: Largest global gradient norm; null for no clipping.
    clip: float | None = None
    #: Weight of mean(log(Z)^2) beside the cross-entropy, Z the sum of the exponentials of a token's logits
    #: (PaLM, arXiv 2204.02311, has 1e-4). The loss that is logged is the cross-entropy alone.
    z_loss: float = 0.0
    precision: str = "fp32"
    device: str = "auto"
    compile: bool = False
    #: Keep only each block's input for the backward pass and run the block again there: memory for time.
    activation_checkpointing: bool = False
    #: How several processes hold the model: `ddp`, each all of it; `fsdp`, each its share.
    parallel: str = "ddp"
    #: CPU threads. `auto`: OMP_NUM_THREADS, else the cores, shared among all that trains there at once.
    threads: int | str = "auto"
    #: Steps between evaluations; the last step always has one.
    eval_every: int = 100
    #: Batches an evaluation.
    eval_batches: int = 8
    #: Steps between rows of `metrics.jsonl`.
    log_every: int = 1
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)

    def __post_init__(self) -> None:
        for key in ("steps", "batch_size", "accumulation", "eval_every", "eval_batches", "log_every"):
            at_least(getattr(self, key), 1, f"train.{key}")
        require(
            self.batch_size % self.accumulation == 0,
            "train.accumulation",
            f"{self.accumulation} does not divide train.batch_size={self.batch_size}",
        )
        if self.clip is not None:
            positive(self.clip, "train.clip")
        not_negative(self.z_loss, "train.z_loss")
        require_one_of(self.precision, PRECISIONS, "train.precision")
        require_one_of(self.device, DEVICES, "train.device")
        require_one_of(self.parallel, PARALLELS, "train.parallel")
        if self.threads != "auto":
            ok = isinstance(self.threads, int) and not isinstance(self.threads, bool) and self.threads >= 1
            require(ok, "train.threads", f"must be auto or 1 or more, got {self.threads}")
        require(
            not (self.precision == "fp64" and self.device == "mps"),
            "train.precision",
            "mps has no fp64; use train.device=cpu",
        )


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
    #: Relative size of the updates, their direction, gradients against the optimizer's eps.
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


#: What `fault.kind` may be.
FAULT_KINDS = ("none", "nan_activation", "nan_gradient", "gradient_scale", "lr_jump", "frozen_embedding")


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


#: What `sweep.retry` may be.
RETRIES = ("none", "failed")


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """The sweep a run belongs to."""

    #: A name fixes the sweep's folder, outputs/sweeps/NAME; null for the time.
    name: str | None = None
    #: Keys whose lists go together, first with first, instead of being crossed.
    zip: list[str] = field(default_factory=list)
    #: Or rows of settings, [{depth: 4, optimizer.lr: 1e-3}, ...]; crossed with the other lists.
    rows: list[dict[str, Any]] = field(default_factory=list)
    #: `failed` tries jobs again that failed when the sweep was run before, `none` leaves them.
    retry: str = "none"
    #: Start no further job once one has failed or was lost.
    fail_fast: bool = False

    def __post_init__(self) -> None:
        require_one_of(self.retry, RETRIES, "sweep.retry")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run, in full. Five knobs at the front, and the seed; the rest in groups."""

    norm: NormConfig
    placement: PlacementConfig
    activation: ActivationConfig
    #: Transformer blocks.
    depth: int = 12
    #: Steps of linear warm-up of the learning rate.
    warmup: int = 0
    seed: int = 0
    model: ModelConfig
    init: InitConfig
    data: DataConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    train: TrainConfig
    measure: MeasureConfig
    divergence: DivergenceConfig
    tracker: TrackerConfig
    fault: FaultConfig = field(default_factory=FaultConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)

    def __post_init__(self) -> None:
        at_least(self.depth, 1, "depth")
        at_least(self.warmup, 0, "warmup")
        require(0 <= self.seed < 2**63, "seed", f"must be 0 or more and below 2**63, got {self.seed}")
        require(
            self.warmup <= self.train.steps,
            "warmup",
            f"{self.warmup} is more than train.steps={self.train.steps}",
        )
        last = f"there is none; the last of depth={self.depth} is {self.depth - 1}"
        require(self.fault.layer < self.depth, "fault.layer", last)
        late = f"{self.fault.step} comes after the last step, which is {self.train.steps - 1}"
        require(self.fault.kind == "none" or self.fault.step < self.train.steps, "fault.step", late)
        self.placement.check(self.depth, self.model.width, self.train.steps)

"""The training: text, optimizer, schedule, checkpoints, the loop and its machine."""

from dataclasses import dataclass, field

from normlab.errors import at_least, fraction, not_negative, positive, require, require_one_of

PRECISIONS = ("fp32", "bf16", "fp64")
PARALLELS = ("ddp", "fsdp")
DEVICES = ("auto", "cpu", "cuda", "mps")
#: Which parameters `optimizer.weight_decay` takes hold of.
DECAYS = ("all", "matrices", "no_norms", "no_embeddings")
#: What is predicted: the next token (causal language modelling), or masked ones (masked language modelling).
OBJECTIVES = ("clm", "mlm")
#: How sequences fill the context: with text throughout, or of different lengths, the rest padding.
LENGTHS = ("packed", "padded")
#: What a model reads where there is no token.
PAD = -1


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which text, and how it becomes tokens. Each source extends this in `catalogue/datasets.py`."""

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
    #: Read at most this many tokens; null for all.
    max_tokens: int | None = None
    #: `clm` predicts the next token; `mlm` tokens that are masked (BERT, arXiv 1810.04805).
    objective: str = "clm"
    #: Share of each sequence that mlm predicts.
    mask_rate: float = 0.15
    #: `packed`: every sequence is as long as the context; `padded`: lengths drawn evenly up to that.
    lengths: str = "packed"
    #: Whether the statistics of a norm over several tokens count padding too; false for batchnorm alone.
    norms_see_padding: bool = True

    def __post_init__(self) -> None:
        at_least(self.vocab_size, 257, "data.vocab_size", most=10**6)
        fraction(self.val_fraction, "data.val_fraction")
        require_one_of(self.val_split, ("auto", "document", "tail"), "data.val_split")
        if self.max_tokens is not None:
            at_least(self.max_tokens, 1, "data.max_tokens")
        require_one_of(self.objective, OBJECTIVES, "data.objective")
        require_one_of(self.lengths, LENGTHS, "data.lengths")
        ok = 0 < self.mask_rate <= 1
        require(ok, "data.mask_rate", f"must be above 0 and up to 1, got {self.mask_rate}")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """An optimizer; each row of `catalogue/optimizers.py` extends this."""

    name: str
    lr: float
    weight_decay: float = 0.0
    #: What decays: `all`, only `matrices` (with embeddings and head), all but norms, or all but embeddings.
    #: A gain that decays is pulled to 0, and with it what it scales.
    decay: str = "matrices"

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

    #: Steps between checkpoints; null for none by steps.
    every: int | None = 100
    #: Minutes after which there is one at the latest; null for none by time.
    minutes: float | None = 10.0
    #: How many to keep, besides the best and the one before an event.
    keep: int = 2

    def __post_init__(self) -> None:
        ok = self.every is None or self.every >= 1
        problem = f"must be 1 or more, or null for no checkpoint by steps, got {self.every}"
        require(ok, "train.checkpoint.every", problem)
        if self.minutes is not None:
            positive(self.minutes, "train.checkpoint.minutes")
        at_least(self.keep, 1, "train.checkpoint.keep")


#: The largest counts of `train` that make sense on any machine.
_MOST = {
    "steps": 10**9,
    "batch_size": 10**6,
    "accumulation": 10**6,
    "processes": 1024,
    "eval_every": 10**9,
    "eval_batches": 10**6,
    "log_every": 10**9,
}
#: Threads of one process: more than any machine has cores.
_MOST_THREADS = 4096


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
    #: Processes that train the run together, on one machine; 1 under torchrun, which starts them itself.
    processes: int = 1
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
        for key, most in _MOST.items():
            at_least(getattr(self, key), 1, f"train.{key}", most)
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
            fits = isinstance(self.threads, str) or self.threads <= _MOST_THREADS
            require(fits, "train.threads", f"must be {_MOST_THREADS} or less, got {self.threads}")
        require(
            not (self.precision == "fp64" and self.device == "mps"),
            "train.precision",
            "mps has no fp64; use train.device=cpu",
        )

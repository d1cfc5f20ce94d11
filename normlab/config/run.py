"""One run: all settings together, and the sweep that it belongs to."""

from dataclasses import dataclass, field
from typing import Any

from normlab.config.measuring import FaultConfig, MeasureConfig, TrackerConfig
from normlab.config.model import ActivationConfig, InitConfig, ModelConfig, NormConfig
from normlab.config.placement import PlacementConfig
from normlab.config.thresholds import DivergenceConfig
from normlab.config.training import DataConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from normlab.errors import at_least, require, require_one_of

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
        at_least(self.depth, 1, "depth", most=10_000)
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

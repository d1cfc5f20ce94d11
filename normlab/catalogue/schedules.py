"""Learning-rate schedules after the warm-up. A row names its function in `normlab.training.schedules`."""

from dataclasses import dataclass

from normlab.config import ScheduleConfig
from normlab.config.row import Row, table
from normlab.errors import require


@dataclass(frozen=True, kw_only=True)
class DecayConfig(ScheduleConfig):
    """A schedule that falls to a share of `optimizer.lr`, which the step after the last would have."""

    final: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.final <= 1, "schedule.final", f"must lie between 0 and 1, got {self.final}")


@dataclass(frozen=True, kw_only=True)
class WSDConfig(DecayConfig):
    """Warm-up, stable, decay."""

    #: Share of all steps that the decay takes.
    decay: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.decay <= 1, "schedule.decay", f"must be above 0 and at most 1, got {self.decay}")


@dataclass(frozen=True, kw_only=True)
class ScheduleRow(Row[ScheduleConfig]):
    """A schedule."""

    #: Function in `normlab.training.schedules`: (step, warmup, steps, config) -> share of the rate.
    function: str
    #: Whether the rate depends on how many steps there will be.
    by_steps: bool = False


SCHEDULES: dict[str, ScheduleRow] = table(
    ScheduleRow(
        config=ScheduleConfig(name="constant"),
        meaning="the full rate after the warm-up",
        equation="1",
        function="constant",
    ),
    ScheduleRow(
        config=DecayConfig(name="cosine"),
        meaning="half a cosine down to `final`, which the step after the last would have",
        equation="final + (1 - final) * (1 + cos(pi * t)) / 2, t = (step - warmup) / (steps - warmup)",
        source="Loshchilov, Hutter 2016, arXiv 1608.03983",
        function="cosine",
        by_steps=True,
    ),
    ScheduleRow(
        config=DecayConfig(name="linear"),
        meaning="a straight line down to `final`, which the step after the last would have",
        equation="1 - (1 - final) * t, t = (step - warmup) / (steps - warmup)",
        function="linear",
        by_steps=True,
    ),
    ScheduleRow(
        config=WSDConfig(name="wsd"),
        meaning="constant, then a straight line down over the last `decay` of the steps",
        equation="min(1, 1 - (1 - final) * (step - start) / (steps - start)), start = (1 - decay) * steps",
        source="Hu et al. 2024 (MiniCPM), arXiv 2404.06395; Haegele et al. 2024, arXiv 2405.18392",
        function="wsd",
        by_steps=True,
    ),
    ScheduleRow(
        config=ScheduleConfig(name="inverse_sqrt"),
        meaning="falls with the square root of the step, as in the first Transformer",
        equation="sqrt(max(warmup, 1) / (step + 1))",
        source="Vaswani et al. 2017, arXiv 1706.03762",
        function="inverse_sqrt",
    ),
)

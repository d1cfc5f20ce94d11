"""A loss that rises, without a jump, from the best it has been."""

import math
from dataclasses import dataclass, field
from statistics import median

from normlab.config import DivergenceConfig
from normlab.divergence.bands import Bands
from normlab.divergence.detector import Detector
from normlab.divergence.event import Event, Facts
from normlab.divergence.fold import Values, number
from normlab.divergence.robust import SIGMA, clip

#: The standard error of a median of n normal values, in standard deviations / sqrt(n).
OF_A_MEDIAN = math.sqrt(math.pi / 2)


@dataclass
class State:
    #: The last finite losses, the oldest first.
    losses: list[float] = field(default_factory=list)
    #: The lowest level so far, and its row.
    best: float | None = None
    best_step: int = 0
    #: The first of the rows on end that are above it by too much.
    since: int | None = None
    #: The level at which the event is over.
    back: float = 0.0
    event: Event | None = None


class SlowDivergence(Detector):
    """Opens when the level of the loss, its median over `window` rows, has been above its lowest so far for
    `steps` steps on end, by `margin` nats and by `z` standard errors of a level; over when half of that rise
    is lost again. A spike moves no median, and one shorter than `steps` is over before it counts.
    """

    state: State

    def __init__(self, config: DivergenceConfig, facts: Facts, bands: Bands) -> None:
        super().__init__(config, facts, bands)
        self.settings = config.slow_divergence
        self.state = State()

    def update(self, row: Values) -> list[Event]:
        state, loss, step = self.state, number(row, "loss"), row["step"]
        if loss is None:
            return []
        state.losses.append(clip(loss))
        del state.losses[: -self.settings.window]
        if len(state.losses) < self.settings.window:
            return []
        level = median(state.losses)
        if state.best is None or level < state.best:
            state.best, state.best_step = level, step
        if state.event is not None:
            if level > state.back:
                return []
            event, state.event, state.since = state.event, None, None
            return [event.over(step)]
        rise = level - state.best
        if rise <= self.settings.margin or rise <= (least := self._least(level)):
            state.since = None
            return []
        state.since = step if state.since is None else state.since
        if step - state.since < self.settings.steps - 1:
            return []
        state.back = state.best + least / 2
        # The median of the last rows lags behind the loss by half of them.
        began = state.since - self.settings.window // 2
        state.event = self.bands.ranked(self._event(step, level, state.best + least), began)
        return [state.event]

    def _least(self, level: float) -> float:
        """The rise that is more than noise, in nats."""
        scatter = SIGMA * median([abs(loss - level) for loss in self.state.losses])
        error = OF_A_MEDIAN * scatter / math.sqrt(len(self.state.losses))
        return max(self.settings.margin, self.settings.z * error)

    def _event(self, step: int, level: float, limit: float) -> Event:
        return Event(
            step=step,
            kind="slow_divergence",
            metric="loss",
            value=level,
            threshold=limit,
            message=(
                f"the median of the last {self.settings.window} losses is {level:.4g}, and for "
                f"{self.settings.steps} steps on end it has been above {limit:.4g}; its best was "
                f"{self.state.best:.4g} at step {self.state.best_step}"
            ),
        )

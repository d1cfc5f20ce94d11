"""A loss that has risen from the best it has been, and stays there: slowly, or by a jump that noise hid."""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from normlab.config import DivergenceConfig
from normlab.divergence.bands import Bands
from normlab.divergence.detector import Detector
from normlab.divergence.event import Event, RunFacts
from normlab.divergence.fold_state import LATER, Values, number
from normlab.divergence.robust import SIGMA, clip

#: The standard error of a median of n normal values, in standard deviations / sqrt(n).
OF_A_MEDIAN = math.sqrt(math.pi / 2)


@dataclass
class SlowDivergenceState:
    #: The last finite losses, the oldest first.
    losses: list[float] = field(default_factory=list)
    #: The lowest level so far, and its row.
    best: float | None = None
    best_step: int = 0
    #: The first of the consecutive rows that are above it by too much.
    since: int | None = None
    #: The level at which the event is over.
    back: float = 0.0
    event: Event | None = None
    #: The same three of the level over the short window; and the window whose level the event is of.
    short_best: float | None = field(default=None, metadata={LATER: True})
    short_best_step: int = field(default=0, metadata={LATER: True})
    short_since: int | None = field(default=None, metadata={LATER: True})
    opened: int | None = field(default=None, metadata={LATER: True})


class SlowDivergence(Detector):
    """Opens when a level of the loss has been above its lowest so far for some consecutive steps, by a margin
    and by `z` standard errors of such a level; over when half of that rise is lost again, and the first
    level is within its limit.

        level                   margin          consecutive steps
        median of `window`      `margin`        `steps`         a loss that creeps up and stays
        median of `short`       `hump`          `short`         a hump, which the first is too slow for

    A spike moves no median, and one shorter than half of a window is over before it counts.
    """

    state: SlowDivergenceState

    def __init__(self, config: DivergenceConfig, facts: RunFacts, bands: Bands) -> None:
        super().__init__(config, facts, bands)
        self.settings = config.slow_divergence
        self.state = SlowDivergenceState()

    def update(self, row: Values) -> list[Event]:
        state, loss, step = self.state, number(row, "loss"), row["step"]
        if loss is None:
            return []
        state.losses.append(clip(loss))
        del state.losses[: -max(self.settings.window, self.settings.short)]
        self._learn(step)
        if state.event is not None:
            return self._stay(step)
        # Both are kept up to date, also where the first of them opens the event.
        limits = {window: self._limit(step, window) for window in (self.settings.window, self.settings.short)}
        window, limit = next(((w, limit) for w, limit in limits.items() if limit is not None), (0, None))
        return [] if limit is None else [self._open(step, window, limit)]

    def _learn(self, step: int) -> None:
        """Keep the lowest levels."""
        state = self.state
        level = self._level(self.settings.window)
        if level is not None and (state.best is None or level < state.best):
            state.best, state.best_step = level, step
        level = self._level(self.settings.short)
        if level is not None and (state.short_best is None or level < state.short_best):
            state.short_best, state.short_best_step = level, step

    def _level(self, window: int) -> float | None:
        losses = self.state.losses
        return median(losses[-window:]) if len(losses) >= window else None

    def _best(self, window: int) -> tuple[float | None, int]:
        state = self.state
        if window == self.settings.window:
            return state.best, state.best_step
        return state.short_best, state.short_best_step

    def _limit(self, step: int, window: int) -> float | None:
        """The level that has been passed for long enough, else None."""
        state, settings = self.state, self.settings
        limit = self._passed(window)
        if window == settings.window:
            since = state.since = None if limit is None else step if state.since is None else state.since
            steps = settings.steps
        else:
            since = None if limit is None else step if state.short_since is None else state.short_since
            state.short_since, steps = since, settings.short
        return limit if since is not None and step - since >= steps - 1 else None

    def _passed(self, window: int) -> float | None:
        """The limit that the level is above now, else None."""
        level, (best, _) = self._level(window), self._best(window)
        margin = self.settings.margin if window == self.settings.window else self.settings.hump
        if level is None or best is None or level - best <= margin:
            return None
        least = max(margin, self.settings.z * self._error(window))
        return best + least if level - best > least else None

    def _error(self, window: int) -> float:
        """The standard error of a level, in nats: by differences of neighbours, which no trend widens."""
        steps = [after - before for before, after in pairwise(self.state.losses)]
        middle = median(steps)
        scatter = SIGMA * median([abs(step - middle) for step in steps]) / math.sqrt(2)
        return OF_A_MEDIAN * scatter / math.sqrt(window)

    def _stay(self, step: int) -> list[Event]:
        state, event = self.state, self.state.event
        assert event is not None
        level = self._level(state.opened or self.settings.window)
        if level is None or level > state.back or self._passed(self.settings.window) is not None:
            return []
        state.event = state.since = state.short_since = state.opened = None
        return [event.over(step)]

    def _open(self, step: int, window: int, limit: float) -> Event:
        state, (best, best_step), level = self.state, self._best(window), self._level(window)
        assert best is not None and level is not None
        state.back, state.opened = (best + limit) / 2, window
        since = state.since if window == self.settings.window else state.short_since
        assert since is not None
        event = Event(
            step=step,
            kind="slow_divergence",
            metric="loss",
            value=level,
            threshold=limit,
            message=(
                f"the median of the last {window} losses is {level:.4g}, and for {step - since + 1} steps on "
                f"end it has been above {limit:.4g}; its best was {best:.4g} at step {best_step}"
            ),
        )
        # The median of the last rows lags behind the loss by half of them.
        state.event = self.bands.ranked(event, since - window // 2)
        return state.event

"""A loss that stands still where a model knows nothing of context: at the unigram entropy or above it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from normlab.config import DivergenceConfig
from normlab.divergence.bands import Bands
from normlab.divergence.detector import Detector
from normlab.divergence.event import Event, Facts
from normlab.divergence.fold import Values, number

UNIGRAM, UNIFORM = "unigram", "uniform"
#: Not at a floor, but above the unigram entropy.
BETWEEN = "between"


@dataclass
class State:
    #: The last finite losses, the oldest first.
    losses: list[float] = field(default_factory=list)
    event: Event | None = None
    #: The levels between which the event lasts.
    low: float = 0.0
    high: float | None = None


class Plateau(Detector):
    """Opens, `grace` steps after the warm-up on, when the median of the last `window` losses is flat, and

        within `tolerance` of the unigram entropy: only frequencies are learnt;
        within `tolerance` of ln V, or above it:   nothing is learnt (collapse);
        anywhere between, flat for `long_window`:  not even the frequencies are learnt.

    Flat: the median of the window's second half is not below the first's by more than `flat`, and that of
    the last quarter of two windows not below the first's by more than `tolerance`. A loss on its way down
    passes a floor quickly, but can be slow anywhere else; hence the long window, whose last quarter must not
    be below its first by more than `flat`.

    Over when the level has left by `tolerance` + `flat` (upwards only from the unigram entropy); the
    difference keeps noise from ending it. Medians, since a stuck model may have spikes of many nats and be as
    stuck as before.
    """

    state: State

    def __init__(self, config: DivergenceConfig, facts: Facts, bands: Bands) -> None:
        super().__init__(config, facts, bands)
        self.settings = config.plateau
        self.state = State()
        self.ripe = facts.warmup + self.settings.grace
        self.keep = max(self.settings.long_window, 2 * self.settings.window)

    def update(self, row: Values) -> list[Event]:
        losses, loss, step = self.state.losses, number(row, "loss"), row["step"]
        if loss is None or UNIGRAM not in self.facts.floors:
            return []
        losses.append(loss)
        del losses[: -self.keep]
        if len(losses) < self.settings.window or (step < self.ripe and self.state.event is None):
            return []
        level = median(losses[-self.settings.window :])
        if self.state.event is not None:
            return self._stay(step, level)
        floor = self._floor(level)
        if floor is None or not self._flat(step, floor):
            return []
        return [self._open(step, level, floor)]

    def _floor(self, level: float) -> str | None:
        """Where the level lies, or None for below all of these."""
        floors, tolerance = self.facts.floors, self.settings.tolerance
        if abs(level - floors[UNIGRAM]) <= tolerance:
            return UNIGRAM
        if level < floors[UNIGRAM]:
            return None
        return UNIFORM if UNIFORM in floors and level >= floors[UNIFORM] - tolerance else BETWEEN

    def _flat(self, step: int, floor: str) -> bool:
        settings, losses = self.settings, self.state.losses
        if floor != BETWEEN:
            falls = fall(losses[-settings.window :], 2), fall(losses[-2 * settings.window :], 4)
            return falls[0] <= settings.flat and falls[1] <= settings.tolerance
        ripe = step >= self.ripe + settings.long_window - settings.window
        losses = losses[-settings.long_window :]
        return ripe and len(losses) == settings.long_window and fall(losses, 4) <= settings.flat

    def _stay(self, step: int, level: float) -> list[Event]:
        state, event = self.state, self.state.event
        assert event is not None
        if state.low <= level and (state.high is None or level <= state.high):
            return []
        state.event = None
        return [event.over(step)]

    def _open(self, step: int, level: float, floor: str) -> Event:
        state, settings = self.state, self.settings
        at = self.facts.floors.get(floor, level)
        room = settings.tolerance + settings.flat
        state.low, state.high = at - room, at + room if floor == UNIGRAM else None
        limit = (
            at - settings.tolerance if floor == UNIFORM else self.facts.floors[UNIGRAM] + settings.tolerance
        )
        told = "the median of the last {window} losses is {level:.4g} and no longer falls; " + WORDS[floor]
        state.event = Event(
            step=step,
            kind="plateau",
            metric="loss",
            value=level,
            threshold=limit,
            message=told.format(window=settings.window, level=level, **self.facts.floors),
        )
        return state.event


#: What it means, with the floors of the text.
WORDS = {
    UNIGRAM: (
        "the unigram entropy is {unigram:.4g}: the model has learnt how frequent tokens are, and hardly more"
    ),
    UNIFORM: "a guess among all tokens costs {uniform:.4g}: the model has collapsed and does no better",
    BETWEEN: (
        "the unigram entropy is {unigram:.4g}: the model does worse than with the frequencies of tokens alone"
    ),
}


def fall(losses: Sequence[float], parts: int) -> float:
    """From the median of the first of so many parts to that of the last."""
    size = max(len(losses) // parts, 1)
    return median(losses[:size]) - median(losses[-size:])

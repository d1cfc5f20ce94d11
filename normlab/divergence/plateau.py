"""A loss that stands still at an entropy of the text, or where a model knows nothing of context."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from normlab.config import DivergenceConfig
from normlab.divergence.bands import Bands
from normlab.divergence.detector import Detector
from normlab.divergence.event import Event, RunFacts
from normlab.divergence.fold_state import Values, number

UNIGRAM, UNIFORM, BIGRAM = "unigram", "uniform", "bigram"
#: Not at a floor, but above the unigram entropy; and below it, by up to twice the tolerance.
BETWEEN, BELOW = "between", "below"
#: Where standing still needs the long window: a loss on its way down can be slow there.
SLOW = (BETWEEN, BELOW, BIGRAM)
#: Of a long run, the share that the long window is, and how many times `long_window` at most.
SHARE, MOST = 0.4, 4


@dataclass
class PlateauState:
    #: The last finite losses, the oldest first.
    losses: list[float] = field(default_factory=list)
    event: Event | None = None
    #: The levels between which the event lasts.
    low: float = 0.0
    high: float | None = None


class Plateau(Detector):
    """Opens, `grace` steps after the warm-up on, when the median of the last `window` losses is flat, and

        within `tolerance` of ln V, or above it:      nothing is learnt (collapse);
        within `tolerance` of the unigram entropy:    only frequencies are learnt;
        within `tolerance` of the bigram entropy,     only what the token before says is learnt (the outcome
            flat for the long window:                 leaves that alone);
        below the unigram entropy by no more than     hardly more than frequencies are learnt;
            2 `tolerance`, flat for the long window:
        anywhere above it, flat for the long window:  not even the frequencies are learnt.

    Flat: the median of the window's second half is not below the first's by more than `flat`, and that of the
    last quarter of two windows not below the first's by more than `tolerance`. Nor is either above it by more
    than `tolerance`: a loss that rises through a floor is no more stuck than one that falls through it. A
    loss on its way down passes a floor quickly, but can be slow anywhere else; hence the long window, whose
    last quarter must not be below its first by more than `flat`. It is `long_window` steps, or 0.4 of a run
    where that is more, up to 4 `long_window`; at the bigram entropy, by which many a healthy run is slow,
    2 `long_window` at least.

    Over when the level has fallen by `tolerance` + `flat` from the floor, or from where it was (at the
    unigram and the bigram entropy, when it has risen by as much too); the difference keeps noise from ending
    it.
    Medians, since a stuck model may have spikes of many nats and be as stuck as before.
    """

    state: PlateauState

    def __init__(self, config: DivergenceConfig, facts: RunFacts, bands: Bands) -> None:
        super().__init__(config, facts, bands)
        self.settings = config.plateau
        self.state = PlateauState()
        self.ripe = facts.warmup + self.settings.grace
        least = self.settings.long_window
        self.long = min(max(least, int(SHARE * facts.steps)), MOST * least)
        self.longer = max(self.long, 2 * least)
        self.keep = max(self.longer, 2 * self.settings.window)

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
        if floor is None or not self._is_flat(step, floor):
            return []
        return [self._open(step, level, floor)]

    def _floor(self, level: float) -> str | None:
        """Where the level lies, or None for nowhere that says anything."""
        floors, tolerance = self.facts.floors, self.settings.tolerance
        if abs(level - floors[UNIGRAM]) <= tolerance:
            return UNIGRAM
        if level > floors[UNIGRAM]:
            return UNIFORM if UNIFORM in floors and level >= floors[UNIFORM] - tolerance else BETWEEN
        if level >= floors[UNIGRAM] - 2 * tolerance:
            return BELOW
        return BIGRAM if BIGRAM in floors and abs(level - floors[BIGRAM]) <= tolerance else None

    def _is_flat(self, step: int, floor: str) -> bool:
        settings, losses = self.settings, self.state.losses
        if floor not in SLOW:
            near, far = fall(losses[-settings.window :], 2), fall(losses[-2 * settings.window :], 4)
            return self._within(near, settings.flat) and self._within(far, settings.tolerance)
        long = self.longer if floor == BIGRAM else self.long
        ripe, losses = step >= self.ripe + long - settings.window, losses[-long:]
        return ripe and len(losses) == long and self._within(fall(losses, 4), settings.flat)

    def _within(self, change: float, most: float) -> bool:
        """Whether a loss that has fallen by `change` is flat: by `most` at most, and has not risen."""
        return -self.settings.tolerance <= change <= most

    def _stay(self, step: int, level: float) -> list[Event]:
        state, event = self.state, self.state.event
        assert event is not None
        if state.low <= level and (state.high is None or level <= state.high):
            return []
        state.event = None
        return [event.over(step)]

    def _open(self, step: int, level: float, floor: str) -> Event:
        state, settings, floors = self.state, self.settings, self.facts.floors
        at = floors.get(floor, level)
        room = settings.tolerance + settings.flat
        state.low, state.high = at - room, at + room if floor in (UNIGRAM, BIGRAM) else None
        limit = floors[UNIGRAM] + settings.tolerance
        if floor == UNIFORM:
            limit = at - settings.tolerance
        elif floor == BIGRAM:
            limit = at + settings.tolerance
        told = "the median of the last {window} losses is {level:.4g} and no longer falls; " + WORDS[floor]
        state.event = Event(
            step=step,
            kind="plateau",
            metric="loss",
            value=level,
            threshold=limit,
            message=told.format(window=settings.window, level=level, **floors),
            floor=floor,
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
    BELOW: "the unigram entropy is {unigram:.4g}: hardly more is learnt than how frequent tokens are",
    BIGRAM: "the bigram entropy is {bigram:.4g}: what the token before says is learnt, and no more",
}


def fall(losses: Sequence[float], parts: int) -> float:
    """From the median of the first of these many parts to that of the last."""
    size = max(len(losses) // parts, 1)
    return median(losses[:size]) - median(losses[-size:])

"""The loss above a guess among all tokens, for long."""

from dataclasses import dataclass, field

from normlab.config import DivergenceConfig
from normlab.divergence.bands import Bands
from normlab.divergence.detector import Detector
from normlab.divergence.event import Event, RunFacts
from normlab.divergence.fold_state import LATER, Values, number

#: Consecutive rows that say anything, however short the run.
LEAST = 10


@dataclass
class ExplosionState:
    #: The first finite loss.
    start: float | None = None
    #: Consecutive rows above the limit, and the first of them.
    above: int = 0
    since: int = 0
    event: Event | None = None
    #: The lowest loss so far.
    lowest: float | None = field(default=None, metadata={LATER: True})


class Explosion(Detector):
    """Opens when the loss has been `margin` above its base for `steps` consecutive rows; over when back at
    it. The margin between the two levels keeps noise from ending and opening it again and again.

    The base is ln V, what a guess among all tokens costs: the same for every run, where the loss at
    initialization depends on weights and placement. A run that begins above ln V (5.96, say, where ln V is
    5.55) has its start for a base until it has once come down to ln V; so has one whose floors are unknown.

    A run too short for `steps` is judged by half of its steps, 10 or more.
    """

    state: ExplosionState

    def __init__(self, config: DivergenceConfig, facts: RunFacts, bands: Bands) -> None:
        super().__init__(config, facts, bands)
        self.settings = config.explosion
        self.steps = min(self.settings.steps, max(LEAST, facts.steps // 2))
        self.state = ExplosionState()

    def update(self, row: Values) -> list[Event]:
        state, loss = self.state, number(row, "loss")
        if loss is None:
            return []
        state.start = loss if state.start is None else state.start
        state.lowest = loss if state.lowest is None else min(loss, state.lowest)
        base, name = self._base(state.start, state.lowest)
        if state.event is not None:
            if loss > base:
                return []
            event, state.event, state.above = state.event, None, 0
            return [event.over(row["step"])]
        limit = base + self.settings.margin
        state.above = state.above + 1 if loss > limit else 0
        state.since = row["step"] if state.above == 1 else state.since
        if state.above < self.steps:
            return []
        state.event = Event(
            step=row["step"],
            kind="explosion",
            metric="loss",
            value=loss,
            threshold=limit,
            message=(
                f"the loss is {loss:.4g} and for {state.above} consecutive steps has been above "
                f"{limit:.4g}, which is {self.settings.margin:g} nats over {name}"
            ),
        )
        state.event = self.bands.ranked(state.event, began=state.since)
        return [state.event]

    def _base(self, start: float, lowest: float) -> tuple[float, str]:
        """The loss that counts as none, and what it is."""
        uniform = self.facts.floors.get("uniform")
        if uniform is not None and lowest <= uniform:
            return uniform, f"ln V = {uniform:.4g}, a guess among all tokens"
        return start, f"its start at {start:.4g}"

"""The loss above where it started, for long."""

from dataclasses import dataclass

from normlab.config import DivergenceConfig
from normlab.divergence.bands import Bands
from normlab.divergence.detector import Detector
from normlab.divergence.event import Event, Facts
from normlab.divergence.fold import Values, number

#: Rows on end that say anything, however short the run.
LEAST = 10


@dataclass
class State:
    #: The first finite loss.
    start: float | None = None
    #: Rows on end above it by the margin, and the first of them.
    above: int = 0
    since: int = 0
    event: Event | None = None


class Explosion(Detector):
    """Opens when the loss has been above its start by `margin` for `steps` rows on end; over when back at the
    start. The margin between the two levels keeps noise from ending and opening it again and again.

    A run too short for that is judged by half of its steps, 10 or more.
    """

    state: State

    def __init__(self, config: DivergenceConfig, facts: Facts, bands: Bands) -> None:
        super().__init__(config, facts, bands)
        self.settings = config.explosion
        self.steps = min(self.settings.steps, max(LEAST, facts.steps // 2))
        self.state = State()

    def update(self, row: Values) -> list[Event]:
        state, loss = self.state, number(row, "loss")
        if loss is None:
            return []
        start = state.start = loss if state.start is None else state.start
        if state.event is not None:
            if loss > start:
                return []
            event, state.event, state.above = state.event, None, 0
            return [event.over(row["step"])]
        limit = start + self.settings.margin
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
                f"the loss is {loss:.4g} and for {state.above} steps on end has been above "
                f"{limit:.4g}, which is {self.settings.margin:g} nats over its start at {start:.4g}"
            ),
        )
        state.event = self.bands.ranked(state.event, began=state.since)
        return [state.event]

"""The loss at the unigram entropy: the model knows how frequent each token is, and nothing of context."""

from dataclasses import dataclass, field
from statistics import median

from normlab.config import DivergenceConfig
from normlab.divergence.detector import Detector, Values, number
from normlab.divergence.event import Event, Facts


@dataclass
class State:
    #: The last finite losses, the oldest first.
    losses: list[float] = field(default_factory=list)
    event: Event | None = None


class Plateau(Detector):
    """Opens when, `grace` steps after the warm-up or later, the median of the last `window` losses lies
    within `tolerance` of the unigram entropy, and that of the second half is not lower than the first's by
    more than `flat`. Over when the median is further away than `tolerance` + `flat`; the difference keeps
    noise from ending it. Medians, since a stuck model may have spikes of many nats and be as stuck as before.
    """

    state: State

    def __init__(self, config: DivergenceConfig, facts: Facts) -> None:
        super().__init__(config, facts)
        self.settings = config.plateau
        self.state = State()

    def update(self, row: Values) -> list[Event]:
        losses, loss, floor = self.state.losses, number(row, "loss"), self.facts.floors.get("unigram")
        if loss is None or floor is None:
            return []
        losses.append(loss)
        del losses[: -self.settings.window]
        if len(losses) < self.settings.window:
            return []
        level, event, step = median(losses), self.state.event, row["step"]
        if event is not None:
            if abs(level - floor) <= self.settings.tolerance + self.settings.flat:
                return []
            self.state.event = None
            return [event.over(step)]
        half = len(losses) // 2
        fall = median(losses[:half]) - median(losses[-half:])
        ripe = step >= self.facts.warmup + self.settings.grace
        if not ripe or abs(level - floor) > self.settings.tolerance or fall > self.settings.flat:
            return []
        self.state.event = self._event(step, level, floor)
        return [self.state.event]

    def _event(self, step: int, level: float, floor: float) -> Event:
        return Event(
            step=step,
            kind="plateau",
            metric="loss",
            value=level,
            threshold=floor + self.settings.tolerance,
            message=(
                f"the median of the last {self.settings.window} losses is {level:.4g} and no longer "
                f"falls; the unigram entropy is {floor:.4g}: the model has learnt how frequent tokens "
                "are, and nothing more"
            ),
        )

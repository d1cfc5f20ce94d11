"""Gradients so small that the optimizer's eps holds their updates back."""

import math
from dataclasses import dataclass, field, replace

from normlab.config import DivergenceConfig
from normlab.divergence.detector import Detector, Values, number
from normlab.divergence.event import Event, Facts


@dataclass
class State:
    #: Rows on end that each site has been below the threshold.
    below: dict[str, int] = field(default_factory=dict)
    event: Event | None = None


class Vanishing(Detector):
    """Opens when a site's gradient RMS, norm / sqrt(parameters), has been under `factor` * eps for `steps`
    rows on end after the warm-up. Sites that follow are added to its layers; over when all are back above.
    """

    state: State

    def __init__(self, config: DivergenceConfig, facts: Facts) -> None:
        super().__init__(config, facts)
        self.settings = config.vanishing
        self.state = State()

    def update(self, row: Values) -> list[Event]:
        if self.facts.eps is None or row["step"] < self.facts.warmup:
            return []
        limit, below = self.settings.factor * self.facts.eps, self.state.below
        rms = self._rms(row)
        for site, value in rms.items():
            below[site] = below.get(site, 0) + 1 if value < limit else 0
        gone = [site for site, count in below.items() if count >= self.settings.steps]
        event, step = self.state.event, row["step"]
        if event is None:
            here = [site for site in gone if site in rms]
            self.state.event = self._event(step, here, rms, limit) if here else None
        elif not gone:
            self.state.event = None
            return [event.over(step)]
        elif more := tuple(site for site in gone if site not in event.layers):
            message = f"{event.message}; {', '.join(more)} from step {step}"
            self.state.event = replace(event, layers=event.layers + more, message=message)
        return [self.state.event] if self.state.event is not None and self.state.event != event else []

    def _rms(self, row: Values) -> dict[str, float]:
        norms = {site: number(row, f"grad_norm/{site}") for site in self.facts.sizes}
        return {
            site: norm / math.sqrt(self.facts.sizes[site])
            for site, norm in norms.items()
            if norm is not None and self.facts.sizes[site]
        }

    def _event(self, step: int, sites: list[str], rms: dict[str, float], limit: float) -> Event:
        least = min(sites, key=lambda site: rms[site])
        return Event(
            step=step,
            kind="vanishing",
            metric=f"grad_rms/{least}",
            value=rms[least],
            threshold=limit,
            layers=tuple(sites),
            message=(
                f"the gradient RMS of {', '.join(sites)} has been under {limit:.3g}, "
                f"{self.settings.factor:g} times the optimizer's eps, for {self.settings.steps} steps on end "
                f"(smallest: {rms[least]:.3g} in {least}): eps begins to hold their updates back"
            ),
        )

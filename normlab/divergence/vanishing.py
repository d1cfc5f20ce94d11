"""Gradients so small that the optimizer's eps holds their updates back."""

import math

from normlab.config import DivergenceConfig
from normlab.divergence.bands import Bands
from normlab.divergence.event import Facts
from normlab.divergence.fold import Values
from normlab.divergence.places import PlaceDetector, Reading

FAMILY = "grad_norm"


class Vanishing(PlaceDetector):
    """Opens when a place's gradient RMS, norm / sqrt(parameters), has been under `factor` * eps for `steps`
    steps on end after the warm-up. A gradient of exactly 0 is passed over: that is for `frozen`.
    """

    kind = "vanishing"
    low_is_bad = True

    def __init__(self, config: DivergenceConfig, facts: Facts, bands: Bands) -> None:
        super().__init__(config, facts, bands, config.vanishing.steps, [FAMILY] if facts.eps else [])
        self.limit = config.vanishing.factor * (facts.eps or 0.0)
        self.roots = {f"{FAMILY}/{place}": math.sqrt(size) for place, size in facts.sizes.items()}

    def out(self, row: Values, key: str, value: float) -> bool | None:
        limit = self.limit * self.roots[key]
        return value < limit if limit and value and row["step"] >= self.facts.warmup else None

    def reading(self, key: str, value: float) -> Reading:
        place = self.places[key]
        return Reading(place, f"grad_rms/{place}", value / self.roots[key])

    def words(self, places: str, worst: Reading) -> tuple[float, str]:
        return self.limit, (
            f"the gradient RMS of {places} has been under {self.limit:.3g}, "
            f"{self.config.vanishing.factor:g} times the optimizer's eps, for {self.steps} steps on end "
            f"(smallest now: {worst.value:.3g} in {worst.place}): eps begins to hold their updates back"
        )

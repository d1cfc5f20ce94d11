"""Places that do not learn at all: their gradient or their update is exactly 0."""

import math

from normlab.config import DivergenceConfig
from normlab.divergence.bands import Bands
from normlab.divergence.event import RunFacts
from normlab.divergence.fold_state import Values
from normlab.divergence.places import PlaceDetector, PlaceReading

GRADIENT, UPDATE = "grad_norm", "update/ratio"


class Frozen(PlaceDetector):
    """Opens when a place's gradient, or its update, has been exactly 0 for `steps` consecutive steps.

    Either will do: momentum and weight decay can move what has no gradient, and a rate too small for the
    precision leaves what has one. Steps at rate 0, and those that were not applied, say nothing of updates.
    """

    kind = "frozen"
    low_is_bad = True

    def __init__(self, config: DivergenceConfig, facts: RunFacts, bands: Bands) -> None:
        super().__init__(config, facts, bands, config.frozen.steps, [GRADIENT, UPDATE])

    def out(self, row: Values, key: str, value: float) -> bool | None:
        if value == 0 and key.startswith(UPDATE) and not moved(row):
            return None
        return value == 0

    def words(self, places: str, worst: PlaceReading) -> tuple[float, str]:
        what = "gradient" if worst.metric.startswith(GRADIENT) else "update"
        return 0.0, (
            f"the {what} of {places} has been exactly 0 for {self.steps} steps: nothing is learnt there"
        )


def moved(row: Values) -> bool:
    """Whether the row's step was applied, at a rate above 0."""
    return row.get("lr") != 0 and all(
        math.isfinite(row.get(key, 0.0)) for key in ("loss", "grad_norm/global")
    )

"""A few numbers of the residual stream that dwarf all others."""

from normlab.config import DivergenceConfig
from normlab.divergence.bands import Bands
from normlab.divergence.event import RunFacts
from normlab.divergence.fold_state import Values
from normlab.divergence.places import PlaceDetector, PlaceReading


class MassiveActivation(PlaceDetector):
    """Opens when the stream after a layer has had `count` massive activations or more (above 100, and 1000
    times the median) for `steps` consecutive steps.
    """

    kind = "massive_activation"
    low_is_bad = False

    def __init__(self, config: DivergenceConfig, facts: RunFacts, bands: Bands) -> None:
        super().__init__(config, facts, bands, config.massive_activation.steps, ["stream/massive"])
        self.limit = config.massive_activation.count

    def out(self, row: Values, key: str, value: float) -> bool | None:
        return value >= self.limit

    def words(self, places: str, worst: PlaceReading) -> tuple[float, str]:
        return self.limit, (
            f"the stream after {places} has had massive activations, above 100 and 1000 times the median, "
            f"for {self.steps} consecutive steps (most now: {worst.value:.0f} in {worst.place})"
        )

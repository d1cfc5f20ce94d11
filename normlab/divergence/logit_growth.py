"""Attention logits so large that the softmax is a maximum."""

from normlab.config import DivergenceConfig
from normlab.divergence.bands import Bands
from normlab.divergence.event import RunFacts
from normlab.divergence.fold_state import Values
from normlab.divergence.places import PlaceDetector, PlaceReading


class LogitGrowth(PlaceDetector):
    """Opens when a layer's largest attention logit has been above `limit` for `steps` consecutive steps."""

    kind = "logit_growth"
    low_is_bad = False

    def __init__(self, config: DivergenceConfig, facts: RunFacts, bands: Bands) -> None:
        super().__init__(config, facts, bands, config.logit_growth.steps, ["attention/max_logit"])
        self.limit = config.logit_growth.limit

    def out(self, row: Values, key: str, value: float) -> bool | None:
        return value > self.limit

    def words(self, places: str, worst: PlaceReading) -> tuple[float, str]:
        return self.limit, (
            f"the largest attention logit of {places} has been above {self.limit:.4g} for {self.steps} "
            f"consecutive steps (largest now: {worst.value:.4g} in {worst.place}): "
            "queries and keys grow without bound"
        )

"""Attention that looks at one token only."""

from normlab.config import DivergenceConfig
from normlab.divergence.bands import Bands
from normlab.divergence.event import RunFacts
from normlab.divergence.fold_state import Values
from normlab.divergence.places import PlaceDetector, PlaceReading

#: Of a layer's heads, the least entropy, and the mean.
LEAST, MEAN = "attention/entropy_share_min", "attention/entropy_share"


class EntropyCollapse(PlaceDetector):
    """Opens when the attention entropy of one of a layer's heads, as a share of the largest there can be (ln
    of the tokens that can be seen), has been below `share` for `steps` consecutive steps: a mean over heads
    hides that one of four has collapsed. Rows of earlier versions have only that mean.
    """

    kind = "entropy_collapse"
    low_is_bad = True

    def __init__(self, config: DivergenceConfig, facts: RunFacts, bands: Bands) -> None:
        super().__init__(config, facts, bands, config.entropy_collapse.steps, [LEAST, MEAN])
        self.limit = config.entropy_collapse.share

    def out(self, row: Values, key: str, value: float) -> bool | None:
        return value < self.limit

    def words(self, places: str, worst: PlaceReading) -> tuple[float, str]:
        return self.limit, (
            f"the attention entropy of a head of {places} has been below {self.limit:.3g} of the largest "
            f"there can be for {self.steps} consecutive steps (lowest now: "
            f"{worst.value:.3g} in {worst.place}): "
            "nearly every token looks at one token only, and little gradient passes the softmax"
        )

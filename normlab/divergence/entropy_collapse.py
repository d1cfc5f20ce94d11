"""Attention that looks at one token only."""

from normlab.config import DivergenceConfig
from normlab.divergence.bands import Bands
from normlab.divergence.event import Facts
from normlab.divergence.fold import Values
from normlab.divergence.places import PlaceDetector, Reading


class EntropyCollapse(PlaceDetector):
    """Opens when a layer's attention entropy, as a share of the largest there can be (ln of the tokens that
    can be seen), has been below `share` for `steps` steps on end.
    """

    kind = "entropy_collapse"
    low_is_bad = True

    def __init__(self, config: DivergenceConfig, facts: Facts, bands: Bands) -> None:
        super().__init__(config, facts, bands, config.entropy_collapse.steps, ["attention/entropy_share"])
        self.limit = config.entropy_collapse.share

    def out(self, row: Values, key: str, value: float) -> bool | None:
        return value < self.limit

    def words(self, places: str, worst: Reading) -> tuple[float, str]:
        return self.limit, (
            f"the attention entropy of {places} has been below {self.limit:.3g} of the largest there can be "
            f"for {self.steps} steps on end (lowest now: {worst.value:.3g} in {worst.place}): "
            "nearly every token looks at one token only, and little gradient passes the softmax"
        )

"""Gradients so small that the optimizer's step all but ends."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from normlab.catalogue.optimizers import Least
from normlab.config import DivergenceConfig
from normlab.divergence.bands import Bands
from normlab.divergence.event import Event, RunFacts
from normlab.divergence.fold_state import Values
from normlab.divergence.places import PlaceDetector, PlaceReading

#: The matrices of a block, as `grad_norm/layer_03/attn.qkv` names them.
MATRICES = ("attn.qkv", "attn.out", "ffn.in", "ffn.out")


class Compared(NamedTuple):
    """One reading of a row that is compared: whose it is, with what, and what it is divided by first."""

    place: str
    metric: str
    least: Least
    divisor: float

    @property
    def before_clipping(self) -> bool:
        return self.metric.startswith("grad_")


def compared(least: Least, sizes: Mapping[str, int]) -> dict[str, Compared]:
    """By the keys of a row, what is compared with `least` in a model with `sizes` parameters by place."""
    places = [place for place in sizes if least.held(place)]
    if least.family == "grad_rms":
        # Without sizes there is no RMS.
        roots = {place: math.sqrt(sizes[place]) for place in places if sizes[place]}
        return {
            f"grad_norm/{place}": Compared(place, f"grad_rms/{place}", least, root)
            for place, root in roots.items()
        }
    if least.family == "grad_norm":
        places = [place for place in places if place.startswith("layer_")]
        keys = {f"grad_norm/{place}/{matrix}": place for place in places for matrix in MATRICES}
    else:
        keys = {f"{least.family}/{place}": place for place in places}
    return {key: Compared(place, key, least, 1.0) for key, place in keys.items()}


def clipping(row: Mapping[str, float]) -> float:
    """What the step's clipping multiplied the gradients by, which other norms of a row come before."""
    before, after = row.get("grad_norm/global", 0.0), row.get("grad_norm/clipped")
    return after / before if after is not None and before > 0 else 1.0


class Vanishing(PlaceDetector):
    """Opens when a place's gradient, as clipping leaves it to the optimizer, has been under `factor` times
    the least that its step can feel (see `normlab.catalogue.optimizers.Least`) for `steps` consecutive steps
    after the warm-up. A gradient of exactly 0 is passed over: that is for `frozen`.
    """

    kind = "vanishing"
    low_is_bad = True

    def __init__(self, config: DivergenceConfig, facts: RunFacts, bands: Bands) -> None:
        super().__init__(config, facts, bands, config.vanishing.steps, [])
        self.compared: dict[str, Compared] = {}
        for least in facts.least:
            self.compared |= compared(least, facts.sizes)
        self.places = {key: each.place for key, each in self.compared.items()}

    def update(self, row: Values) -> list[Event]:
        share, met = clipping(row), dict(row)
        for key, each in self.compared.items():
            if key in row:
                met[key] = row[key] * (share if each.before_clipping else 1.0) / each.divisor
        return super().update(met)

    def out(self, row: Values, key: str, value: float) -> bool | None:
        late = row["step"] >= self.facts.warmup
        return value < self._limit(self.compared[key].least) if value and late else None

    def reading(self, key: str, value: float) -> PlaceReading:
        each = self.compared[key]
        return PlaceReading(each.place, each.metric, value)

    def words(self, places: str, worst: PlaceReading) -> tuple[float, str]:
        least = next(each.least for each in self.compared.values() if each.metric == worst.metric)
        names = " or ".join(dict.fromkeys(each.name for each in self.facts.least))
        return self._limit(least), (
            f"the gradients of {places} have been under {self.config.vanishing.factor:g} times {names} for "
            f"{self.steps} consecutive steps (smallest now: {worst.value:.3g} in "
            f"{worst.place}): {least.effect}"
        )

    def _limit(self, least: Least) -> float:
        return self.config.vanishing.factor * least.value

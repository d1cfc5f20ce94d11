"""The spike scores that papers publish, under exact names, so that numbers can be compared.

They say how unstable a run was beside others of the same length and data, and are no detector: a falling loss
hides early spikes from them, and a spike hides the next. What finds events is `spike`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from normlab.divergence.window import Window

#: A window whose standard deviation is below this scores nothing.
STILL = 1e-10
LOSS, GRADIENT = "loss", "grad_norm/global"


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A score: the percentage of values that are `sigma` standard deviations away from a mean.

    Mean and standard deviation (divided by n) are those of the `window` values before it; the first `window`
    values, which have none, count as no spikes. Values that are not finite are left out of the series.
    """

    name: str
    sigma: float
    window: int
    #: Values far below count as well, and those at exactly `sigma`.
    both_sides: bool
    source: str

    def spike(self, value: float, before: Window) -> bool:
        """Whether `value` is one, after the values in `before`."""
        if len(before) < self.window:
            return False
        moments = before.moments()
        # A huge value's square overflows; while it is in the window, nothing stands out.
        if not STILL <= moments.deviation < math.inf:
            return False
        away, limit = value - moments.mean, self.sigma * moments.deviation
        return abs(away) >= limit if self.both_sides else away > limit


DEFINITIONS = (
    Definition(
        name="spike_score/olmo2_7sigma_1000",
        sigma=7.0,
        window=1000,
        both_sides=True,
        source=(
            "OLMo 2, arXiv 2501.00656, section 3.2: the percentage of values at least seven standard "
            "deviations away from a rolling average of the last 1,000"
        ),
    ),
    Definition(
        name="spike_score/6sigma_128",
        sigma=6.0,
        window=128,
        both_sides=False,
        source="OLMo-core's stability monitor: 6 standard deviations above the mean of the last 128 values",
    ),
)


@dataclass
class Count:
    """One score as a fold over a series."""

    definition: Definition
    before: Window = field(init=False)
    values: int = 0
    spikes: int = 0

    def __post_init__(self) -> None:
        self.before = Window(self.definition.window)

    def take(self, value: float) -> bool:
        """Count a value, if it is finite; returns whether it is a spike."""
        if not math.isfinite(value):
            return False
        spike = self.definition.spike(value, self.before)
        self.before.push(value)
        self.values += 1
        self.spikes += spike
        return spike


def spike_score(values: Iterable[float], definition: Definition) -> float | None:
    """The percentage of `values` that are spikes; None where there are no more than one window of them."""
    count = Count(definition)
    for value in values:
        count.take(value)
    return percentage(count.spikes, count.values, definition)


def percentage(spikes: int, values: int, definition: Definition) -> float | None:
    return 100.0 * spikes / values if values > definition.window else None


class SpikeScores:
    """All scores of a run: of its loss, of its gradient norm before clipping, and of steps with either."""

    def __init__(self) -> None:
        self._counts = {
            (definition.name, metric): Count(definition)
            for definition in DEFINITIONS
            for metric in (LOSS, GRADIENT)
        }
        self._either = {definition.name: 0 for definition in DEFINITIONS}
        self._steps = 0

    def take(self, loss: float, gradient: float) -> None:
        """Count a step; NaN for a number that it does not have."""
        self._steps += math.isfinite(loss) or math.isfinite(gradient)
        for name in self._either:
            found = [
                self._counts[name, metric].take(value)
                for metric, value in ((LOSS, loss), (GRADIENT, gradient))
            ]
            self._either[name] += any(found)

    def figures(self) -> dict[str, float | None]:
        """By name: the steps with a spike in either series; and `NAME/loss`, `NAME/grad_norm`; in percent."""
        result: dict[str, float | None] = {}
        for definition in DEFINITIONS:
            name = definition.name
            result[name] = percentage(self._either[name], self._steps, definition)
            for metric in (LOSS, GRADIENT):
                count, key = self._counts[name, metric], f"{name}/{metric.partition('/')[0]}"
                result[key] = percentage(count.spikes, count.values, definition)
        return result

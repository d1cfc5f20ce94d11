"""When a setting trains: over its seeds, and along an axis such as the learning rate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Outcomes of runs that did not train. One whose loss spiked did, if it came back: a rate is judged by the
#: loss at the end (Wortsman et al. 2023, arXiv 2309.14322), and a rise that stays is an explosion.
DIVERGED = ("nonfinite", "exploded", "stuck")
#: Nor did a run that ends at the unigram entropy of its text or above, or no lower than it began: what it has
#: learnt, if anything, is how frequent each token is. Short runs end so before a detector can be sure.
UNTRAINED = "untrained"
#: A setting is stable if at least this share of its seeds train.
STABLE = 0.8


def is_stable(outcomes: Sequence[str]) -> bool:
    """Whether enough of the runs with one setting trained."""
    return sum(word not in (*DIVERGED, UNTRAINED) for word in outcomes) >= STABLE * len(outcomes)


@dataclass(frozen=True, kw_only=True)
class Border:
    """Where stability ends along an axis: `at` is the last value at and below which all tried are stable.

    `bound` is `=`; or `>=` where no value is unstable, `<` where the lowest is, which `at` then is.
    """

    bound: str
    at: float
    #: The lowest unstable value.
    fails: float | None
    #: Stable values above it: the axis is not monotone.
    above: tuple[float, ...] = ()

    def record(self) -> dict[str, object]:
        """As it stands in JSON."""
        return {"bound": self.bound, "at": self.at}


def border(stable: Mapping[float, bool]) -> Border:
    """The border of an axis from the values tried, at least one."""
    values = sorted(stable)
    fails = next((value for value in values if not stable[value]), None)
    if fails is None:
        return Border(bound=">=", at=values[-1], fails=None)
    below = [value for value in values if value < fails]
    above = tuple(value for value in values if value > fails and stable[value])
    return Border(bound="=" if below else "<", at=below[-1] if below else fails, fails=fails, above=above)

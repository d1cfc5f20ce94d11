"""What a comparison of two variants comes to, as text: how often each diverged, and the losses where both
trained."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from normlab import statistics
from normlab.statistics import ALPHA, LEAST, Difference

#: A loss verdict does not favour the variant that diverged in this many pairs more than the other.
SELECTED = 2


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """How many runs of the pairs of two variants diverged: in all, and where the other one trained."""

    pairs: int
    this: int
    other: int
    only_this: int
    only_other: int

    @property
    def both_trained(self) -> int:
        """Pairs in which both trained."""
        return self.pairs - self.this - self.only_other

    @property
    def p(self) -> float:
        """Of the rates being the same, paired by seed: McNemar's exact test."""
        return statistics.mcnemar(self.only_this, self.only_other)

    @property
    def testable(self) -> bool:
        """Whether that could be below `ALPHA` with this many pairs that differ: 6 at least.

        Where it could not be, it is no test, and no other is corrected for it (Tarone 1990).
        """
        return statistics.mcnemar(self.only_this + self.only_other, 0) <= ALPHA

    def record(self) -> dict[str, Any]:
        """As it stands in JSON."""
        counts = {"this": self.this, "other": self.other, "of": self.pairs}
        return counts | {"only_this": self.only_this, "only_other": self.only_other}


def divergence(trained: Sequence[tuple[bool, bool]]) -> Divergence:
    """Count over pairs, each: whether this trained, whether the other did."""
    return Divergence(
        pairs=len(trained),
        this=sum(not this for this, _ in trained),
        other=sum(not other for _, other in trained),
        only_this=sum(other and not this for this, other in trained),
        only_other=sum(this and not other for this, other in trained),
    )


@dataclass(frozen=True, kw_only=True)
class PairEvidence:
    """What two variants' pairs say. Of a metric that is no loss, `difference` is over all pairs."""

    divergence: Divergence
    difference: Difference | None
    #: The p values, corrected for all of the table; None where nothing was tested.
    p_rate: float | None
    p: float | None
    p_parity: float | None
    #: Whether the metric is a loss, compared among pairs that trained.
    of_trained: bool = True


def correct(evidence: Sequence[PairEvidence]) -> list[PairEvidence]:
    """The same with Holm's correction over all: of the rates, of the differences and of parity by itself."""
    rates = statistics.holm([each.p_rate for each in evidence])
    differences = statistics.holm([each.p for each in evidence])
    parities = statistics.holm([each.p_parity for each in evidence])
    corrected = zip(evidence, rates, differences, parities, strict=True)
    return [replace(each, p_rate=rate, p=p, p_parity=parity) for each, rate, p, parity in corrected]


def rate_p(found: Divergence, corrected: float | None) -> float | None:
    """What is printed of McNemar's test: corrected where it was a test, as it is where it could not be small,
    nothing where no run diverged."""
    if not found.this and not found.other:
        return None
    return found.p if corrected is None else corrected


def verdict(found: PairEvidence) -> str:
    """In words, the rates of divergence and then the loss, each by its own test.

    `diverges more often` or `less often` is McNemar's test. Of the pairs in which both trained, the loss is
    `lower`, `higher`, `equal`, or `open` where the tests say nothing.

    - Nothing is said of a loss below three pairs that trained. No number at the cap stands for a loss.
    - Where one variant diverged in `SELECTED` pairs more than the other, those of its runs that trained may
      be the better ones: a lower loss among them is `open, survivors lower`.
    - From six pairs on a difference needs the sign-flip test too, else it is `open, by t alone lower`.

    `scripts/verdict_simulation.py` has how often that is wrong, and how often it finds what is there.
    """
    rates, both = rate_words(found), found.divergence
    if found.of_trained and both.pairs and not both.both_trained:
        return rates or _untrained_words(both)
    some = found.of_trained and both.both_trained < both.pairs
    losses = _difference_words(found, f" of {both.pairs}" if some else "")
    return "; ".join(word for word in (rates, losses) if word)


def _untrained_words(both: Divergence) -> str:
    """Who did not train, where no pair did."""
    if both.this == both.other == both.pairs:
        return "neither trained"
    if both.this == both.pairs:
        return "did not train"
    return "the baseline did not train" if both.other == both.pairs else "no pair trained"


def rate_words(found: PairEvidence) -> str:
    """`diverges more often` or `less often` where McNemar's test says so, else nothing."""
    if found.p_rate is None or found.p_rate >= ALPHA:
        return ""
    more = found.divergence.only_this > found.divergence.only_other
    return f"diverges {'more' if more else 'less'} often"


def _difference_words(found: PairEvidence, of_all: str) -> str:
    """`of_all` is ` of 5` where all pairs are more than those that are compared."""
    difference = found.difference
    if difference is None:
        return "not tested"
    n = difference.mean.n
    some = f" in {n}{of_all}" if of_all else ""
    if found.p is not None:
        return _tested_words(found, found.p) + some
    if n < LEAST:
        return f"{n}{of_all} pair{'s' if n > 1 or of_all else ''}, not tested"
    return ("same difference in all pairs" if difference.mean.value else "same in all pairs") + some


def _tested_words(found: PairEvidence, p: float) -> str:
    words = [_side(found)] if p < ALPHA else []
    if found.p_parity is not None and found.p_parity < ALPHA:
        words.append("equal")
    # Both: there is a difference, and it is below the margin.
    return ", yet ".join(words) or "open"


def _side(found: PairEvidence) -> str:
    assert found.difference is not None
    lower = found.difference.mean.value < 0
    side = "lower" if lower else "higher"
    more = found.divergence.only_this - found.divergence.only_other
    if found.of_trained and (more if lower else -more) >= SELECTED:
        return f"open, survivors {side}"
    flip = found.difference.p_flip
    return side if flip is None or flip < ALPHA else f"open, by t alone {side}"

"""The sheet of every group against the baseline: differences over pairs, and what the tests say of them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from normlab.analysis import statistics
from normlab.analysis.matching import label
from normlab.analysis.quantities import QUANTITIES
from normlab.analysis.sheet import Column, Sheet, interval, number, p_value
from normlab.analysis.statistics import ALPHA, FEW
from normlab.analysis.study import Against, Study


def differences(study: Study) -> Sheet:
    """Every group against its counterpart, paired by seed and batches, with all that is tested."""
    found = study.against()
    tests = [each.found.p if each.found else None for each in found]
    parities = [each.found.p_parity if each.found else None for each in found]
    rows = [
        {**_difference_row(each), "p_holm": p, "parity_holm": parity, "verdict": _verdict(each, p, parity)}
        for each, p, parity in zip(found, statistics.holm(tests), statistics.holm(parities), strict=True)
    ]
    quantity, margin = QUANTITIES[study.wanted.metric], study.wanted.margin
    form = f"+{quantity.form.lstrip('+')}"
    columns = [
        Column(name="pairs", title="n"),
        Column(name="difference", title="diff", text=number(form)),
        Column(name="interval", title="95 % bootstrap", text=interval(form), rank=1),
        Column(name="effect", title="d_z", text=number("+.2f"), rank=3),
        Column(name="p_holm", title="p", text=p_value),
        Column(name="p", title="p uncorrected", text=p_value, rank=5),
        Column(name="parity_holm", title="p TOST", text=p_value, rank=2),
        Column(name="p_parity", title="p TOST uncorrected", text=p_value, rank=5),
        Column(name="verdict", title="verdict", right=False),
    ]
    return Sheet(
        name="differences",
        title=f"Against {label(study.base)}: {quantity.title} ({quantity.unit})",
        caption="diff: mean of this less the baseline's over n pairs of the same seed and batches. d_z: mean "
        "over standard deviation, Hedges' correction. p: no difference, paired t test. p TOST: a difference "
        f"of {margin:g} or more, two one-sided paired t tests. Both Holm-corrected over this table",
        columns=[*study.knob_columns(), *columns],
        rows=rows,
        notes=[*_few_pairs(found), *_unmatched(found)],
    )


def _difference_row(each: Against) -> dict[str, Any]:
    found = each.found
    row: dict[str, Any] = {**each.group.knobs, "pairs": found.mean.n if found else 0}
    if found:
        row |= {"difference": found.mean.value, "interval": found.mean, "effect": found.effect}
        row |= {"p": found.p, "p_parity": found.p_parity}
    return row


def _verdict(each: Against, p: float | None, parity: float | None) -> str:
    """`lower`, `higher`, `equal` by the corrected tests; `open` where neither says anything."""
    if each.found is None or p is None or parity is None:
        return each.problem or "one pair"
    words = []
    if p < ALPHA:
        words.append("lower" if each.found.mean.value < 0 else "higher")
    if parity < ALPHA:
        words.append("equal")
    # Both: there is a difference, and it is below the margin.
    return ", yet ".join(words) or "open"


def _few_pairs(found: Sequence[Against]) -> list[str]:
    least = min((each.found.mean.n for each in found if each.found), default=FEW)
    if least == 1:
        return ["one pair: nothing can be concluded about spread, so nothing is tested"]
    few = f"fewer than {FEW} pairs: bootstrap intervals are too narrow, go by the t tests"
    return [few] if least < FEW else []


def _unmatched(found: Sequence[Against]) -> list[str]:
    problems = Counter(each.problem for each in found if each.problem and each.found is not None)
    return [f"{text}: left out" for text in problems]

"""The sheet of every group against the baseline: differences over pairs, and what the tests say of them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from normlab import statistics
from normlab.compare.matching import label
from normlab.compare.sheet import Column, Sheet, Starred, interval, number, p_value
from normlab.compare.study import Against, Study, evidence
from normlab.compare.verdict import SELECTED, Divergence, PairEvidence, correct, rate_p, rate_words, verdict
from normlab.statistics import ALPHA, FLIPS, LEAST, POWER


def differences(study: Study) -> Sheet:
    """Every group against its counterpart, paired by seed and batches, with all that is tested."""
    found = study.against()
    corrected = correct([evidence(each, of_trained=study.quantity.of_trained) for each in found])
    rows = [_row(study, *both, len(found)) for both in zip(found, corrected, strict=True)]
    quantity = study.quantity
    return Sheet(
        name="differences",
        title=f"Against {label(study.base)}: {quantity.title} ({quantity.unit})",
        caption="over n pairs of the same seed and batches; each kind of p Holm-corrected over this table",
        columns=[*study.knob_columns(), *_columns(study, rows)],
        rows=rows,
        notes=[
            *_few_pairs(found),
            *_selected(found, corrected),
            *_disagreements(found),
            *_problems(study, found),
        ],
    )


def _row(study: Study, each: Against, corrected: PairEvidence, tests: int) -> dict[str, Any]:
    found, fates = each.found, each.divergence
    # Pairs of which not one is left to compare by its loss.
    hopeless = study.quantity.of_trained and fates.pairs and not fates.both_trained
    left_out = study.quantity.of_trained and fates.both_trained < fates.pairs
    row: dict[str, Any] = {
        **each.group.knobs,
        "pairs": Starred(value=found.mean.n if found else 0, star=left_out),
        "diverged": fates if fates.this or fates.other else None,
        "p_mcnemar": fates.p if fates.this or fates.other else None,
        "mcnemar_holm": rate_p(fates, corrected.p_rate),
        "verdict": verdict(corrected)
        if found or hopeless
        else "; ".join(word for word in (rate_words(corrected), each.problem) if word),
    }
    if found is None:
        return row
    row |= {"difference": found.mean.value, "effect": found.effect}
    row |= {"interval": None if found.mean.low is None else found.mean}
    row |= {"p": found.p, "p_holm": corrected.p, "p_flip": found.p_flip}
    row |= {"p_parity": found.p_parity, "parity_holm": corrected.p_parity}
    if row["verdict"].startswith("open") and found.deviation and found.p is not None:
        # At the level of Holm's first step: that of the others depends on what is found.
        needed = statistics.seeds_for_parity(found.deviation, study.wanted.margin, ALPHA / tests)
        row["parity_seeds"] = needed or f"> {statistics.MOST}"
    return row


def _columns(study: Study, rows: Sequence[dict[str, Any]]) -> list[Column]:
    form = f"+{study.quantity.form.lstrip('+')}"
    starred = any(row["pairs"].star for row in rows)
    kind, test = "mean", "paired t test"
    if study.quantity.time:
        kind = "median"
        test = "log-rank by permutation: a run that did not get there is known to take longer"
    parity = f"a difference of {study.wanted.margin:g} or more, two one-sided t tests"
    seeds = f"pairs at which it finds parity in {POWER * 100:.0f} % of cases, if there is no difference"
    fates = "did not train, this and the baseline"
    return [
        Column(
            name="pairs", title="n", text=str, meaning="* the pairs in which both trained" if starred else ""
        ),
        Column(
            name="difference", title="diff", text=number(form), meaning=f"{kind} of this less the baseline's"
        ),
        Column(name="interval", title="95 % t", text=interval(form), rank=1, optional=True),
        Column(
            name="effect",
            title="d_z",
            text=number("+.2f"),
            rank=5,
            optional=True,
            meaning="mean over standard deviation, Hedges' correction",
        ),
        Column(name="p_holm", title="p", text=p_value, meaning=f"no difference, {test}"),
        Column(name="p", title="p uncorrected", text=p_value, rank=7, optional=True),
        Column(
            name="p_flip",
            title="p flip",
            text=p_value,
            rank=4,
            optional=True,
            meaning="by flipping signs, uncorrected",
        ),
        Column(name="parity_holm", title="p TOST", text=p_value, rank=3, optional=True, meaning=parity),
        Column(name="p_parity", title="p TOST uncorrected", text=p_value, rank=7, optional=True),
        Column(name="parity_seeds", title="n equal", rank=6, optional=True, meaning=seeds),
        Column(name="diverged", title="diverged", text=_fates, rank=2, optional=True, meaning=fates),
        Column(
            name="mcnemar_holm",
            title="p McNemar",
            text=p_value,
            rank=4,
            optional=True,
            meaning="the same rate, exact",
        ),
        Column(name="p_mcnemar", title="p McNemar uncorrected", text=p_value, rank=7, optional=True),
        Column(name="verdict", title="verdict", right=False, least=16),
    ]


def _fates(found: Divergence) -> str:
    return f"{found.this}/{found.pairs}, {found.other}/{found.pairs}"


def _few_pairs(found: Sequence[Against]) -> list[str]:
    counts = [each.found.mean.n for each in found if each.found]
    if counts and min(counts) < LEAST:
        return [f"fewer than {LEAST} pairs: nothing can be concluded about spread, so nothing is tested"]
    return []


def _selected(found: Sequence[Against], corrected: Sequence[PairEvidence]) -> list[str]:
    """What to know where runs diverged."""
    notes = []
    if any("survivors" in verdict(each) for each in corrected):
        notes.append(
            f"survivors: this one diverged in {SELECTED} pairs or more in which the other trained (or the "
            "other way round), and what is left of its runs may be the better ones: no verdict"
        )
    most = max((each.divergence.pairs for each in found), default=0)
    if any(each.divergence.this or each.divergence.other for each in found) and 0 < most < FLIPS:
        least = statistics.mcnemar(most, 0)
        notes.append(
            f"{most} pairs: p McNemar cannot fall below {least:.2g}, whatever happens; {FLIPS} seeds can. "
            "p Fisher (outcomes) takes the runs for independent of one another"
        )
    return notes


def _disagreements(found: Sequence[Against]) -> list[str]:
    """Where t and the flipped signs are on two sides of `ALPHA`, before any correction."""
    notes = []
    for each in found:
        if each.found is None or each.found.p is None or each.found.p_flip is None:
            continue
        t, flip = each.found.p, each.found.p_flip
        if (t < ALPHA) != (flip < ALPHA):
            notes.append(
                f"{each.group.label}: t says {p_value(t)} and flipped signs {p_value(flip)}, before "
                f"correction: at {ALPHA:.2g} they disagree, so it hangs on the shape of the distribution"
            )
    return notes


def _problems(study: Study, found: Sequence[Against]) -> list[str]:
    matched = [each for each in found if each.other is not None]
    problems = Counter(each.problem for each in matched if each.problem and each.found)
    notes = [f"{text}: left out" for text in problems]
    if study.base and found and not matched:
        notes.append(
            "no two groups differ in one setting alone, so nothing is tested: add the runs that are missing, "
            "or name all that differs, as in --baseline KEY=VALUE --baseline KEY=VALUE"
        )
    other = [key for key in study.grouping.knobs if key not in study.base]
    if not study.wanted.baseline and other:
        notes.append(
            f"each against {label(study.base)} with all else the same; --baseline KEY=VALUE measures "
            f"{' or '.join(other)} instead"
        )
    several = {
        key for each in matched if each.other and len(changed := _changed(each)) > 1 for key in changed
    }
    if several:
        notes.append(
            f"some differ from the baseline in several settings at once ({', '.join(sorted(several))}), as "
            "--baseline has it: what makes the difference, these runs do not tell"
        )
    return notes


def _changed(each: Against) -> list[str]:
    assert each.other is not None
    return [key for key, value in each.group.knobs.items() if each.other.knobs[key] != value]

"""The sheets of a comparison with a row a group, losses, outcomes and training, and that of the runs."""

from collections import Counter
from statistics import median
from typing import Any

from normlab import statistics
from normlab.compare.matching import Group
from normlab.compare.quantities import QUANTITIES, Quantity
from normlab.compare.sheet import Column, Sheet, interval, number, p_value, spread
from normlab.compare.study import Study
from normlab.compare.verdict import rate_p
from normlab.divergence.outcome import OUTCOMES, UNTRAINED
from normlab.statistics import ALPHA

#: What the mean of a loss stands for, in captions.
_MEANS = "mean ± half of Student's 95 % interval over the n seeds"


def losses(study: Study) -> Sheet:
    """Final and best losses, and what is left above the floors of the text."""
    ranks = {"val/final": 0, "val/best": 1, "excess/unigram": 2, "excess/bigram": 3, "excess/entropy_rate": 4}
    ranks |= {"loss/final": 5, "loss/best": 6}
    rows = [{**_head(each), **{name: study.mean(each, name) for name in ranks}} for each in study.groups]
    present = [name for name in ranks if any(row[name] is not None for row in rows)]
    columns = [_column(QUANTITIES[name], rank) for rank, name in enumerate(present)]
    return Sheet(
        name="loss",
        title="Loss",
        caption=f"nats a token; {_MEANS}",
        columns=[*study.knob_columns(), _N, *columns],
        rows=rows,
    )


def _column(quantity: Quantity, rank: int) -> Column:
    return Column(name=quantity.name, title=quantity.title, text=spread(quantity.form), rank=rank)


_N = Column(name="n", title="n")


def _head(group: Group) -> dict[str, Any]:
    return {**group.knobs, "n": len(group.runs)}


def outcomes(study: Study) -> Sheet:
    """How the runs of a group ended, the share that did not train, and their first events."""
    rows = [_outcome_row(study, each) for each in study.groups]
    tests = [_diverged_p(study, each) for each in study.groups]
    for row, p, corrected in zip(rows, tests, statistics.holm(tests), strict=True):
        row |= {"p": p, "p_holm": corrected}
    against = study.against()
    paired = statistics.holm([each.divergence.p if each.divergence.testable else None for each in against])
    mcnemar = {each.group.label: rate_p(each.divergence, p) for each, p in zip(against, paired, strict=True)}
    for row, group in zip(rows, study.groups, strict=True):
        row["mcnemar_holm"] = mcnemar.get(group.label)
    columns = [
        Column(name="outcomes", title="outcomes", text=_counts, right=False, least=11),
        Column(
            name="diverged",
            title="diverged",
            text=number(".0%"),
            meaning="nonfinite, exploded, stuck or untrained: less than 0.1 nat below the unigram entropy",
        ),
        Column(name="diverged_interval", title="95 % Wilson", text=interval(".0%"), rank=3),
        Column(
            name="mcnemar_holm",
            title="p McNemar",
            text=p_value,
            rank=2,
            optional=True,
            meaning="that the rate is the baseline's, exact, over pairs of one seed, Holm-corrected",
        ),
        Column(
            name="p_holm",
            title="p Fisher",
            text=p_value,
            rank=4,
            meaning="the same, taking all runs for independent, Holm-corrected",
        ),
        Column(name="p", title="p Fisher uncorrected", text=p_value, rank=5),
        Column(
            name="first_event",
            title="first event",
            text=first_words,
            right=False,
            rank=1,
            meaning="kind, median step, layer, in how many runs",
        ),
    ]
    return Sheet(
        name="outcomes",
        title="Outcomes",
        caption="",
        columns=[*study.knob_columns(), _N, *columns],
        rows=rows,
        notes=[*_too_few_for_fisher(study), *learnt_nothing(study)],
    )


def learnt_nothing(study: Study) -> list[str]:
    """Groups with runs that ended untrained, as text."""
    found = []
    for group in study.groups:
        untrained = sum(run.word == UNTRAINED for run in group.runs.values())
        if untrained:
            found.append(
                f"{group.label}: {untrained} of {len(group.runs)} ended less than 0.1 nat below the unigram "
                "entropy, having learnt next to nothing, but still falling, or too soon to be called stuck"
            )
    return found


def _outcome_row(study: Study, group: Group) -> dict[str, Any]:
    counts = Counter(figures.word for figures in study.of(group))
    diverged = sum(not figures.trained for figures in study.of(group))
    share = statistics.rate(diverged, len(group.runs))
    return {
        **_head(group),
        "outcomes": {name: counts[name] for name in (*OUTCOMES, "stable") if counts[name]},
        "diverged": share.value,
        "diverged_interval": share,
        "first_event": first_event(group),
    }


def _diverged_p(study: Study, group: Group) -> float | None:
    other = study.counterpart(group)
    if other is None:
        return None
    ours, theirs = (sum(not figures.trained for figures in study.of(each)) for each in (group, other))
    return statistics.fisher(ours, len(group.runs), theirs, len(other.runs))


def _too_few_for_fisher(study: Study) -> list[str]:
    """The least p that Fisher's test can give here, where that is no small one."""
    sizes = {(len(each.runs), len(other.runs)) for each in study.groups if (other := study.counterpart(each))}
    tests = sum(study.counterpart(each) is not None for each in study.groups)
    least, n, m = max(((statistics.fisher(n, n, 0, m), n, m) for n, m in sizes), default=(0.0, 0, 0))
    corrected = min(least * tests, 1.0)
    sizes_said = f"{n} against {m} runs" + (f" in {tests} tests" if tests > 1 else "")
    if corrected <= ALPHA:
        return []
    return [f"{sizes_said}: p Fisher cannot fall below {corrected:.2g}, whatever happens"]


def first_event(group: Group) -> dict[str, Any] | None:
    """Kind and layer are the most frequent ones; the step is the median over the runs that have an event."""
    events = [run.summary.get("first_event") for run in group.runs.values()]
    found = [event for event in events if isinstance(event, dict) and isinstance(event.get("step"), int)]
    if not found:
        return None
    kind = Counter(str(event.get("kind")) for event in found).most_common(1)[0][0]
    layers = Counter(str(event["layers"][0]) for event in found if event.get("layers"))
    return {
        "kind": kind,
        "step": median(event["step"] for event in found),
        "layer": layers.most_common(1)[0][0] if layers else None,
        "runs": len(found),
        "of": len(events),
    }


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def first_words(event: dict[str, Any]) -> str:
    """`vanishing @ 30 layer_00 (2/2)`."""
    where = f" {event['layer']}" if event["layer"] else ""
    return f"{event['kind']} @ {event['step']:g}{where} ({event['runs']}/{event['of']})"


#: Medians: a ratio, or a time that may be infinite, has no mean worth reading.
_MEDIANS = {"first_to_last/start": 0, "first_to_last/end": 0, "tokens_to_target": 1, "tokens_per_second": 3}
_SCORES = {"spike_score/olmo2_7sigma_1000": 2, "spike_score/6sigma_128": 2}


def training(study: Study) -> Sheet:
    """Gradient ratio, spike scores, tokens to a target and speed."""
    rows = [
        {
            **_head(each),
            **{name: statistics.median(study.values(each, name)) for name in _MEDIANS},
            **{name: statistics.mean(study.values(each, name)) for name in _SCORES},
        }
        for each in study.groups
    ]
    ranks = {**_SCORES, **_MEDIANS}
    present = [name for name in ranks if any(row[name] is not None for row in rows)]
    columns = [
        Column(name=name, title=quantity.title, text=number(quantity.form), rank=ranks[name])
        for name, quantity in QUANTITIES.items()
        if name in present
    ]
    target = study.wanted.target
    aim = "" if target is None else f"; to target: tokens until the mean training loss is {target:g} nats"
    notes = (
        []
        if target is not None
        else ["normlab compare --target 2.5 adds the tokens that it takes to reach a loss"]
    )
    if "first_to_last/end" not in present:
        notes.append("g1/gL was not measured in these runs: measure.grad_norm=1 has it")
    return Sheet(
        name="training",
        title="Gradients, spikes, speed",
        caption="g1/gL: gradient norm of the first block over the last one's, median. spikes: % of logged "
        f"steps, mean{aim}; tokens/s: median, with whatever else the machine did",
        columns=[*study.knob_columns(), _N, *columns],
        rows=rows,
        notes=notes,
    )


def runs(study: Study) -> Sheet:
    """Every run that counted, with what it brought."""
    rows = [
        {**each.knobs, "seed": seed, "outcome": run.word, "capped": study.figures(run).capped}
        | {**study.figures(run).values, "path": run.place}
        for each in study.groups
        for seed, run in each.runs.items()
    ]
    columns = [Column(name="seed", title="seed"), Column(name="outcome", title="outcome", right=False)]
    columns += [
        Column(name=name, title=quantity.title, text=number(quantity.form), rank=2)
        for name, quantity in QUANTITIES.items()
        if any(row[name] is not None for row in rows)
    ]
    columns += [Column(name="capped", title="capped", rank=3)]
    columns += [Column(name="path", title="run directory", right=False, rank=1)]
    return Sheet(
        name="runs",
        title="Runs",
        caption="",
        columns=[*study.knob_columns(), *columns],
        rows=rows,
    )

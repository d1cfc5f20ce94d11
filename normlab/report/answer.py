"""The first lines of a page: what came out of the runs, in words that claim no more than that."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from normlab.compare.compare import Comparison
from normlab.compare.matching import Group, label
from normlab.compare.sheet import Marked, interval, number, spread
from normlab.compare.study import Study, evidence
from normlab.compare.tables import first_event, first_words, learnt_nothing
from normlab.compare.verdict import verdict
from normlab.report.cards import Card
from normlab.report.question import Question, question
from normlab.statistics import LEAST, Estimate, mean
from normlab.terminal.wording import counted, listed

#: Variants that are named before the others are counted.
_NAMED = 4
#: Verdicts that are given before the others are counted.
_MOST = 8
#: Seeds below which intervals are wide.
_FEW = 5
#: The losses by which a best variant is chosen: the first that the runs have.
_LOSSES = {"val/final": "final validation loss", "loss/final": "final training loss"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Question and answer."""

    question: Question
    #: Each with a word for what it is about.
    lines: Sequence[tuple[str, str]]


def answer(cards: Sequence[Card], found: Comparison | None, trouble: str = "") -> Answer:
    """Of one run what became of it; of several how they ended, which is best, which failed, and how sure."""
    lines = _one(cards[0]) if len(cards) == 1 else list(_several(cards, found, trouble))
    return Answer(question=question(cards), lines=lines)


def _one(card: Card) -> list[tuple[str, str]]:
    happened = card.explanation.happened if card.explanation else [card.trouble]
    lines = [("What happened" if number == 0 else "", line) for number, line in enumerate(happened)]
    lines += [("Why", card.why)] if card.why else []
    return [*lines, *([("Cut short", card.cut_short)] if card.cut_short else [])]


def _several(cards: Sequence[Card], found: Comparison | None, trouble: str) -> Iterator[tuple[str, str]]:
    done = Counter(card.run.word for card in cards if card.run.finished)
    if done:
        counts = ", ".join(f"{count} {word}" for word, count in done.most_common())
        yield "Outcomes", f"{counted(sum(done.values()), 'run')} finished: {counts}."
    cut = [card for card in cards if not card.run.finished]
    if cut:
        names = listed([f"{card.label} ({card.cut_short or card.run.status})" for card in cut], _NAMED, "; ")
        what = "did not finish; drawn as far as there are rows, not compared"
        yield "Cut short", f"{counted(len(cut), 'run')} {what}: {names}."
    if found is None:
        yield "Not compared", trouble
        return
    if len(found.study.groups) > 1:
        yield from _best(found.study)
        yield from _verdicts(found)
    failed = [
        group for group in found.study.groups if any(figures.diverged for figures in found.study.of(group))
    ]
    if failed:
        texts = [_failure(found.study, group) for group in failed[:_NAMED]]
        more = f"; and {len(failed) - _NAMED} more variants" if len(failed) > _NAMED else ""
        yield "Did not train", f"{'; '.join(texts)}{more}."
    if nothing := learnt_nothing(found.study):
        yield "Learnt nothing", f"{'; '.join(nothing[:_NAMED])}."
    yield "How sure", _certainty(found.study)


def _best(study: Study) -> Iterator[tuple[str, str]]:
    """The variant with the lowest mean loss among runs that trained, and what sets the next one apart."""
    ranked, name = _ranked(study)
    if not ranked:
        yield "Lowest loss", "no run that trained has a loss at its end."
        return
    best, estimate = ranked[0]
    text = f"{best.label}, with a {_LOSSES[name]} of {_plus_minus(estimate)} nats a token"
    if estimate.half is not None:
        text += f" (mean and 95 % interval over {_seeds(estimate.n, best)})"
    next_ = _next(study, best, *ranked[1]) if len(ranked) > 1 else ""
    yield "Lowest loss", f"{text}{_above(study, estimate)}. {next_}".rstrip()


def _ranked(study: Study) -> tuple[list[tuple[Group, Estimate]], str]:
    """Variants by their mean loss over the runs that trained, and by which loss; those of which half did not
    train only where there are no others."""
    for name in _LOSSES:
        means = [
            (group, found)
            for group in study.groups
            if (found := mean([value for value in _trained(study, group, name) if value is not None]))
        ]
        mostly = [each for each in means if 2 * each[1].n >= len(each[0].runs)]
        if means:
            return sorted(mostly or means, key=lambda each: each[1].value), name
    return [], ""


def _trained(study: Study, group: Group, name: str) -> list[float | None]:
    return [figures.values[name] for figures in study.of(group) if figures.trained]


def _plus_minus(found: Estimate) -> str:
    return spread(".3f")(Marked(estimate=found, capped=0))


def _seeds(n: int, group: Group) -> str:
    return f"{n} seeds" if n == len(group.runs) else f"the {n} of {len(group.runs)} seeds that trained"


def _above(study: Study, best: Estimate) -> str:
    bigram = study.runs[0].floors.get("bigram")
    if bigram is None or len(study.texts) > 1:
        return ""
    gap = best.value - bigram
    return f"; {abs(gap):.3f} {'above' if gap >= 0 else 'below'} the bigram entropy of the text"


def _next(study: Study, best: Group, second: Group, loss: Estimate) -> str:
    text = f"Next is {second.label} with {_plus_minus(loss)}"
    differs = [key for key, value in best.knobs.items() if second.knobs[key] != value]
    if len(differs) > 1:
        return f"{text}; they differ in {' and '.join(differs)} at once, so what makes it is not told."
    against = study.compare(best, second)
    if against.found is None or against.found.mean.low is None:
        few = f"fewer than {LEAST} pairs of one seed and text in which both trained"
        return f"{text}; with {few}, whether that is more than chance cannot be told."
    gap = f"{number('+.3f')(against.found.mean)} {interval('+.3f')(against.found.mean)}"
    words = verdict(evidence(against, of_trained=True))
    return f"{text}; over {against.found.mean.n} pairs of one seed {gap}, taken by itself: {words}."


def _verdicts(found: Comparison) -> Iterator[tuple[str, str]]:
    """What the tests say against the baseline: the rate of divergence, and the loss where both trained."""
    sheet = next((sheet for sheet in found.sheets if sheet.name == "differences"), None)
    rows = sheet.rows if sheet else []
    if not rows:
        return
    knobs = found.study.grouping.knobs
    said = {label({key: row[key] for key in knobs}): row for row in rows}
    decided = [name for name, row in said.items() if not _is_open(str(row["verdict"]))]
    texts = [_verdict(name, said[name]) for name in decided[:_MOST]]
    if len(decided) > _MOST:
        texts.append(f"and {len(decided) - _MOST} more")
    rest = len(said) - len(decided)
    if rest:
        texts.append(f"{rest} of {len(said)} open or not tested")
    yield f"Against {label(found.study.base)}", f"{'; '.join(texts)}."


def _is_open(words: str) -> bool:
    return not words.startswith(("lower", "higher", "equal", "diverges", "neither trained"))


def _verdict(name: str, row: Mapping[str, Any]) -> str:
    fates, difference = row.get("diverged"), row.get("interval")
    details = []
    if fates is not None:
        details.append(f"diverged in {fates.this} of {fates.pairs}, there in {fates.other}")
    if difference is not None:
        details.append(f"{number('+.3f')(difference)} {interval('+.3f')(difference)} nats")
    return f"{name} {row['verdict']}" + (f" ({'; '.join(details)})" if details else "")


def _failure(study: Study, group: Group) -> str:
    failed = [run for run in group.runs.values() if study.figures(run).diverged]
    words = ", ".join(Counter(run.word for run in failed))
    first = first_event(group)
    began = f", first {first_words(first)}" if first else ""
    return f"{group.label} ({len(failed)} of {len(group.runs)} {words}{began})"


def _certainty(study: Study) -> str:
    least, most = (pick(len(group.runs) for group in study.groups) for pick in (min, max))
    seeds = f"{least}" if least == most else f"{least} to {most}"
    if most == 1:
        return "One seed a variant: nothing can be concluded about spread; train more, as in 'seed=range(5)'."
    if least < LEAST:
        few = f"nothing is tested below {LEAST} pairs"
        return f"{seeds} seeds a variant: {few}; train more, as in 'seed=range(5)'."
    if least < _FEW:
        return (
            f"{seeds} seeds a variant are few: intervals are wide, and a difference that is open may be real."
        )
    return f"{seeds} seeds a variant; the tests are corrected for how many there are (Holm)."

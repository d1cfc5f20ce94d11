"""The first lines of a page: what came out of the runs, in words that claim no more than that."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from normlab.analysis.compare import Comparison
from normlab.analysis.matching import Group
from normlab.analysis.page.question import Question, question
from normlab.analysis.page.runs import Card
from normlab.analysis.sheet import Marked, spread
from normlab.analysis.statistics import FEW
from normlab.analysis.study import Study
from normlab.analysis.tables import first_event, first_words, learnt_nothing

#: Variants that are named before the others are counted.
_NAMED = 4
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
        yield "Outcomes", f"{count_of(sum(done.values()))} finished: {counts}."
    cut = [card for card in cards if not card.run.finished]
    if cut:
        names = "; ".join(f"{card.label} ({card.cut_short or card.run.status})" for card in cut[:_NAMED])
        more = f" and {len(cut) - _NAMED} more" if len(cut) > _NAMED else ""
        what = "did not finish; drawn as far as there are rows, not compared"
        yield "Cut short", f"{count_of(len(cut))} {what}: {names}{more}."
    if found is None:
        yield "Not compared", trouble
        return
    if len(found.study.groups) > 1:
        yield from _best(found.study)
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
    """The variant with the lowest mean loss, and which others its interval does not set it apart from."""
    name = next((name for name in _LOSSES if any(study.values(group, name) for group in study.groups)), None)
    if name is None:
        yield "Best", "no run has a loss at its end."
        return
    means = {group.label: mean for group in study.groups if (mean := study.mean(group, name))}
    ranked = sorted(means, key=lambda label: means[label].estimate.value)
    best, others = means[ranked[0]], [(label, means[label]) for label in ranked[1:]]
    text = f"{ranked[0]}, with a {_LOSSES[name]} of {spread('.3f')(best)} nats a token"
    if best.estimate.half is not None:
        text += f" (mean and 95 % interval over {best.estimate.n} seeds)"
    yield "Lowest loss", f"{text}{_above(study, best)}. {_apart(best, others)}".rstrip()


def _above(study: Study, best: Marked) -> str:
    floors: Any = study.runs[0].summary.get("floors")
    bigram = floors.get("bigram") if isinstance(floors, dict) and len(study.texts) == 1 else None
    if not isinstance(bigram, int | float):
        return ""
    gap = best.estimate.value - bigram
    return f"; {abs(gap):.3f} {'above' if gap >= 0 else 'below'} the bigram entropy of the text"


def _apart(best: Marked, others: Sequence[tuple[str, Marked]]) -> str:
    if not others:
        return ""
    label, second = others[0]
    next_ = f"Next is {label} with {spread('.3f')(second)}"
    if best.estimate.high is None:
        return f"{next_}; with one seed, whether that is more than chance cannot be told."
    close = [
        other for _, other in others if other.estimate.low is None or other.estimate.low <= best.estimate.high
    ]
    if not close:
        return f"{next_}: no other interval reaches down to it."
    which = "its interval overlaps" if len(close) == 1 else f"the intervals of {len(close)} others overlap"
    return f"{next_}; {which}, so which of them is best is open."


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
    if least < FEW:
        return (
            f"{seeds} seeds a variant are few: intervals are wide, and a difference that is open may be real."
        )
    return f"{seeds} seeds a variant; the tests below are corrected for how many there are (Holm)."


def count_of(runs: int) -> str:
    """`1 run`, `2 runs`."""
    return f"{runs} run{'s' * (runs != 1)}"

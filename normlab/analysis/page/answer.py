"""The first lines of a page: what was asked of the runs, and what came out, in words that claim no more than that."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from normlab import groups, naming
from normlab.analysis.compare import Comparison
from normlab.analysis.matching import Group, spell
from normlab.analysis.page.runs import Card
from normlab.analysis.quantities import QUANTITIES
from normlab.analysis.sheet import Marked, spread
from normlab.analysis.statistics import FEW
from normlab.analysis.study import Study
from normlab.analysis.tables import first_event, first_words

#: Variants that are named before the others are counted.
_NAMED = 4
#: Settings that are named where all runs share them.
_SHARED = (
    "placement",
    "norm",
    "activation",
    "depth",
    "model.width",
    "warmup",
    "optimizer.lr",
    "train.steps",
    "data",
)
#: The losses by which a best variant is chosen: the first that the runs have.
_LOSSES = ("val/final", "loss/final")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Question and answer. `lines` come with a word for what they are about."""

    question: str
    #: Where the question is from and what its author expected, if it is a study.
    expected: str
    setting: str
    lines: Sequence[tuple[str, str]]


def answer(cards: Sequence[Card], found: Comparison | None, trouble: str = "") -> Answer:
    """Of one run what became of it, of several what they have in common and apart, who is best, who failed."""
    study, knobs = _study([card for card in cards if card.run.config]), _knobs(cards)
    if len(cards) == 1:
        question, lines = f"What became of {cards[0].run.path.resolve().name}?", _one(cards[0])
    else:
        varied = [key for key in knobs if key != "seed"]
        question = f"What difference {'do' if len(varied) > 1 else 'does'} {_and(varied)} make?"
        question = (
            question if varied else "How much of it is chance?" if knobs else "What became of these runs?"
        )
        lines = list(_several(cards, found, trouble))
    asked, expected = study or (question, "")
    return Answer(question=asked, expected=expected, setting=_setting(cards, knobs), lines=lines)


def _one(card: Card) -> list[tuple[str, str]]:
    lines = [("", line) for line in card.explanation.happened] if card.explanation else [("", card.trouble)]
    shown = (
        [cause for cause in card.explanation.causes if cause.finding.strength == "shown"]
        if card.explanation
        else []
    )
    lines += [("Why", cause.finding.claim) for cause in shown[:1]]
    return [*lines, *([("Cut short", card.cut_short)] if card.cut_short else [])]


def _several(cards: Sequence[Card], found: Comparison | None, trouble: str) -> Iterator[tuple[str, str]]:
    done = Counter(card.run.word for card in cards if card.run.finished)
    if done:
        counts = ", ".join(f"{count} {word}" for word, count in done.most_common())
        yield "Outcomes", f"{sum(done.values())} runs finished: {counts}."
    cut = [card for card in cards if not card.run.finished]
    if cut:
        names = "; ".join(f"{card.label} ({card.cut_short or card.run.status})" for card in cut[:_NAMED])
        more = f" and {len(cut) - _NAMED} more" if len(cut) > _NAMED else ""
        yield (
            "Cut short",
            f"{len(cut)} did not finish, are drawn as far as they go and compared with none: {names}{more}.",
        )
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
    yield "How sure", _certainty(found.study)


def _best(study: Study) -> Iterator[tuple[str, str]]:
    """The variant with the lowest mean loss, and which others its interval does not set it apart from."""
    name = next((name for name in _LOSSES if any(study.values(group, name) for group in study.groups)), None)
    if name is None:
        yield "Best", "no run has a loss at its end."
        return
    means = {group.label: mean for group in study.groups if (mean := study.mean(group, name))}
    ranked = sorted(means, key=lambda label: means[label].estimate.value)
    best = means[ranked[0]]
    quantity = QUANTITIES[name]
    text = (
        f"{ranked[0]}, with a {quantity.meaning.partition(' of ')[0]} of {spread('.3f')(best)} nats a token"
    )
    if best.estimate.half is not None:
        text += f" (mean and 95 % interval over {best.estimate.n} seeds)"
    yield (
        "Lowest loss",
        f"{text}{_above(study, best)}. {_apart(best, [(label, means[label]) for label in ranked[1:]])}",
    )


def _above(study: Study, best: Marked) -> str:
    floors: Any = study.runs[0].summary.get("floors")
    bigram = floors.get("bigram") if isinstance(floors, dict) and len(study.texts) == 1 else None
    if not isinstance(bigram, int | float):
        return ""
    gap = best.estimate.value - bigram
    return f"; {abs(gap):.3f} {'above' if gap >= 0 else 'below'} the bigram entropy of the text"


def _apart(best: Marked, others: Sequence[tuple[str, Marked]]) -> str:
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
        return "one seed a variant: nothing can be concluded about spread; train more, as in 'seed=range(5)'."
    if least < FEW:
        return (
            f"{seeds} seeds a variant are few: intervals are wide, and a difference that is open may be real."
        )
    return f"{seeds} seeds a variant; the tests below are corrected for how many there are (Holm)."


def _knobs(cards: Sequence[Card]) -> list[str]:
    return list(cards[0].knobs) if cards else []


def _setting(cards: Sequence[Card], knobs: Sequence[str]) -> str:
    """The values of what was varied; and what all share."""
    varied = [f"{key}: {', '.join(dict.fromkeys(card.knobs[key] for card in cards))}" for key in knobs]
    configs = [card.run.config for card in cards if card.run.config]
    shared = [
        f"{key.rpartition('.')[2]} {spell(naming.knob(configs[0], key))}"
        for key in _SHARED
        if configs and key not in knobs
    ]
    return "; ".join([*varied, ", ".join(shared)]) if shared else "; ".join(varied)


def _study(cards: Sequence[Card]) -> tuple[str, str] | None:
    """Question and expectation from the head of the study that all runs are of."""
    names = {_experiment(card) for card in cards}
    name = names.pop() if len(names) == 1 else ""
    path = groups.files("experiment").get(name)
    if path is None:
        return None
    parts = _head(path.read_text(encoding="utf-8"))
    expected = next((part.partition("Expected: ")[2] for part in parts if "Expected: " in part), "")
    return (parts[0], f"Expected ({name}): {expected}" if expected else "") if parts else None


def _experiment(card: Card) -> str:
    """The study named among the words that the run was started with."""
    try:
        words = yaml.safe_load((card.run.path / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
        return next(word.partition("=")[2] for word in words if str(word).startswith("experiment="))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, StopIteration, TypeError, AttributeError):
        return ""


def _head(text: str) -> list[str]:
    """The paragraphs of a file's first comment."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @"):
            lines.append(line.removeprefix("#").strip())
    return [" ".join(part.split("\n")) for part in "\n".join(lines).split("\n\n") if part]


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)

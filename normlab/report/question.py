"""What was asked of the runs: the question of the study they are of, else what was varied."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from normlab.catalogue import groups, naming
from normlab.catalogue.naming import spell
from normlab.disk.untrusted import PlainDataError, read_yaml
from normlab.report.cards import Card

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


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question in words."""

    text: str
    #: The values of what was varied, and what all runs share.
    setting: str
    #: What the author of the study expected.
    expected: str = ""


def question(cards: Sequence[Card]) -> Question:
    """The question of the cards, of which there is at least one."""
    knobs = list(cards[0].knobs)
    asked, expected = _study([card for card in cards if card.run.config]) or (_question(cards, knobs), "")
    return Question(text=asked, setting=_setting(cards, knobs), expected=expected)


def _question(cards: Sequence[Card], knobs: Sequence[str]) -> str:
    if len(cards) == 1:
        return "What became of this run?"
    varied = [key for key in knobs if key != "seed"]
    if varied:
        return f"What difference {'do' if len(varied) > 1 else 'does'} {_and(varied)} make?"
    return "How much of it is chance?" if knobs else "What became of these runs?"


def _setting(cards: Sequence[Card], knobs: Sequence[str]) -> str:
    """The values of what was varied; and what all share."""
    varied = [f"{key}: {', '.join(_in_order(card.knobs[key] for card in cards))}" for key in knobs]
    configs = [card.run.config for card in cards if card.run.config]
    shared = [
        f"{key.rpartition('.')[2]} {spell(naming.knob(configs[0], key))}"
        for key in _SHARED
        if configs and key not in knobs
    ]
    return "; ".join([*varied, ", ".join(shared)]) if shared else "; ".join(varied)


def _in_order(values: Iterable[str]) -> list[str]:
    """Each once: numbers rising, words as they come."""
    found = list(dict.fromkeys(values))
    try:
        return sorted(found, key=float)
    except ValueError:
        return found


def _study(cards: Sequence[Card]) -> tuple[str, str] | None:
    """Question and expectation from the head of the study that all runs are of."""
    names = {_experiment(card) for card in cards}
    name = names.pop() if len(names) == 1 else ""
    path = groups.files("experiment").get(name)
    if path is None:
        return None
    parts = _head(path.read_text(encoding="utf-8"))
    expected = next((part.partition("Expected: ")[2] for part in parts if "Expected: " in part), "")
    return (
        (parts[0], f"Expected of {name} as its file stands: {expected}" if expected else "")
        if parts
        else None
    )


def _experiment(card: Card) -> str:
    """The study named among the words that the run was started with."""
    try:
        words = read_yaml(card.run.path / ".hydra" / "overrides.yaml")
        return next(str(word).partition("=")[2] for word in words if str(word).startswith("experiment="))
    except (OSError, PlainDataError, StopIteration, TypeError, AttributeError):
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

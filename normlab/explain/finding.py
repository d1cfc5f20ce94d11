"""What a diagnosis gives: a claim, the numbers of this run behind it, and what is done about it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from normlab.explain.case import Case, Point

#: How much the numbers say: they show the cause; they fit it, and others; they are a remark beside it.
STRENGTHS = ("shown", "likely", "beside")


@dataclass(frozen=True)
class Evidence:
    """One observation of this run, as a sentence, with where its main number stands."""

    text: str
    point: Point | None = None

    def record(self) -> dict[str, Any]:
        if self.point is None:
            return {"text": self.text, "metric": None, "step": None, "place": None, "value": None}
        return {
            "text": self.text,
            "metric": self.point.metric or None,
            "step": self.point.step,
            "place": self.point.place or None,
            "value": self.point.value,
        }


@dataclass(frozen=True, kw_only=True)
class Cure:
    """What the literature does about it."""

    #: In words: "warm the rate up over 100 steps".
    meaning: str
    #: The settings that do it, as overrides.
    words: tuple[str, ...]
    #: The number that supports it, and where it was found.
    support: str
    #: Paper, with its arXiv id.
    source: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A diagnosis that this run's numbers support."""

    claim: str
    evidence: Sequence[Evidence]
    cures: Sequence[Cure | None] = ()
    source: str = ""
    strength: str = "shown"
    #: When its first sign was there.
    step: int = 0
    #: The last look without the sign, where it is not measured in every row.
    after: int | None = None

    def is_later(self, step: int) -> bool:
        """Whether its first sign was not there yet at `step`."""
        return (self.step - 1 if self.after is None else self.after) >= step


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """A row of the table."""

    name: str
    meaning: str
    find: Callable[[Case], Finding | None]
    #: Families of metrics without which it cannot be told, and the setting that has them measured.
    needs: tuple[str, ...] = ()
    measure: str = ""
    #: Whether it is a cause of trouble; the others are told of stable runs too.
    trouble: bool = True
    #: Whether it happens in a single step; other causes build up.
    sudden: bool = False

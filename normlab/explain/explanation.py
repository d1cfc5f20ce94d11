"""An explanation: what happened, what moved, why, what cures it, and what is not known."""

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normlab import naming
from normlab.explain.case import Case
from normlab.explain.closest import Closest, closest
from normlab.explain.finding import STRENGTHS, Cure, Finding
from normlab.explain.gaps import gaps
from normlab.explain.numbers import Moved, numbers
from normlab.explain.story import story
from normlab.explain.table import DIAGNOSES
from normlab.recorded import Recorded, read_recorded
from normlab.sinks.run_directory import plain


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A cure, with the command that tries it on this run."""

    cure: Cure
    command: str


@dataclass(frozen=True, kw_only=True)
class Cause:
    """A finding by the name of its diagnosis, with cures that this run can take."""

    name: str
    finding: Finding
    offers: Sequence[Offer]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What `normlab explain` says of a run."""

    directory: Path
    status: str
    outcome: str
    onset: int | None
    happened: Sequence[str]
    numbers: Sequence[Moved]
    #: What the numbers show before what they fit, and then remarks; each in the order of their first signs.
    causes: Sequence[Cause]
    unknown: Sequence[str]
    #: Only of a stable run.
    closest: Closest | None
    notes: Sequence[str]

    def record(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values: dict[str, Any] = {
            "run": str(self.directory),
            "status": self.status,
            "outcome": self.outcome,
            "onset": self.onset,
            "happened": list(self.happened),
            "numbers": [moved.record() for moved in self.numbers],
            "findings": [_record(cause) for cause in self.causes],
            "unknown": list(self.unknown),
            "closest": None if self.closest is None else self.closest.record(),
            "notes": list(self.notes),
        }
        result: dict[str, Any] = plain(values)
        return result


def _record(cause: Cause) -> dict[str, Any]:
    finding = cause.finding
    return {
        "name": cause.name,
        "claim": finding.claim,
        "strength": finding.strength,
        "step": finding.step,
        "evidence": [evidence.record() for evidence in finding.evidence],
        "source": finding.source,
        "cures": [
            {
                "meaning": offer.cure.meaning,
                "overrides": list(offer.cure.words),
                "command": offer.command,
                "support": offer.cure.support,
                "source": offer.cure.source,
            }
            for offer in cause.offers
        ],
    }


def explain(directory: Path) -> Explanation:
    """Explain the run in `directory`, from its files alone.

    Raises:
        RunDirectoryError: there is no run, or none of its rows can be read.
    """
    return explained(read_recorded(directory))


def explained(known: Recorded) -> Explanation:
    """Explain a run that has been read."""
    case = Case(known)
    found = _findings(case)
    words = naming.words(dataclasses.asdict(case.config))
    return Explanation(
        directory=known.directory,
        status=known.status,
        outcome=case.outcome,
        onset=case.onset if case.troubled else None,
        happened=story(case),
        numbers=numbers(case),
        causes=_causes(found, words),
        unknown=gaps(case, found),
        closest=None if case.troubled else closest(case),
        notes=known.notes,
    )


def _findings(case: Case) -> list[tuple[str, Finding]]:
    rows = [row for row in DIAGNOSES if case.troubled or not row.trouble]
    found = [(row.name, finding) for row in rows if (finding := row.find(case)) is not None]
    return sorted(found, key=lambda pair: (_rank(pair[1]), pair[1].step))


def _rank(finding: Finding) -> int:
    return STRENGTHS.index(finding.strength)


def _causes(found: Sequence[tuple[str, Finding]], words: Sequence[str]) -> list[Cause]:
    """Each cure is offered once, under the first cause that it is for."""
    causes, offered = [], set[tuple[str, ...]]()
    for name, finding in found:
        new = [cure for cure in finding.cures if cure is not None and cure.words not in offered]
        offered.update(cure.words for cure in new)
        offers = [
            Offer(cure=cure, command=f"normlab train {shlex.join(naming.changed(words, cure.words))}")
            for cure in new
        ]
        causes.append(Cause(name=name, finding=finding, offers=offers))
    return causes

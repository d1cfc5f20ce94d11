"""An explanation: what happened, what moved, why, what cures it, and what is not known."""

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normlab.catalogue import naming
from normlab.disk.strict_json import plain
from normlab.explain.case import Case
from normlab.explain.closest import Closest, closest
from normlab.explain.finding import STRENGTHS, Cure, Diagnosis, Finding
from normlab.explain.gaps import gaps
from normlab.explain.numbers import Moved, numbers
from normlab.explain.story import story
from normlab.explain.table import DIAGNOSES
from normlab.runs.recorded import Recorded, read_recorded

#: What one step does to the weights shows in the loss no later than this many steps after it.
SOON = 5


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
    #: Whether it came after the first trouble, and so can only have caused a later one.
    later: bool


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What `normlab explain` says of a run."""

    directory: Path
    status: str
    outcome: str
    onset: int | None
    #: The last row's step, if the run went on after it.
    rows_end: int | None
    happened: Sequence[str]
    numbers: Sequence[Moved]
    #: As `_findings` ranks them.
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
            "rows_end": self.rows_end,
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
        "later": cause.later,
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
    return Explanation(
        directory=known.directory,
        status=known.status,
        outcome=case.outcome,
        onset=case.onset if case.troubled else None,
        rows_end=case.last if known.cut else None,
        happened=story(case),
        numbers=numbers(case),
        causes=_causes(case, found),
        unknown=gaps(case, found),
        closest=None if case.troubled else closest(case),
        notes=[
            *known.notes,
            *([known.gap] if known.gap and (known.cut or case.config.train.log_every == 1) else []),
        ],
    )


def _findings(case: Case) -> list[tuple[str, Finding]]:
    """What is found of causes that the trouble can have, and remarks.

    First a thing of one step where the trouble began; then what had built up by then, by strength and by
    first sign; then what came after the first trouble, and so can only have caused later ones.
    """
    rows = [row for row in DIAGNOSES if case.visible or not row.trouble]
    found = [(row, finding) for row in rows if (finding := row.find(case)) is not None]
    found = [pair for pair in found if not (pair[0].trouble and pair[1].is_later(case.latest))]
    return [(row.name, finding) for row, finding in sorted(found, key=lambda pair: _rank(case, *pair))]


def _rank(case: Case, row: Diagnosis, finding: Finding) -> tuple[bool, bool, bool, int, int]:
    later = finding.is_later(case.onset)
    began_it = row.sudden and not later and finding.step >= case.onset - SOON
    beside = finding.strength == "beside"
    return beside, later, not began_it, STRENGTHS.index(finding.strength), finding.step


def _causes(case: Case, found: Sequence[tuple[str, Finding]]) -> list[Cause]:
    """Each cure is offered once, under the first cause that it is for, without a fault put in on purpose."""
    causes, offered = [], set[tuple[str, ...]]()
    words = [word for word in naming.words(dataclasses.asdict(case.config)) if not word.startswith("fault.")]
    for name, finding in found:
        new = [cure for cure in finding.cures if cure is not None and cure.words not in offered]
        offered.update(cure.words for cure in new)
        offers = [
            Offer(cure=cure, command=f"normlab train {shlex.join(naming.changed(words, cure.words))}")
            for cure in new
        ]
        later = finding.strength != "beside" and finding.is_later(case.onset)
        causes.append(Cause(name=name, finding=finding, offers=offers, later=later))
    return causes

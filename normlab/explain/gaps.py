"""What an explanation does not know, and which instrument would tell."""

from collections.abc import Sequence

from normlab.explain.case import Case
from normlab.explain.finding import Diagnosis, Finding
from normlab.explain.table import DIAGNOSES


def gaps(case: Case, found: Sequence[tuple[str, Finding]]) -> list[str]:
    """Causes that could not be looked for, causes that fit equally well, or no cause at all."""
    if not case.troubled:
        return []
    if not case.visible:
        return [
            f"The trouble began at step {case.onset} and the rows end at step {case.last}: none shows why."
        ]
    told = []
    causes = [(name, finding) for name, finding in found if finding.strength != "beside"]
    if not causes:
        told.append("None of the causes that normlab knows has evidence enough in these numbers.")
    if rivals := _rivals(causes):
        told.append(
            f"{' and '.join(rivals)} show at the same measurement, so which came first is open; "
            "measure=full train.log_every=1 looks more often."
        )
    for row in DIAGNOSES:
        if row.trouble and row.measure and not _looked(case, row):
            told.append(f"Whether {row.meaning} is not known: it was not measured; {row.measure} would show.")
    return told


def _looked(case: Case, row: Diagnosis) -> bool:
    """Whether its instrument was on, or left numbers all the same."""
    instrument = row.measure.partition("=")[0].removeprefix("measure.")
    return bool(getattr(case.config.measure, instrument)) or any(map(case.measured, row.needs))


def _rivals(causes: Sequence[tuple[str, Finding]]) -> list[str]:
    """Of the causes, those as strong as the first and seen at the same step."""
    if not causes:
        return []
    first = causes[0][1]
    same = [name for name, each in causes if (each.step, each.strength) == (first.step, first.strength)]
    return same if len(same) > 1 else []

"""Faults that were put into a run on purpose, told after what the numbers show."""

import dataclasses
from dataclasses import dataclass

from normlab.catalogue import naming
from normlab.explain.case import Case
from normlab.explain.finding import Cure, Evidence


@dataclass(frozen=True, kw_only=True)
class Injected:
    """What the config says of a fault: nothing, unless it is of the kind and the step that were seen."""

    evidence: tuple[Evidence, ...] = ()
    cures: tuple[Cure, ...] = ()


def injected(case: Case, *kinds: str, step: int) -> Injected:
    """The run's own fault, if it is one of `kinds` and fits `step`; a frozen embedding stays so."""
    fault = case.config.fault
    fits = step >= fault.step if fault.kind == "frozen_embedding" else step == fault.step
    if fault.kind not in kinds or not fits:
        return Injected()
    words = " ".join(
        word for word in naming.words(dataclasses.asdict(case.config)) if word.startswith("fault.")
    )
    cure = Cure(
        meaning="the same run without the fault",
        words=("fault.kind=none",),
        support="it is in this run's settings",
        source="config.yaml",
    )
    return Injected(evidence=(Evidence(f"this run had a fault put in on purpose: {words}"),), cures=(cure,))

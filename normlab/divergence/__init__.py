"""Divergence: detectors, each a fold over the rows of a run, the events they report and the run's outcome.

A detector is one file here and one row of `table.py`. Nothing here imports torch or knows where rows
come from.
"""

from normlab.divergence.event import Event, RunFacts
from normlab.divergence.outcome import (
    OUTCOMES,
    UNTRAINED,
    is_untrained,
    known_floors,
    outcome,
    recorded_outcome,
)
from normlab.divergence.spike_score import SpikeScores
from normlab.divergence.table import DETECTORS, KINDS
from normlab.divergence.watch import Watch

__all__ = [
    "DETECTORS",
    "KINDS",
    "OUTCOMES",
    "UNTRAINED",
    "Event",
    "RunFacts",
    "SpikeScores",
    "Watch",
    "is_untrained",
    "known_floors",
    "outcome",
    "recorded_outcome",
]

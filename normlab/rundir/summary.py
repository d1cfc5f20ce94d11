"""The figures of `summary.json`: a fold over the logged rows, and what its events come to."""

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Any

from normlab.config import PASSES
from normlab.divergence import Event, SpikeScores

#: Logged steps that `loss/final` and `loss/best` are means over: single batches are noisy.
SPAN = 20


class Tally:
    """Losses of a run so far."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=SPAN)
        self._best = math.nan
        self._val_final: float | None = None
        self._val_best = math.nan
        self._spikes = SpikeScores()
        #: First block's gradient norm over the last one's, and the step of that.
        self._slope: tuple[float | None, int | None] = None, None
        self._clips: Counter[float] = Counter()
        self._passes: dict[str, float] = {}
        self.steps = 0

    def row(self, row: Mapping[str, Any]) -> None:
        self.steps = row["step"] + 1
        self._recent.append(row.get("loss", math.nan))
        if len(self._recent) == SPAN:
            self._best = _lower(self._best, self._mean())
        self._spikes.take(row.get("loss", math.nan), row.get("grad_norm/global", math.nan))
        slope = row.get("grad_norm/first_to_last", math.nan)
        if math.isfinite(slope):
            self._slope = slope, row["step"]
        if "grad_clip/clipped" in row:
            self._clips[row["grad_clip/clipped"]] += 1
        self._passes |= {key: value for key, value in row.items() if key.partition("/")[0] in PASSES}
        if "val/loss" in row:
            self._val_final = row["val/loss"]
            self._val_best = _lower(self._val_best, self._val_final)

    def figures(self) -> dict[str, Any]:
        """`steps`, `loss/final`, `loss/best`, `val/final`, `val/best`, `spike_score/...`,
        `grad_norm/first_to_last` as it was last finite and the step of that; None where there is nothing yet.
        With clipping, `grad_clip/rate`: the share of the logged updates that were clipped. Then the latest of
        what was measured with passes of its own.

        A run shorter than `SPAN` rows has the mean over what there is for both losses.
        """
        final = self._mean() if self._recent else None
        return {
            "steps": self.steps,
            "loss/final": final,
            "loss/best": final if len(self._recent) < SPAN else self._best,
            "val/final": self._val_final,
            "val/best": None if self._val_final is None else self._val_best,
            **self._spikes.figures(),
            "grad_norm/first_to_last": self._slope[0],
            "grad_norm/first_to_last_step": self._slope[1],
            **({"grad_clip/rate": self._clips[1.0] / self._clips.total()} if self._clips else {}),
            **self._passes,
        }

    def _mean(self) -> float:
        return sum(self._recent) / len(self._recent)


def event_figures(status: str, events: Iterable[Event], outcome: str) -> dict[str, Any]:
    """`outcome` (None while the run is `running`), `events` (how many of each kind) and `first_event`.

    Its step and the first of its layers are there by themselves too, as columns for a table of runs; None
    where there is no event, or no layer to it.
    """
    records = [event.record() for event in events]
    first = min(records, key=lambda record: record["step"], default=None)
    return {
        "outcome": outcome if status != "running" else None,
        "events": dict(Counter(record["kind"] for record in records)),
        "first_event": first,
        "first_event_step": first["step"] if first else None,
        "first_event_layer": next(iter(first["layers"]), None) if first else None,
    }


def _lower(old: float, new: float) -> float:
    """The smaller of the two, where a NaN loses."""
    return new if math.isnan(old) or new < old else old

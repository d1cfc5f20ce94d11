"""What a detector is told of a run, and what it reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from normlab.catalogue.optimizers import Least
from normlab.terminal.wording import counted


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What is known of a run before its first row."""

    #: Entropies of the text in nats, by name (`uniform`, `unigram`, `bigram`).
    floors: Mapping[str, float]
    #: Steps of warm-up, and steps in all.
    warmup: int
    steps: int
    #: The gradients that are too small for the optimizer's step.
    least: Sequence[Least]
    #: Parameters of each site: `embedding`, `layer_00`, ..., `final_norm`, `head`.
    sizes: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Event:
    """One onset of one kind of trouble. (step, kind, metric) names it; its end is filled in later."""

    #: The row at which it was seen; a detector that waits for N rows says in the message for how long.
    step: int
    kind: str
    #: The key of the row's number that crossed the threshold.
    metric: str
    value: float
    threshold: float
    #: Sites concerned, such as `layer_03`; none where it is not a matter of layers.
    layers: tuple[str, ...] = ()
    #: Which places had left their own past, the first of them first: see `Bands.order`.
    order: tuple[Mapping[str, Any], ...] = ()
    message: str
    #: The row at which it was over; None while it lasts.
    end: int | None = None
    #: Whether it ended by the metric coming back; None while it lasts.
    recovered: bool | None = None
    #: Rows from `step` to `end`, if it recovered.
    recovery_steps: int | None = None
    #: The largest value and its step, where the detector keeps it; known at the end.
    peak: float | None = None
    peak_step: int | None = None
    #: Of a plateau: the entropy of the text it is at (`uniform`, `unigram`, `bigram`), `below` for a little
    #: below the unigram entropy, `between` for none.
    floor: str | None = None
    #: Of `nonfinite`: the parameter that is not finite; where it began, in the step run again under watch,
    #: and whether going `forward` or `backward`.
    parameter: str | None = None
    site: str | None = None
    direction: str | None = None

    @property
    def key(self) -> tuple[int, str, str]:
        return self.step, self.kind, self.metric

    def record(self) -> dict[str, Any]:
        """Plain values, ready for JSON but for numbers that are not finite."""
        plain: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        return plain | {"layers": list(self.layers), "order": [dict(each) for each in self.order]}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Event":
        """The event that `record` was made from."""
        tuples = {name: tuple(record[name]) for name in ("layers", "order") if name in record}
        return cls(**{**record, **tuples})

    def over(
        self, end: int, recovered: bool = True, peak: float | None = None, peak_step: int | None = None
    ) -> "Event":
        """The same event, ended at step `end`."""
        took = end - self.step
        later_peak = peak_step is not None and peak_step > self.step
        high = f"highest {peak:.4g} at step {peak_step}; " if later_peak else ""
        over = f"over at step {end}, {counted(took, 'step')} later"
        told = over if recovered else f"taken for the new level at step {end}"
        return replace(
            self,
            end=end,
            recovered=recovered,
            recovery_steps=took if recovered else None,
            message=f"{self.message}; {high}{told}",
            peak=peak,
            peak_step=peak_step,
        )

"""What every sink takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

#: One logged step: metric name -> number (a site's name where the value is one). `step` is always there.
Row = Mapping[str, float | int | str]


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What is known of a run before its first step."""

    directory: Path
    #: The resolved config as plain values, as in `config.yaml`.
    config: dict[str, Any]
    #: A short name: the slug of what differs from the defaults.
    name: str
    #: The sweep's name, or None for a single run.
    sweep: str | None
    #: `uniform`, `unigram`, `bigram` (and `entropy_rate` where it is known), in nats.
    floors: Mapping[str, float]
    #: Trainable parameters.
    parameters: int
    #: The first step to come: 0, or the checkpoint's when resumed.
    first_step: int
    #: Whether `directory` already holds this run, which now goes on.
    resumed: bool = False
    #: The events up to `first_step`, of a run that goes on.
    events: Sequence[Mapping[str, Any]] = ()
    #: The command that goes on with a stopped run, less its directory; empty where none is to be told.
    resume: str = ""


def event_key(event: Mapping[str, Any]) -> tuple[int, str, str]:
    """What makes two event records the same event: (step, kind, metric)."""
    return event["step"], event["kind"], event["metric"]


class Sink(Protocol):
    """Takes the rows and events of one run, in order; `close` is called once, also after an error."""

    def open(self, opening: Opening) -> None: ...

    def row(self, row: Row) -> None: ...

    def event(self, event: Mapping[str, Any]) -> None:
        """A new event, or an earlier one (same step, kind and metric) with more known of it."""

    def close(self, summary: Mapping[str, Any]) -> None: ...

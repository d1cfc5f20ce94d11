"""The training loop. It knows no sink, no tracker and no command line."""

import math
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from normlab.divergence import Event, outcome
from normlab.training.batch import evaluate
from normlab.training.checkpoint import Cadence
from normlab.training.job import Job
from normlab.training.step import take_step


class Listener(Protocol):
    """What the loop tells the world."""

    def row(self, row: dict[str, Any]) -> None: ...

    def events(self, events: Iterable[Event]) -> None: ...

    def checkpoint(self, job: Job) -> None: ...


def train(job: Job, listener: Listener, interrupted: Callable[[], bool]) -> None:
    """Train from `job.step` to the last step, an interrupt, non-finite parameters or a stop on divergence."""
    settings, start = job.config.train, time.perf_counter() - job.seconds
    cadence = Cadence(settings.checkpoint)
    end = job.step if is_over(job) else settings.steps
    while job.step < end:
        last = job.step + 1 == settings.steps
        if evaluated := last or (job.step + 1) % settings.eval_every == 0:
            job.passes.begin(job, last=last)
        row = take_step(job)
        if evaluated:
            row["val/loss"] = evaluate(job)
            row.update(job.passes.measure(job, row["lr"]))
        if not _finite(row) and (name := job.layout.nonfinite()):
            row["nonfinite/parameter"] = name
        row["time/seconds"] = time.perf_counter() - start
        job.step += 1
        job.best = min(job.best, (row.get("val/loss", math.inf), job.step))
        job.ring.add(row)
        events = job.watch.update(row)
        if last or row["step"] % settings.log_every == 0 or "val/loss" in row or events:
            listener.row(row)
        listener.events(events)
        if job.world.any("nonfinite/parameter" in row or interrupted()):
            break
        if events and _is_stopped(job):
            break
        if not last and (job.world.any(cadence.due(job.step)) or job.best[1] == job.step):
            listener.checkpoint(job)
    listener.checkpoint(job)


def is_over(job: Job) -> bool:
    """Whether a run that goes on had ended: by a stop on divergence, or by parameters that are not finite."""
    return job.step > 0 and (_is_stopped(job) or job.layout.nonfinite() is not None)


def _is_stopped(job: Job) -> bool:
    return job.config.divergence.action == "stop" and outcome(job.watch.events) != "stable"


def _finite(row: dict[str, Any]) -> bool:
    return all(math.isfinite(row.get(key, 0.0)) for key in ("loss", "grad_norm/global", "val/loss"))

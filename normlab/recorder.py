"""What the loop says, passed on to every sink, with the running summary."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, nullcontext, suppress
from typing import Any

from normlab.config import PAD
from normlab.data import split
from normlab.divergence import Event, outcome
from normlab.divergence.nonfinite import WORDS
from normlab.rundir.opening import Opening
from normlab.rundir.summary import Tally, event_figures
from normlab.rundir.writer import CHECKPOINTS, RunDirectory, read_rows
from normlab.sinks.console.console_sink import ConsoleSink
from normlab.sinks.wandb.wandb_sink import WandbSink
from normlab.training import checkpoint, restart
from normlab.training.job import Job


class Recorder:
    """The loop's listener. `facts` are the summary's fixed keys: floors, parameters and so on."""

    def __init__(
        self,
        job: Job,
        files: RunDirectory,
        wandb: WandbSink,
        console: ConsoleSink,
        facts: Mapping[str, Any],
        decode: Callable[[Iterable[int]], str],
    ) -> None:
        self.job, self.files, self.wandb, self.console = job, files, wandb, console
        self.sinks = (files, wandb, console)
        self.facts, self.decode = dict(facts), decode
        self.tally = Tally()
        self._tokens, self._seconds = 0, 0.0
        self._began = time.perf_counter() - job.seconds

    def open(self, opening: Opening) -> None:
        self.directory = opening.directory
        if opening.resumed:
            for row in read_rows(opening.directory):
                self.tally.row(row)
        for sink in self.sinks:
            sink.open(opening)
        self.files.write_summary(self.summary("running"))

    def close(self, status: str, **more: Any) -> dict[str, Any]:
        """Close every sink, whatever becomes of the others; returns the summary.

        It is written before wandb's close, which can take long, and again with what that found.
        """

        def summary() -> dict[str, Any]:
            return self.summary(status, **more)

        with ExitStack() as last_comes_first:
            last_comes_first.callback(lambda: self.console.close(summary()))
            last_comes_first.callback(lambda: self.files.close(summary()))
            last_comes_first.callback(lambda: self.wandb.close(summary()))
            with suppress(OSError) if status == "failed" else nullcontext():  # that disk, perhaps
                self.files.write_summary(summary())
        return summary()

    def row(self, row: dict[str, Any]) -> None:
        self.tally.row(row)
        speed = row["time/tokens_per_second"]
        size = self.job.config.train.batch_size * self.job.config.model.context
        self._tokens, self._seconds = self._tokens + size, self._seconds + size / speed
        numbers = {key: value for key, value in row.items() if key not in WORDS}  # words are the event's
        for sink in self.sinks:
            sink.row(numbers)

    def events(self, events: Iterable[Event]) -> None:
        for event in events:
            for sink in self.sinks:
                sink.event(event.record())
            if self.job.config.measure.ring and event.step == self.job.step - 1:
                self.files.snapshot(event.record(), self._moment)
            if event.step == self.job.step - 1 and outcome([event]) != "stable":
                self._keep_before(event)

    def _keep_before(self, event: Event) -> None:
        """Keep the last checkpoint from before the first event that decides the outcome and has one."""
        folder = self.directory / CHECKPOINTS
        if not list(folder.glob("before-*.pt")):
            name = checkpoint.BEFORE.format(step=event.step, kind=event.kind)
            checkpoint.keep_as(name, folder, event.step)

    def _moment(self) -> dict[str, Any]:
        """The latest steps, and what the very latest was made of."""
        step = self.job.step - 1
        batch_BT = self.job.batches.train(step)
        # Of windows their last target too, which is not read.
        read_BT = batch_BT if batch_BT.ndim == 2 else split(batch_BT)[0]
        return {
            **self.job.ring.arrays(),
            "batch/step": step,
            "batch/ids": batch_BT,
            "batch/text": [self.decode(ids_T[ids_T != PAD].tolist()) for ids_T in read_BT],
            **{f"rng/{index}": state.numpy() for index, state in enumerate(self.job.step_rng)},
        }

    def checkpoint(self, job: Job) -> None:
        folder, keep = self.directory / CHECKPOINTS, job.config.train.checkpoint.keep
        self.files.settle()
        record = {"rows": self.files.count, "kept": restart.kept(self.directory)}
        checkpoint.save(folder, job.step, job.state_dict() | record, keep)
        if job.best[1] == job.step:
            checkpoint.keep_as(checkpoint.BEST, folder, job.step)
        self.files.write_summary(self.summary("running"))

    def summary(self, status: str, **more: Any) -> dict[str, Any]:
        """`summary.json` as it stands."""
        found = event_figures(status, self.job.watch.events, self.job.watch.outcome)
        return {
            "status": status,
            "outcome": found.pop("outcome"),
            **self.tally.figures(),
            **found,
            "tokens_per_second": round(self._tokens / self._seconds, 1) if self._seconds else None,
            "seconds": round(time.perf_counter() - self._began, 2),
            **self.facts,
            "wandb": self.wandb.record(),
            **more,
        }

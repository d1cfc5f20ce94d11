"""The composition root: a RunConfig becomes tokens, model, optimizer, instruments and sinks, and is trained.

A run needs only its config and a directory, so it can be started in a child process.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from normlab.catalogue.norms import leak_in_evaluation
from normlab.catalogue.placement_row import norms
from normlab.config import DataConfig, RunConfig
from normlab.data import Corpus, load_corpus
from normlab.errors import ConfigError, RunDirectoryError
from normlab.figures import pictures
from normlab.machine import ranks
from normlab.recorder import Recorder
from normlab.rundir import environment
from normlab.rundir.opening import Opening
from normlab.rundir.resuming import check_same, located, moved
from normlab.rundir.writer import RunDirectory, check_free, hold, tidy
from normlab.sinks.console.console_sink import ConsoleSink
from normlab.sinks.wandb.wandb_sink import WandbSink
from normlab.terminal.screen import mirrored
from normlab.training import restart
from normlab.training.build import build, pick_device
from normlab.training.checks import check_model
from normlab.training.interrupt import Interrupt
from normlab.training.job import Job
from normlab.training.loop import train
from normlab.training.sharding import WORLDS
from normlab.training.workers import gathered
from normlab.training.world import Alone, lead


def check(config: RunConfig, texts: dict[tuple[DataConfig, int], Corpus] | None = None) -> Corpus:
    """Refuse what cannot be trained, before anything is written; returns the text that it is trained on.

    Args:
        texts: those loaded so far, each of which is enough for many runs; this one is added.
    Raises:
        UserError: what `check_model` raises, a text that cannot be read or is too short.
    """
    check_model(config)
    texts = {} if texts is None else texts
    key = config.data, config.model.context
    if key not in texts:
        texts[key] = load_corpus(*key)
    return texts[key]


@mirrored()
def run(
    config: RunConfig,
    directory: Path,
    *,
    sweep: str | None = None,
    plain: bool = False,
    corpus: Corpus | None = None,
) -> dict[str, Any]:
    """Train `config` from its first step and leave everything in `directory`; returns the summary.

    A run that diverges is `finished`. An interrupted one has `status` `interrupted` and the signal's number
    under `signal`.

    Args:
        sweep: the sweep that this run belongs to.
        plain: no live view, even on a terminal.
        corpus: what `check` gave for this config, which is then not checked again.
    Raises:
        UserError: the config cannot be trained, or the directory holds a run.
    """
    config = located(config, Path.cwd())
    corpus = corpus or check(config)
    with hold(directory), Interrupt() as interrupt:
        check_free(directory)
        attempt = Attempt(directory=directory, sweep=sweep, plain=plain, interrupt=interrupt)
        with _world(config, interrupt) as world:
            return _train(build(config, corpus, world), corpus, attempt)


@contextmanager
def _world(config: RunConfig, interrupt: Interrupt, checkpoint: Path | None = None) -> Iterator[Alone]:
    """This process and the others of the run, if there are any: they go on from the checkpoint too.

    Raises:
        Interrupted: a signal came before they did.
    """
    task = {"config": dataclasses.asdict(config), "checkpoint": str(checkpoint) if checkpoint else None}
    with (
        gathered(config, checkpoint),
        lead(
            task,
            pick_device(config.train.device),
            WORLDS[config.train.parallel],
            lambda: interrupt.signal,
        ) as world,
    ):
        yield world


@mirrored()
def resume(config: RunConfig, directory: Path, *, plain: bool = False) -> dict[str, Any]:
    """Continue the run in `directory` from its last good checkpoint as if it had never stopped.

    Without any it starts from its first step. Returns its summary.

    Raises:
        RunDirectoryError: there is no run, or nothing is left to train.
        CheckpointError: no checkpoint of it can be read, or the last is another run's.
    """
    config = located(config, Path.cwd())
    warnings, elsewhere = check_same(config, directory), moved(config, directory)
    with hold(directory), Interrupt() as interrupt:
        tidy(directory)
        summary, damage = restart.summary_of(directory)
        warnings += damage
        ended = summary.get("status") in ("finished", "interrupted")
        found = restart.find(config, directory, pick_device(config.train.device), ended=ended)
        # A run that was stopped between its last step and its last word has only that left to do.
        if found and (why := restart.is_done(config, found, summary)):
            raise RunDirectoryError(f"{directory} {why}")
        corpus = check(config)
        with _world(config, interrupt, found.path.absolute() if found else None) as world:
            job = build(config, corpus, world)
            _check_text(job, summary, directory, elsewhere)
            warnings += restart.restore(job, found, directory)
            attempt = Attempt(
                directory=directory,
                sweep=summary.get("sweep"),
                plain=plain,
                interrupt=interrupt,
                resumed=True,
                warnings=tuple(warnings),
            )
            return _train(job, corpus, attempt)


def _check_text(job: Job, summary: Mapping[str, Any], directory: Path, elsewhere: str) -> None:
    """Refuse to go on with another text than before; `elsewhere` is the key of a path that has changed."""
    order = summary.get("batch_order")
    if order is None and elsewhere:
        raise ConfigError(elsewhere, f"{directory} has no hash of its text; give the path that it had")
    if order not in (None, job.batches.order):
        raise RunDirectoryError(f"{directory}: the text is not the one that this run was trained on")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt at a run: where, in whose name and how it is shown."""

    directory: Path
    sweep: str | None
    plain: bool
    interrupt: Interrupt
    #: Whether the directory already holds this run, which now goes on.
    resumed: bool = False
    warnings: tuple[str, ...] = ()


def _train(job: Job, corpus: Corpus, attempt: Attempt) -> dict[str, Any]:
    """Open the sinks, train and close them, whatever happens; returns the summary."""
    config, directory, sweep = job.config, attempt.directory, attempt.sweep
    facts: dict[str, Any] = {
        "name": _name(directory),
        "sweep": sweep,
        "floors": corpus.floors.as_dict(),
        "parameters": sum(job.layout.sizes.values()),
        "sizes": job.layout.sizes,
        "batch_order": job.batches.order,
        **_caveat(config),
    }
    opening = Opening(
        directory=directory,
        config=dataclasses.asdict(config),
        name=facts["name"],
        sweep=sweep,
        floors=facts["floors"],
        parameters=facts["parameters"],
        first_step=job.step,
        resumed=attempt.resumed,
        events=[event.record() for event in job.watch.events],
        # The sweep tells it for all its jobs.
        resume="" if sweep else f"{ranks.command()} resume",
    )
    console = ConsoleSink(plain=attempt.plain)
    files = RunDirectory(environment.describe(config, job.device))
    wandb = WandbSink(config.tracker, pictures, console.warn)
    report = Recorder(job, files, wandb, console, facts, corpus.decode)
    status = "failed"
    more: dict[str, Any] = {}
    try:
        report.open(opening)
        for warning in attempt.warnings:
            console.warn(warning)
        if blind := environment.blind():
            console.warn(blind)
        if unfinished := config.placement.unfinished(config.depth, config.model.width, config.train.steps):
            console.warn(unfinished)
        if left_out := job.instruments.left_out:
            console.warn(f"left out {'; '.join(left_out)}")
        if config.train.parallel == "fsdp" and job.world.size == 1:
            console.warn("train.parallel=fsdp: one process shares nothing; train.processes=2 trains on two")
        with job.world.train():
            train(job, report, lambda: attempt.interrupt.signal is not None)
        signal = attempt.interrupt.signal
        stopped = signal is not None and job.step < config.train.steps
        status, more = ("interrupted", {"signal": signal}) if stopped else ("finished", {})
    except BaseException as error:
        more = {"error": f"{type(error).__name__}: {error}"}
        raise
    finally:
        summary = report.close(status, **more)
    # A signal that came too late for this run still ends the sweep around it.
    return summary | {"signal": attempt.interrupt.signal}


def _caveat(config: RunConfig) -> dict[str, str]:
    """What the summary says of a validation loss that has seen the future; nothing of any other."""
    if not norms(config.placement, config.depth):
        return {}
    leaks = leak_in_evaluation(config.norm, config.data.objective)
    return {"val/caveat": f"optimistic with norm={config.norm.name}: {leaks}"} if leaks else {}


def _name(directory: Path) -> str:
    """The run's slug: its folder less the time."""
    return re.sub(r"^\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-\d{3}-", "", directory.name)

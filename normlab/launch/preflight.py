"""Checks before the first step: every job's config is built and looked at before Hydra makes a folder."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from normlab import sweep
from normlab.catalogue import naming
from normlab.compose import job_names, messages, rows
from normlab.compose.job_names import JobNames
from normlab.compose.schema import to_run_config
from normlab.config import RunConfig
from normlab.errors import require
from normlab.launch import engines, standing, stopping
from normlab.launch.composed_once import compose_jobs_once
from normlab.launch.jobs import check_jobs, check_whole, hydra_config
from normlab.launch.signals import import_run
from normlab.rundir.folders import check_directory, check_parent, remove, remove_unstarted
from normlab.sweep import FILE, TO_TRAIN, Planned

#: The variable with which Hydra is told to show exceptions as they are.
RAW = "HYDRA_FULL_ERROR"


class Refused(BaseException):
    """Nothing was started; the text says why, or its cause is the error to raise.

    No Exception, because Hydra makes warnings of those of a callback.
    """


class Dry(BaseException):
    """There is nothing to do once the sweep is planned; no Exception, as `Refused`."""


def wants_raw() -> bool:
    """Whether the user wants exceptions as they are (HYDRA_FULL_ERROR=1)."""
    return os.environ.get(RAW) == "1"


@dataclass(kw_only=True)
class Session:
    """What this process learns of the command that it runs."""

    #: The sweep's folder and its jobs; None for a single run.
    sweep: Path | None = None
    planned: list[Planned] = field(default_factory=list)
    #: What there is to do for each: `standing.standing`.
    standings: list[str] = field(default_factory=list)
    #: What the jobs are called.
    names: JobNames = field(default_factory=JobNames)
    #: Whether the sweep is only planned.
    dry: bool = False
    #: Jobs to run instead of those that the command's words make, each with all its words.
    trials: list[list[str]] = field(default_factory=list)
    #: The command that goes on with the sweep in a folder.
    resume_command: Callable[[Path], str] | None = None
    #: Whether a launcher runs the jobs in processes of its own.
    spread: bool = False
    #: The words of each `row` of a zipped or listed sweep.
    rows: list[list[str]] = field(default_factory=list)
    #: What was in the folders of the jobs, and of the sweep, before Hydra made them.
    before: dict[Path, frozenset[Path]] = field(default_factory=dict)
    #: Errors of jobs by folder.
    failures: dict[Path, Exception] = field(default_factory=dict)
    #: What later jobs of the sweep find in their environment.
    environment: dict[str, str] = field(default_factory=dict)
    raw: bool = field(default_factory=wants_raw)
    #: The text of a single run, once it is checked.
    corpus: Any = None
    #: The config of each run by its folder, once it is checked.
    checked: dict[Path, RunConfig] = field(default_factory=dict)

    def watch(self, directory: Path) -> None:
        """Note what is in `directory`, so that `take_back` leaves it there."""
        place = directory.absolute()
        there = [place, *place.glob("*"), *place.glob(".hydra/*")] if place.is_dir() else []
        self.before[place] = frozenset(there)

    def elsewhere(self) -> Path | None:
        """The sweep's folder, where a launcher runs its jobs in processes of its own."""
        return self.sweep if self.spread else None

    def take_back(self) -> bool:
        """Remove the folders in which no run began; returns whether one did in any."""
        whole = self.sweep.absolute() if self.sweep is not None else None
        began = bool(self.failures)
        for place, before in self.before.items():
            if place != whole and place not in self.failures:
                began |= not remove_unstarted(place, before)
        # Jobs that a launcher has sent off may yet begin: what tells them to stop must stay.
        if whole in self.before and whole is not None and not began and not self.spread:
            ours = ("multirun.yaml", FILE, job_names.FILE, stopping.FILE, standing.BEFORE)
            remove(whole, ours, self.before[whole])
        return began


#: The way from a command to the callback and to the task, which Hydra calls without it.
_SESSION: ContextVar[Session] = ContextVar("session")


@contextmanager
def known_to_hydra(session: Session) -> Iterator[None]:
    """What Hydra calls meanwhile is part of this session."""
    token = _SESSION.set(session)
    try:
        yield
    finally:
        _SESSION.reset(token)


def current() -> Session:
    """The session in which Hydra was called; one of its own in a process that a launcher made."""
    return _SESSION.get(None) or Session(raw=False)


class Preflight(Callback):
    """Hydra calls it before a run or a sweep, and before it makes a folder."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        session = current()
        with _refusing(config, session), hydra_config(config):
            naming.check_sweep_name(config.sweep.name)
            run_config = to_run_config(config)
            _check_single(run_config)
            directory = Path(str(config.hydra.run.dir))
            check_directory(directory)
            session.corpus = import_run().check(run_config)
            session.checked[directory.absolute()] = run_config
            session.watch(directory)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        session = current()
        with _refusing(config, session), hydra_config(config):
            engines.check(config)
            check_whole(config)
            compose_jobs_once()
            directory = Path(str(config.hydra.sweep.dir))
            check_parent(directory)
            if str(config.hydra.sweeper.get("_target_", "")).endswith(".BasicSweeper"):
                trials = session.trials
                session.rows = rows.replace(config, trials) if trials else rows.lay_out(config)
                found = check_jobs(config, directory, session.rows)
                session.planned, session.standings, session.names = found
                session.checked |= {
                    job.directory.absolute(): job.settings for job in session.planned if job.settings
                }
            if session.trials and set(session.standings) == {"finished"}:
                session.sweep = directory
                raise Dry
            if session.dry:
                raise Dry
            engines.start(config)
            if set(session.standings) - {"new"} and not session.trials:
                print(f"sweep {directory.name}: {standing.words(session.standings)}", flush=True)
            _begin(config, directory, session)


def _begin(config: DictConfig, directory: Path, session: Session) -> None:
    """The sweep's folder, as Hydra and the jobs find it."""
    session.sweep = directory
    session.spread = config.hydra.runtime.choices["hydra/launcher"] != "basic"
    stopping.forget(directory)
    jobs = sum(found in TO_TRAIN for found in session.standings)
    trains = [config.train, *(job.config["train"] for job in session.planned)]
    engines.share_cores(config, jobs, max(train["processes"] for train in trains))
    for place in (directory, *(job.directory for job in session.planned)):
        session.watch(place)
    # From the start, so that `normlab sweep status` knows what is to come.
    command = session.resume_command(directory) if session.resume_command else None
    sweep.write(directory, sweep.read_jobs(directory, session.planned), command)
    job_names.write_names(directory, session.names)
    if config.sweep.fail_fast:
        standing.note_what_was_before(directory)


@contextmanager
def _refusing(config: DictConfig, session: Session) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if session.raw or not messages.is_known(error):
            raise Refused from error
        # As typed: an interpolation among them may be what is wrong.
        typed: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
        raise Refused(messages.explain(error, typed)) from None


def _check_single(config: RunConfig) -> None:
    makes = "goes with -m, which makes a sweep; in a file of yours, hydra: {mode: MULTIRUN} does"
    for key in ("zip", "rows"):
        require(not getattr(config.sweep, key), f"sweep.{key}", makes)

"""Checks before the first step: every job's config is built and looked at before Hydra makes a folder."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # its splitting has no public name
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from normlab import naming, sweep
from normlab.config import RunConfig
from normlab.errors import ConfigError, RunDirectoryError, UserError, require
from normlab.launch import engines, messages, rows, standing, stopping
from normlab.launch.schema import to_run_config
from normlab.launch.signals import import_run
from normlab.sinks.run_directory import (
    CHECKPOINTS,
    CONFIG,
    ENVIRONMENT,
    EVENTS,
    LOCK,
    ROWS,
    SUMMARY,
    check_free,
)
from normlab.sweep import FILE, TO_TRAIN, Planned

#: How many different problems of a sweep's jobs are shown, and jobs of each.
_SHOWN = 5
_TWICE = "the same job twice"
#: What a run and Hydra write into its folder before the first step.
_MADE = (CONFIG, ENVIRONMENT, EVENTS, ROWS, LOCK, f"{CONFIG}.part", f"{ENVIRONMENT}.part", "train.log")


class Refused(BaseException):
    """Nothing was started; the text says why, or its cause is the error to raise.

    No Exception, because Hydra makes warnings of those of a callback.
    """


class Dry(BaseException):
    """There is nothing to do once the sweep is planned; no Exception, as `Refused`."""


@dataclass
class Session:
    """What this process learns of the command that it runs."""

    #: The sweep's folder and its jobs; None for a single run.
    sweep: Path | None = None
    planned: list[Planned] = field(default_factory=list)
    #: What there is to do for each: `standing.standing`.
    standings: list[str] = field(default_factory=list)
    #: Whether the sweep is only planned.
    dry: bool = False
    #: Jobs to run instead of those that the command's words make, each with all its words.
    trials: list[list[str]] = field(default_factory=list)
    #: The command that goes on with the sweep in a folder.
    again: Callable[[Path], str] | None = None
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
    #: Whether the user wants exceptions as they are (HYDRA_FULL_ERROR=1).
    raw: bool = False

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
            _remove(whole, ("multirun.yaml", FILE, stopping.FILE), self.before[whole])
        return began


def remove_unstarted(directory: Path, before: frozenset[Path] = frozenset()) -> bool:
    """Take back what a run that did not begin has made; returns False where it did begin."""
    if (directory / SUMMARY).exists():
        return False
    _remove(directory / ".hydra", ("*.yaml",), before)
    _remove(directory / CHECKPOINTS, (), before)
    _remove(directory, _MADE, before)
    return True


def _remove(directory: Path, patterns: Sequence[str], before: frozenset[Path]) -> None:
    with suppress(OSError):
        for path in [path for pattern in patterns for path in directory.glob(pattern)]:
            if path not in before:
                path.unlink()
        if directory not in before:
            directory.rmdir()


session = Session()


class Preflight(Callback):
    """Hydra calls it before a run or a sweep, and before it makes a folder."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        with _refusing(config), _hydra_config(config):
            naming.check_sweep_name(config.sweep.name)
            run_config = to_run_config(config)
            _check_single(run_config)
            check_directory(Path(str(config.hydra.run.dir)))
            _check(run_config)
            session.watch(Path(str(config.hydra.run.dir)))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        with _refusing(config), _hydra_config(config):
            engines.check(config)
            _check_whole(config)
            directory = Path(str(config.hydra.sweep.dir))
            _check_parent(directory)
            if str(config.hydra.sweeper.get("_target_", "")).endswith(".BasicSweeper"):
                trials = session.trials
                session.rows = rows.replace(config, trials) if trials else rows.lay_out(config)
                session.planned = _check_jobs(config, directory, _jobs(config))
            if session.trials and set(session.standings) == {"finished"}:
                session.sweep = directory
                raise Dry
            if session.dry:
                raise Dry
            engines.start(config)
            if set(session.standings) - {"new"} and not session.trials:
                print(f"sweep {directory.name}: {standing.words(session.standings)}", flush=True)
            _begin(config, directory)


def _begin(config: DictConfig, directory: Path) -> None:
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
    again = session.again(directory) if session.again else None
    sweep.write(directory, sweep.read_jobs(directory, session.planned), again)


@contextmanager
def _refusing(config: DictConfig) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if session.raw or not messages.is_known(error):
            raise Refused from error
        raise Refused(messages.explain(error, list(config.hydra.overrides.task))) from None


@contextmanager
def _hydra_config(config: DictConfig) -> Iterator[None]:
    """`${hydra:...}` means this config, as it will when Hydra runs the job."""
    holder: Any = HydraConfig.instance()
    before, holder.cfg = holder.cfg, config
    try:
        yield
    finally:
        holder.cfg = before


def _check_single(config: RunConfig) -> None:
    makes = "goes with -m, which makes a sweep; in a file of yours, hydra: {mode: MULTIRUN} does"
    for key in ("zip", "rows"):
        require(not getattr(config.sweep, key), f"sweep.{key}", makes)


def _check(config: RunConfig) -> None:
    import_run().check(config)


def _check_whole(config: DictConfig) -> None:
    """Check the settings of the whole sweep, which no job has for itself."""
    for override in _overrides(config):
        key = override.key_or_group
        if key.startswith("sweep.") and override.is_sweep_override():
            raise ConfigError(key, f"is for the whole sweep, which has one; {override.input_line} gives more")
    naming.check_sweep_name(config.sweep.name)
    OmegaConf.to_object(config.sweep)


def _overrides(config: DictConfig) -> list[Override]:
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    return parser.parse_overrides([*params, *config.hydra.overrides.task])


def _jobs(config: DictConfig) -> list[list[str]]:
    """The overrides of each job, split as BasicSweeper will."""
    overrides = _overrides(config)
    for override in overrides:
        if override.is_interval_sweep():
            key = override.key_or_group
            problem = (
                f"only Optuna draws from an interval: hydra/sweeper=optuna_tpe; or list values, {key}=A,B"
            )
            raise ConfigError(key, problem)
    batches = BasicSweeper.split_arguments(overrides, None)
    jobs = [list(job) for batch in batches for job in batch]
    if not jobs:
        empty = [each.input_line for each in overrides if each.is_sweep_override()]
        raise ConfigError("sweep", f"there is no job to run: nothing matches {' '.join(map(str, empty))}")
    return jobs


def _check_jobs(config: DictConfig, directory: Path, jobs: Sequence[list[str]]) -> list[Planned]:
    planned: list[Planned] = []
    problems: dict[str, list[str]] = {}
    built: list[tuple[RunConfig, str]] = []
    for number, overrides in enumerate(jobs):
        spelt = rows.spelt(overrides, session.rows)
        words = " ".join(spelt)
        try:
            run_config, folder = _compose_job(config, directory, overrides, number)
            _check_twins(folder, spelt, planned)
            _check_parent(folder)
            planned.append(Planned(directory=folder, overrides=tuple(spelt), settings=run_config))
            built.append((run_config, words))
        except (*messages.KNOWN, ValueError) as error:
            if not messages.is_known(error):
                raise
            problems.setdefault(messages.explain(error, spelt), []).append(words)
    for (run_config, words), job in zip(built, planned, strict=True) if not problems else []:
        try:
            _check(run_config)
            session.standings.append(standing.check(run_config, job.directory))
        except UserError as error:
            problems.setdefault(messages.explain(error, words.split()), []).append(words)
    if problems:
        raise UserError(_report(problems, len(jobs)))
    return planned


def _compose_job(
    config: DictConfig, directory: Path, overrides: list[str], number: int
) -> tuple[RunConfig, Path]:
    job = GlobalHydra.instance().config_loader().load_sweep_config(config, overrides)
    with open_dict(job):
        job.hydra.job.id = job.hydra.job.num = number
    run_config = to_run_config(job)
    with _hydra_config(job):
        return run_config, directory / str(OmegaConf.select(job, "hydra.sweep.subdir"))


def _check_twins(folder: Path, overrides: Sequence[str], planned: Sequence[Planned]) -> None:
    for other in planned:
        if other.directory == folder and list(other.overrides) == list(overrides):
            raise RunDirectoryError(f"{_TWICE}: {' '.join(overrides)}")
        if other.directory == folder:
            raise RunDirectoryError(
                f"two jobs would share the folder {folder.name}; the other is {' '.join(other.overrides)}"
            )


def _report(problems: dict[str, list[str]], jobs: int) -> str:
    if jobs == 1:
        return next(iter(problems))
    if all(problem.startswith(_TWICE) for problem in problems):
        return "\n".join(problems)
    bad = sum(map(len, problems.values()))
    lines = [f"{bad} of {jobs} jobs cannot run, so none was started:"]
    for problem, where in list(problems.items())[:_SHOWN]:
        lines += [f"  {line}" for line in problem.splitlines()]
        lines += [f"    in {words}" for words in where[:_SHOWN]]
        lines += [f"    and in {len(where) - _SHOWN} more"] if len(where) > _SHOWN else []
    lines += [f"  and {len(problems) - _SHOWN} other problems"] if len(problems) > _SHOWN else []
    return "\n".join(lines)


def check_directory(directory: Path) -> None:
    """Raise a RunDirectoryError unless a new run can live in `directory`."""
    check_free(directory)
    _check_parent(directory)


def _check_parent(directory: Path) -> None:
    """The nearest folder that exists must be one that takes new files."""
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not there.is_dir():
        raise RunDirectoryError(f"{directory} cannot be made: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RunDirectoryError(f"{directory} cannot be made: no right to write in {there}")

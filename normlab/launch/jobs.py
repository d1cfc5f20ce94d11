"""The jobs of a sweep: each composed, checked and placed before any begins."""

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # its splitting has no public name
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from normlab.catalogue import naming
from normlab.compose import job_names, messages, rows
from normlab.compose.job_names import JobNames
from normlab.compose.resolvers import plain
from normlab.compose.schema import to_run_config
from normlab.config import RunConfig
from normlab.errors import ConfigError, RunDirectoryError, UserError, quoted
from normlab.launch import standing
from normlab.launch.signals import import_run
from normlab.rundir.folders import check_parent
from normlab.sweep import Planned

#: Jobs of a sweep.
MOST_JOBS = 100_000
T = TypeVar("T")

#: How many different problems of a sweep's jobs are shown, and jobs of each.
_SHOWN = 5
#: Seconds between two signs of life, on a terminal, where a line replaces the last, and in a log.
LIVE, PLAIN = 1.0, 10.0
_TWICE = "the same job twice"
#: In the rule of `conf/config.yaml` for the folders of jobs.
_OUR_NAMES = "${normlab.job:"


def check_whole(config: DictConfig) -> None:
    """Check the settings of the whole sweep, which no job has for itself."""
    for override in _overrides(config):
        key = override.key_or_group
        if key.startswith("sweep.") and override.is_sweep_override():
            raise ConfigError(key, f"is for the whole sweep, which has one; {override.input_line} gives more")
    naming.check_sweep_name(config.sweep.name)
    OmegaConf.to_object(config.sweep)


def check_jobs(
    config: DictConfig, directory: Path, options: Sequence[rows.Words]
) -> tuple[list[Planned], list[str], JobNames]:
    """The jobs of a sweep in `directory`, each composed and checked, what there is to do for each, and what
    they are called.

    Args:
        options: the rows of a zipped or listed sweep.
    Raises:
        UserError: some cannot run; tells which, and why.
    """
    jobs = _jobs(config)
    planned: list[Planned] = []
    standings: list[str] = []
    problems: dict[str, list[str]] = {}
    composed: list[ComposedJob] = []
    for number, overrides in enumerate(_telling("composing", jobs)):
        spelt = rows.spelt(overrides, options)
        with _noted(problems, spelt):
            composed.append(_compose_job(config, overrides, spelt, number))
    names = job_names.name_jobs([job.plain for job in composed], directory)
    for job in composed:
        with _noted(problems, job.spelt):
            folder = directory / (job.folder or names.names[naming.digest(job.plain)])
            _check_twins(folder, job.spelt, planned)
            check_parent(folder)
            planned.append(Planned(directory=folder, overrides=tuple(job.spelt), settings=job.settings))
    texts: dict[Any, Any] = {}
    for each in _telling("checking", planned if not problems else []):
        with _noted(problems, each.overrides):
            settings = cast(RunConfig, each.settings)
            import_run().check(settings, texts)
            standings.append(standing.check(settings, each.directory))
    if problems:
        raise UserError(_report(problems, len(jobs)))
    return planned, standings, names


@contextmanager
def _noted(problems: dict[str, list[str]], spelt: Sequence[str]) -> Iterator[None]:
    """Add what is wrong with a job to `problems`: its words by the message."""
    try:
        yield
    except (*messages.KNOWN, ValueError) as error:
        if not messages.is_known(error):
            raise
        problems.setdefault(messages.explain(error, spelt), []).append(" ".join(spelt))


def _telling(what: str, jobs: Sequence[T]) -> Iterator[T]:
    """`jobs`; where they take long it is said how far it has come: to compose 200 takes 20 s."""
    live = sys.stderr is not None and sys.stderr.isatty()
    last, line = time.monotonic(), ""
    for number, job in enumerate(jobs, 1):
        now = time.monotonic()
        if now - last >= (LIVE if live else PLAIN):
            last, line = now, f"{what} job {number} of {len(jobs)}"
            _tell(line, end="\r" if live else "\n")
        yield job
    if live and line:
        _tell(" " * len(line), end="\r")


def _tell(line: str, end: str) -> None:
    if sys.stderr is not None:
        with suppress(OSError):  # nobody looks
            print(line, end=end, file=sys.stderr, flush=True)


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
    _check_count(overrides)
    batches = BasicSweeper.split_arguments(overrides, None)
    jobs = [list(job) for batch in batches for job in batch]
    if not jobs:
        empty = [each.input_line for each in overrides if each.is_sweep_override()]
        raise ConfigError("sweep", f"there is no job to run: nothing matches {' '.join(map(str, empty))}")
    return jobs


def _check_count(overrides: Sequence[Override]) -> None:
    """Count the jobs before any is made; ends soon, however many there are."""
    jobs = 1
    for each in overrides:
        if each.is_sweep_override():
            jobs *= sum(1 for _ in itertools.islice(each.sweep_iterator(), MOST_JOBS + 1))
        if jobs > MOST_JOBS:
            raise ConfigError(
                each.key_or_group, f"makes more than {MOST_JOBS:,} jobs, the most that a sweep may have"
            )


def _overrides(config: DictConfig) -> list[Override]:
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    return parser.parse_overrides([*params, *config.hydra.overrides.task])


@dataclass(frozen=True, kw_only=True)
class ComposedJob:
    """A job that is not placed yet."""

    spelt: list[str]
    settings: RunConfig
    plain: dict[str, Any]
    #: Its folder in the sweep's, where the user has a rule for it.
    folder: str | None


def _compose_job(config: DictConfig, overrides: list[str], spelt: list[str], number: int) -> ComposedJob:
    job = GlobalHydra.instance().config_loader().load_sweep_config(config, overrides)
    with open_dict(job):
        job.hydra.job.id = job.hydra.job.num = number
    run_config = to_run_config(job)
    rule = OmegaConf.to_container(job.hydra.sweep, resolve=False)["subdir"]  # type: ignore[call-overload,index]
    folder = None
    if _OUR_NAMES not in str(rule):
        with hydra_config(job):
            folder = str(OmegaConf.select(job, "hydra.sweep.subdir"))
        if Path(folder).is_absolute() or ".." in Path(folder).parts:
            inside = f"must stay within the sweep's folder, got {quoted(folder)}"
            raise ConfigError("hydra.sweep.subdir", inside)
    return ComposedJob(spelt=spelt, settings=run_config, plain=plain(job), folder=folder)


@contextmanager
def hydra_config(config: DictConfig) -> Iterator[None]:
    """`${hydra:...}` means this config, as it will when Hydra runs the job."""
    holder: Any = HydraConfig.instance()
    before, holder.cfg = holder.cfg, config
    try:
        yield
    finally:
        holder.cfg = before


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

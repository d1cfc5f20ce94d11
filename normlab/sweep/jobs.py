"""What became of a sweep's jobs, from what they left on disk, whoever ran them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from normlab.config import RunConfig
from normlab.disk.strict_json import document
from normlab.disk.untrusted import TABLE, PlainDataError, read_json, read_yaml
from normlab.disk.whole_files import replace_file
from normlab.errors import RunDirectoryError
from normlab.rundir.settings import read_settings
from normlab.rundir.writer import CONFIG, SUMMARY, hold, is_held, read_rows, read_summary

#: The table of a sweep.
FILE = "sweep.json"
#: What is to be trained, of what there can be to do for a job (`launch.standing`).
TO_TRAIN = ("new", "begun", "again")


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A job that a sweep is to run."""

    directory: Path
    overrides: tuple[str, ...]
    settings: RunConfig | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The settings as plain values."""
        return asdict(self.settings) if self.settings else {}


@dataclass(kw_only=True)
class SweepJob:
    """A job as its folder tells it; `status` is what `status_of` says."""

    directory: Path
    status: str
    overrides: list[str]
    error: str | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    #: The swept knobs of a job that left no config, as `sweep.json` has them.
    knobs: dict[str, Any] = field(default_factory=dict)

    @property
    def bad(self) -> bool:
        return self.status in ("failed", "lost", "damaged")


def status_of(directory: Path) -> str:
    """finished, interrupted, failed, lost, running (some process trains it now), damaged (a summary that
    cannot be read) or not started."""
    return _status_and_summary(directory)[0]


def _status_and_summary(directory: Path) -> tuple[str, dict[str, Any], str]:
    """Also what is wrong with the summary, where there is one."""
    try:
        summary = read_summary(directory)
    except (RunDirectoryError, OSError) as damage:
        there = (directory / SUMMARY).exists()
        return ("damaged", {}, str(damage)) if there else ("not started", {}, "")
    status = str(summary.get("status"))
    if status == "running" and not is_held(directory):
        status = "lost"
    return status, summary, ""


def mark(directory: Path, status: str, error: str) -> bool:
    """Say in a job's summary how it ended, where it could not do so itself.

    Returns False where another process trains it now or has finished it, or the disk does not take it.
    """
    with suppress(OSError, RunDirectoryError), hold(directory):
        summary: dict[str, Any] = {"outcome": None, "steps": 0}
        with suppress(RunDirectoryError):
            summary = read_summary(directory)
        if summary.get("status") == "finished":  # by another process, meanwhile
            return False
        replace_file(directory / SUMMARY, document({**summary, "status": status, "error": error}))
        return True
    return False


def read_jobs(
    directory: Path, planned: Sequence[Planned] = (), failures: Mapping[Path, str] | None = None
) -> list[SweepJob]:
    """The planned jobs in their order, then those of `sweep.json`, then every other run in the folder."""
    errors = {path.absolute(): text for path, text in (failures or {}).items()}
    plans = {job.directory.absolute(): job for job in planned}
    known = {(directory / str(record.get("dir"))).absolute(): record for record in _records(directory)}
    found = sorted(path.parent.absolute() for path in directory.glob("*/summary.json"))
    jobs = [
        _read(path, plans.get(path), known.get(path, {}), errors.get(path))
        for path in dict.fromkeys([*plans, *errors, *known, *found])
    ]
    # Of a folder that was deleted nothing is left to tell.
    return [job for job in jobs if job.directory.is_dir() or job.status != "not started" or job.overrides]


def recorded(directory: Path) -> dict[str, Any]:
    """What `sweep.json` holds; empty where it cannot be read."""
    try:
        content = read_json(directory / FILE, TABLE)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _records(directory: Path) -> list[dict[str, Any]]:
    jobs = recorded(directory).get("jobs")
    records = [record for record in jobs if isinstance(record, dict)] if isinstance(jobs, list) else []
    return [record for record in records if _is_place(record.get("dir"))]


def _is_place(name: Any) -> bool:
    """Whether it can be the path of a folder."""
    return isinstance(name, str) and "\0" not in name and len(name) < 4096


def _read(directory: Path, plan: Planned | None, record: Mapping[str, Any], error: str | None) -> SweepJob:
    words, knobs = list(plan.overrides) if plan else _words(record.get("overrides")), record.get("knobs")
    knobs = knobs if isinstance(knobs, dict) else {}
    if not directory.is_dir():  # of a large sweep that has just begun, most
        status = "not started" if error is None else "failed"
        return SweepJob(
            directory=directory,
            status=status,
            overrides=words,
            error=error,
            config=plan.config if plan else {},
            knobs=knobs,
        )
    status, summary, damage = _status_and_summary(directory)
    error = error or damage or None
    if status in ("lost", "running"):
        summary |= _last_words(directory)
    if error is not None and status in ("not started", "lost"):
        status = "failed"
    config = _settings(directory / CONFIG)
    return SweepJob(
        directory=directory,
        status=status,
        overrides=words or _words(_typed(directory / ".hydra" / "overrides.yaml")),
        error=error or summary.get("error"),
        summary=summary,
        config=config or (plan.config if plan else {}),
        knobs=knobs,
    )


def _last_words(directory: Path) -> dict[str, Any]:
    """How far a run came that did not get to write its summary."""
    try:
        rows = read_rows(directory)
    except RunDirectoryError:
        return {}
    return {"steps": rows[-1]["step"] + 1, "seconds": rows[-1].get("time/seconds")} if rows else {}


def _settings(path: Path) -> dict[str, Any]:
    try:
        return read_settings(path)
    except RunDirectoryError:
        return {}


def _typed(path: Path) -> Any:
    """The words that a job was started with; None where they cannot be read."""
    try:
        return read_yaml(path)
    except (OSError, PlainDataError):
        return None


def _words(value: Any) -> list[str]:
    """The texts of a list; none of anything else."""
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []

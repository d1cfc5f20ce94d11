"""`sweep.json`: the swept knobs and every job of a sweep, as strict JSON."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from normlab.catalogue import naming
from normlab.disk.strict_json import document
from normlab.disk.whole_files import replace_file
from normlab.divergence.outcome import TOLERANCE, recorded_outcome
from normlab.sweep.jobs import FILE, SweepJob, recorded

#: What it has of each job's summary.
_FIGURES = (
    "outcome",
    "steps",
    "loss/best",
    "loss/final",
    "val/best",
    "val/final",
    "floors",
    "events",
    "first_event",
    "parameters",
    "seconds",
)


def write(directory: Path, jobs: Sequence[SweepJob], command: str | None = None) -> Path:
    """Replace `sweep.json` as a whole; a reader sees the old one or the new one.

    Args:
        command: what goes on with the sweep; without it, what was recorded stays.
    """
    directory.mkdir(parents=True, exist_ok=True)
    replace_file(directory / FILE, document(content(directory, jobs, command)))
    return directory / FILE


def content(directory: Path, jobs: Sequence[SweepJob], command: str | None = None) -> dict[str, Any]:
    """What `sweep.json` holds."""
    command = command or recorded_command(directory)
    names = swept(jobs)
    records = [_record(directory, job, names) for job in jobs]
    return {"sweep": directory.name, "command": command, "knobs": names, "jobs": records}


def recorded_command(directory: Path) -> str | None:
    """The command that goes on with the sweep; None where none is known, or the folder was renamed.

    It is shown to be typed, so one that a shell would take for anything but words of normlab counts as none.
    """
    told = recorded(directory)
    command = told.get("command") if told.get("sweep") == directory.absolute().name else None
    if not isinstance(command, str) or not command.startswith("normlab ") or not command.isprintable():
        return None
    try:
        return command if shlex.join(shlex.split(command)) == command else None
    except ValueError:  # a quote that does not end
        return None


def _record(directory: Path, job: SweepJob, names: Sequence[str]) -> dict[str, Any]:
    try:
        place = str(job.directory.relative_to(directory.absolute()))
    except ValueError:
        place = str(job.directory)
    return {
        "dir": place,
        "overrides": job.overrides,
        "knobs": values(job, names),
        "status": job.status,
        "error": job.error,
        **{key: job.summary.get(key) for key in _FIGURES},
        # Of a run that did not end, how it would have ended is not known.
        "outcome": _outcome(job),
    }


def _outcome(job: SweepJob) -> str | None:
    known = job.status == "finished" and job.summary.get("outcome") is not None
    return recorded_outcome(job.summary, naming.knob(job.config, TOLERANCE)) if known else None


def swept(jobs: Sequence[SweepJob]) -> list[str]:
    """The keys in which jobs differ; where a job left no config, what is known of it otherwise counts too."""
    keys = naming.swept([job.config for job in jobs if job.config])
    bare = [_told(job) for job in jobs]
    if any(not job.config for job in jobs):
        names = dict.fromkeys(key for words in bare for key in words)
        keys += [key for key in names if key not in keys and len({str(words.get(key)) for words in bare}) > 1]
    return keys


def values(job: SweepJob, names: Sequence[str]) -> dict[str, Any]:
    """A job's values of some keys, None where it has none."""
    return {key: naming.knob(job.config, key) if job.config else _told(job).get(key) for key in names}


def _told(job: SweepJob) -> dict[str, Any]:
    """The knobs of a job without a config: as recorded, else as its words say."""
    return job.knobs or dict(word.split("=", 1) for word in job.overrides if "=" in word)

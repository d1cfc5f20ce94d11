"""Runs as their directories tell them, whatever state those are in: for comparing, and for notebooks."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from normlab.catalogue import naming
from normlab.disk.untrusted import TABLE, read_json
from normlab.divergence.nonfinite import WORDS
from normlab.divergence.outcome import TOLERANCE, known_floors, recorded_outcome
from normlab.errors import RunDirectoryError
from normlab.rundir.reading import first_and_last_rows, readable_events, readable_rows
from normlab.rundir.settings import read_settings
from normlab.rundir.writer import CONFIG, EVENTS, ROWS, SUMMARY, read_summary
from normlab.sweep import FILE as SWEEP

if TYPE_CHECKING:
    from pandas import DataFrame

#: Rows at the end of a run that are kept once all are read.
ENDS = 32
#: What stands for a summary that cannot be read.
DAMAGED: dict[str, Any] = {"status": "damaged"}
#: Folders inside a run, or of other tools, that hold no run.
_NOT_WALKED = ("wandb", "checkpoints", "events")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run directory. What could not be read is empty, and said in `notes`."""

    path: Path
    #: `finished`, `running`, `interrupted` or `failed`; `damaged` where the summary cannot be read.
    status: str
    #: Every setting, nested as in `config.yaml`.
    config: dict[str, Any]
    summary: dict[str, Any]
    events: list[dict[str, Any]]
    notes: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether it ended by itself, with a config: only then can it be compared."""
        return self.status == "finished" and bool(self.config)

    @property
    def word(self) -> str:
        """The outcome of a finished run, the status of any other."""
        if self.status != "finished":
            return self.status
        return recorded_outcome(self.summary, naming.knob(self.config, TOLERANCE))

    @property
    def place(self) -> str:
        """Where it is, for people: its directory, or what it was fetched from."""
        return str(self.summary.get("origin") or self.path)

    @property
    def steps(self) -> Any:
        """The steps it was to take."""
        return naming.knob(self.config, "train.steps")

    @property
    def floors(self) -> dict[str, float]:
        """The entropies of its text that the summary has, in nats a token."""
        return known_floors(self.summary)

    def readable_rows(self) -> tuple[list[dict[str, Any]], list[str]]:
        """The rows that can be read, and what was left out, as text.

        Raises:
            OSError: the file cannot be read.
        """
        rows, notes = readable_rows(self.path / ROWS, WORDS)
        self._ends.append([*rows[:1], *rows[1:][-ENDS:]])
        return rows, notes

    def read_rows(self) -> list[dict[str, Any]]:
        """The rows that can be read, as in `metrics.jsonl`; a metric is only in rows that measured it."""
        try:
            return self.readable_rows()[0]
        except OSError:
            return []

    @cached_property
    def _ends(self) -> list[list[dict[str, Any]]]:
        """The first and last rows, kept of all that were read."""
        return []

    def read_ends(self, last: int) -> list[dict[str, Any]]:
        """The first row and the `last` last ones, `ENDS` at most."""
        if self._ends:
            kept = self._ends[-1]
            return [*kept[:1], *kept[1:][-last:]]
        try:
            return first_and_last_rows(self.path / ROWS, last)
        except OSError:
            return []

    @cached_property
    def rows(self) -> "DataFrame":
        """A frame with a row a logged step and a column a metric; NaN where a step lacks it."""
        import pandas

        return pandas.DataFrame(self.read_rows())


class Runs(Sequence[Run]):
    """Runs in order, with frames over all of them."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._runs = tuple(runs)

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> "Runs": ...
    def __getitem__(self, index: int | slice) -> "Run | Runs":
        return Runs(self._runs[index]) if isinstance(index, slice) else self._runs[index]

    def __len__(self) -> int:
        return len(self._runs)

    def __repr__(self) -> str:
        return f"Runs({[str(run.path) for run in self._runs]})"

    @cached_property
    def knobs(self) -> list[str]:
        """The settings in which these runs differ, seed included."""
        return naming.swept([run.config for run in self._runs if run.config])

    @cached_property
    def rows(self) -> "DataFrame":
        """All runs' rows under each other, behind the columns `run` (its path) and the `knobs`."""
        import pandas

        frames = []
        for run in self._runs:
            frame = run.rows.copy()
            for place, (key, value) in enumerate(self._labels(run).items()):
                frame.insert(place, key, [value] * len(frame))
            frames.append(frame)
        return pandas.concat(frames, ignore_index=True) if frames else pandas.DataFrame()

    @cached_property
    def summaries(self) -> "DataFrame":
        """A frame with a row a run: `run`, the `knobs`, and the summary's figures by dotted key."""
        import pandas

        return pandas.DataFrame(
            [{**self._labels(run), **dict(naming.flat(run.summary)), "status": run.status} for run in self]
        )

    def _labels(self, run: Run) -> dict[str, Any]:
        return {"run": str(run.path), **{key: naming.knob(run.config, key) for key in self.knobs}}


def load(*paths: Path | str) -> Runs:
    """The runs in `paths`: run directories, sweeps, or any folder above them; each run once.

    Raises:
        RunDirectoryError: a path that is not there, or holds no run.
    """
    found: dict[Path, Run] = {}
    for path in map(Path, paths):
        directories = list(find(path))
        if not directories:
            raise RunDirectoryError(_no_runs(path))
        found |= {each.resolve(): read(each) for each in directories}
    return Runs(found.values())


def find(path: Path) -> Iterator[Path]:
    """The run directories at or below `path`; those of a sweep in the order of its `sweep.json`."""
    if _holds_run(path):
        yield path
        return
    planned = _planned(path)
    yield from planned
    for root, folders, _ in os.walk(path):
        folders.sort()
        here = [name for name in folders if not name.startswith(".") and name not in _NOT_WALKED]
        for name in here:
            if _holds_run(Path(root, name)):
                if Path(root, name) not in planned:
                    yield Path(root, name)
                folders.remove(name)
        folders[:] = [name for name in folders if name in here]


def _holds_run(path: Path) -> bool:
    return any((path / name).is_file() for name in (SUMMARY, ROWS))


def _planned(path: Path) -> list[Path]:
    """The jobs of the sweep in `path` that there are, as far as its table can be read."""
    try:
        jobs = read_json(path / SWEEP, TABLE)["jobs"]
        places = dict.fromkeys(path / job["dir"] for job in jobs)
        return [place for place in places if _holds_run(place)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _no_runs(path: Path) -> str:
    if not path.exists():
        return f"{path}: there is no such folder; give one that holds runs, or make a run with normlab train"
    if not path.is_dir():
        return f"{path} is a file; give a run directory or a sweep's folder"
    return f"{path} holds no run: there is no {SUMMARY} or {ROWS} in it or in any folder below"


def read(directory: Path) -> Run:
    """The run in `directory`, its rows left for later."""
    notes: list[str] = []
    try:
        summary = read_summary(directory)
    except (RunDirectoryError, OSError) as error:
        summary = dict(DAMAGED)
        notes.append(str(error))
    config = _config(directory / CONFIG, notes)
    try:
        events, more = readable_events(directory / EVENTS)
    except OSError as error:
        events, more = [], [f"{EVENTS}: {error.strerror}"]
    return Run(
        path=directory,
        status=str(summary.get("status", "damaged")),
        config=config,
        summary=summary,
        events=events,
        notes=(*notes, *more),
    )


def _config(path: Path, notes: list[str]) -> dict[str, Any]:
    try:
        return read_settings(path)
    except RunDirectoryError as error:
        notes.append(str(error).removeprefix(f"{path.parent}/"))
        return {}

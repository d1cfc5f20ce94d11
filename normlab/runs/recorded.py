"""A run as its directory records it: settings, rows, events, summary, and what of them cannot be read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normlab.config import RunConfig
from normlab.divergence.nonfinite import told
from normlab.errors import RunDirectoryError
from normlab.rundir.writer import CONFIG, EVENTS, ROWS
from normlab.runs.reader import DAMAGED, Run, read


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a run left. There is at least one row, and one with a loss."""

    directory: Path
    config: RunConfig
    rows: Sequence[dict[str, Any]]
    #: Empty where it cannot be read.
    summary: dict[str, Any]
    #: None where there is no such file.
    events: list[dict[str, Any]] | None
    #: What was left out of the rows, then what of summary and events is not there.
    notes: list[str]

    @property
    def status(self) -> str:
        """`finished` and so on; `unknown` where there is no summary."""
        return str(self.summary.get("status", "unknown"))

    @property
    def last_step(self) -> int:
        """That of the last row."""
        last: int = self.rows[-1]["step"]
        return last

    @property
    def steps(self) -> int:
        """Steps that the run had, by whichever of rows, summary and events knows of most."""
        summed = self.summary.get("steps")
        known = [self.last_step + 1, summed if isinstance(summed, int) else 0]
        return max(known + [int(event["step"]) + 1 for event in self.events or []])

    @property
    def cut(self) -> bool:
        """Whether the rows end before the run did."""
        return self.last_step + 1 < self.steps

    @property
    def gap(self) -> str:
        """In words, what the rows lack of the steps that the run had; empty where there is one for each."""
        every = self.config.train.log_every
        if len(self.rows) == self.steps:
            return ""
        why = f"the run was logged with train.log_every={every}" if every > 1 else "rows are missing"
        why = f"they end at step {self.last_step}" if self.cut else why
        return f"{len(self.rows)} rows for {self.steps} steps: {why}"


def read_recorded(path: Path) -> Recorded:
    """The run in the folder `path`, which may be given by its `metrics.jsonl`.

    Raises:
        RunDirectoryError: there is no run, or none of its rows can be read.
        ConfigError: a value in its config that cannot be used.
    """
    return recorded(read(run_directory(path)))


def recorded(run: Run) -> Recorded:
    """A run that has been read, its settings checked, and its rows, which are read now.

    Raises:
        RunDirectoryError: its config or rows are not there, or none of the rows can be read.
        ConfigError: a value in its config that cannot be used.
    """
    from normlab.compose.saved_config import config_in, load_config

    directory = run_directory(run.path)
    path = directory / CONFIG
    config = config_in(path, run.config) if run.config else load_config(path)  # which says what is wrong
    rows, notes = run.readable_rows()
    if not rows:
        empty = (directory / ROWS).stat().st_size == 0
        why = "it is empty: the run stopped before its first step" if empty else "no line of it is a row"
        raise RunDirectoryError(f"{directory / ROWS}: {why}")
    if not any("loss" in row for row in rows):
        raise RunDirectoryError(f"{directory / ROWS}: no row has a loss; it is not normlab's")
    unread = run.summary == DAMAGED  # which no file can say
    if unread:
        blind = "without floors of the text and sizes of layers, plateau and vanishing see nothing"
        notes.append(f"{run.notes[0]}; {blind}")
    there = (directory / EVENTS).is_file()
    notes += [note for note in run.notes if there and note.startswith(EVENTS)]
    return Recorded(
        directory=directory,
        config=config,
        rows=told(rows, run.events),
        summary={} if unread else run.summary,
        events=run.events if there else None,
        notes=notes,
    )


def run_directory(path: Path) -> Path:
    """The folder of a run, which may be given by its `metrics.jsonl`. Raises `RunDirectoryError`."""
    directory = path.parent if path.name == ROWS and path.is_file() else path
    why = ""
    if not directory.exists():
        why = "there is no such folder"
    elif not directory.is_dir():
        why = "it is not a folder"
    elif (directory / "sweep.json").exists():
        why = "it is a sweep; give one of the folders in it"
    else:
        lacking = [name for name in (CONFIG, ROWS) if not (directory / name).is_file()]
        why = f"there is no {lacking[0]} in it" if lacking else ""
    if why:
        raise RunDirectoryError(f"{path} holds no run: {why}")
    return directory

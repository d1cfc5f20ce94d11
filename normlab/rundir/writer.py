"""The run directory: rows and events as they come, the summary, and what reads them back.

`metrics.jsonl` is the source of truth.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO, FileIO
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from filelock import FileLock, Timeout

from normlab.disk.strict_json import document, line_of, read_line, restore
from normlab.disk.untrusted import PlainDataError, lines, open_file, read_json
from normlab.disk.whole_files import PART, append, flush, is_full, overwrite, replace_file, write
from normlab.errors import HeldError, RunDirectoryError
from normlab.rundir import shapes
from normlab.rundir.opening import Opening, Row, event_key
from normlab.terminal import shell

CONFIG = "config.yaml"
ROWS = "metrics.jsonl"
EVENTS = "events.jsonl"
SUMMARY = "summary.json"
ENVIRONMENT = "environment.json"
CHECKPOINTS = "checkpoints"
SNAPSHOT_FOLDER = "events"
#: What is in the folder of a run before its first step.
_FIRST = (CONFIG, ENVIRONMENT, EVENTS, ROWS, SUMMARY)
#: How many events of a run have the steps before them written.
SNAPSHOTS = 20
LOCK = ".lock"
#: The folders in which a run writes and removes files, and the files that it writes.
_OWN_FOLDERS = (CHECKPOINTS, SNAPSHOT_FOLDER, "wandb")
_OWN_FILES = (LOCK, ROWS, EVENTS, SUMMARY, CONFIG, ENVIRONMENT, "train.log", f"{CHECKPOINTS}/best.pt")
#: A run goes on writing there: a link would lead out of its folder.
_NO_LINKS = (LOCK, ROWS, EVENTS, "train.log", *_OWN_FOLDERS)
#: Seconds that `hold` waits for one who only looks whether the lock is held.
_PATIENCE = 1.0


def check_free(directory: Path) -> None:
    """Raise `RunDirectoryError` if `directory` already holds a run."""
    for name in (SUMMARY, ROWS):
        if (directory / name).exists():
            raise RunDirectoryError(
                f"{directory} already holds a run ({name}). "
                f"Choose another directory, or continue that run with: normlab resume {shell.path(directory)}"
            )


def has_begun(directory: Path) -> bool:
    """Whether a run began here, which can be gone on with; one that was killed before its start did not."""
    return (directory / SUMMARY).exists() and (directory / ROWS).exists()


def clear(directory: Path) -> None:
    """Remove what a run that did not begin has left; what began stays. Only for one who holds `directory`."""
    if not has_begun(directory):
        for name in _FIRST:
            for path in (directory / name, directory / f"{name}{PART}"):
                path.unlink(missing_ok=True)


def tidy(directory: Path) -> None:
    """Remove what a write that a kill cut short has left. Only for one who holds `directory`."""
    for folder in (directory, directory / CHECKPOINTS, directory / SNAPSHOT_FOLDER):
        for path in folder.glob(f"*{PART}"):
            path.unlink(missing_ok=True)


def is_held(directory: Path) -> bool:
    """Whether a process trains here now."""
    if not (directory / LOCK).exists() or (directory / LOCK).is_symlink():
        return False
    try:
        with FileLock(directory / LOCK, timeout=0):
            return False
    except Timeout:
        return True


@contextmanager
def hold(directory: Path) -> Iterator[None]:
    """Make `directory` and keep other processes from training in it meanwhile.

    The lock goes with the process, so a killed run leaves none. Within one process it may be held again.

    Raises:
        HeldError: another process trains there.
        RunDirectoryError: a file of the run's own is a link, which could lead anywhere, or is no file.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _check_own(directory)
    lock = FileLock((directory / LOCK).absolute(), timeout=_PATIENCE, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        raise HeldError(f"{directory} is being trained by another process; wait for it") from None
    try:
        yield
    finally:
        lock.release()


def _check_own(directory: Path) -> None:
    for name in _NO_LINKS:
        if (directory / name).is_symlink():
            raise RunDirectoryError(
                f"{directory / name} is a link, and a run writes and removes files there: "
                "put what it leads to in its place"
            )
    for names, is_right, what in ((_OWN_FILES, Path.is_file, "file"), (_OWN_FOLDERS, Path.is_dir, "folder")):
        for path in (directory / name for name in names):
            if path.exists() and not is_right(path):
                raise RunDirectoryError(f"{path} is not a {what}, as that of a run is: move it away")


class RunDirectory:
    """Writes a run directory. `OSError`s, a full disk for instance, are the caller's to handle.

    `environment` becomes `environment.json`. A resumed run leaves that as it was and puts its own beside it,
    `environment-from-STEP.json`; its config replaces `config.yaml`, so that the file is what the run is now.
    """

    def __init__(self, environment: Mapping[str, Any]) -> None:
        self._environment = environment
        self._directory: Path | None = None
        self._rows: FileIO | None = None
        #: How many rows there are.
        self.count = 0
        self._events: dict[tuple[int, str, str], Mapping[str, Any]] = {}

    def open(self, opening: Opening) -> None:
        """Make the directory's files, or go on with them; for one who holds it and knows that it is free."""
        directory = opening.directory
        if opening.resumed:
            self._events = {event_key(event): event for event in opening.events}
            replace_file(directory / EVENTS, b"".join(map(line_of, self._events.values())))
            self._write_attempt(opening)
        else:
            self._write_new(opening)
        # Unbuffered: each row is with the system at once, and after a full disk none is left over to flush.
        self._rows = (directory / ROWS).open("ab", buffering=0)
        self.count = sum(1 for _ in _records(directory / ROWS))
        self._directory = directory
        self.write_summary(
            {
                "status": "running",
                "outcome": None,
                "steps": opening.first_step,
                "floors": dict(opening.floors),
                "parameters": opening.parameters,
            }
        )

    def _write_new(self, opening: Opening) -> None:
        """The config comes last: a directory that has one can be resumed, one without can be started anew."""
        directory = opening.directory
        directory.mkdir(parents=True, exist_ok=True)
        if (directory / CONFIG).exists():
            raise RunDirectoryError(f"{directory / CONFIG} is there already; choose another directory")
        (directory / CHECKPOINTS).mkdir(exist_ok=True)
        (directory / EVENTS).touch()
        replace_file(directory / ENVIRONMENT, document(self._environment))
        replace_file(directory / CONFIG, _yaml(opening.config).encode())

    def _write_attempt(self, opening: Opening) -> None:
        directory, step = opening.directory, f"{opening.first_step:06d}"
        replace_file(directory / f"environment-from-{step}.json", document(self._environment))
        replace_file(directory / CONFIG, _yaml(opening.config).encode())

    def settle(self) -> None:
        """Rows and events onto the disk, before a checkpoint that goes on after them or the last word."""
        assert self._rows is not None and self._directory is not None
        os.fsync(self._rows.fileno())
        flush(self._directory / EVENTS)
        flush(self._directory)

    def row(self, row: Row) -> None:
        assert self._rows is not None
        append(self._rows, line_of(row))
        self.count += 1

    def event(self, event: Mapping[str, Any]) -> None:
        assert self._directory is not None
        path, key = self._directory / EVENTS, event_key(event)
        known = key in self._events
        self._events[key] = dict(event)
        if known:
            replace_file(path, b"".join(map(line_of, self._events.values())))
        else:
            with path.open("ab", buffering=0) as file:
                append(file, line_of(event))

    def snapshot(self, event: Mapping[str, Any], moment: Callable[[], Mapping[str, Any]]) -> None:
        """Write `moment`'s arrays to events/STEP-KIND.npz, for the first `SNAPSHOTS` events of a run."""
        assert self._directory is not None
        folder = self._directory / SNAPSHOT_FOLDER
        path = folder / f"{event['step']:06d}-{event['kind']}.npz"
        if path.exists() or len(list(folder.glob("*.npz"))) >= SNAPSHOTS:
            return
        folder.mkdir(exist_ok=True)
        content = BytesIO()
        arrays: dict[str, Any] = {name: np.asarray(value) for name, value in moment().items()}
        np.savez_compressed(content, **arrays)
        replace_file(path, content.getvalue())

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replace `summary.json` by `summary`; a reader sees the old or the new one, never a part."""
        if self._directory is None:  # it could not be opened, and may be another run's
            return
        replace_file(self._directory / SUMMARY, document(summary))

    def close(self, summary: Mapping[str, Any]) -> None:
        # A directory that could not be opened may be another run's: leave its summary alone.
        if self._rows is None or self._directory is None:
            return
        try:
            self.settle()
            self.write_summary(summary)
        except OSError as error:
            if not is_full(error):
                raise
            # How the run ended is to be known; the old summary's own room is all that there is.
            overwrite(self._directory / SUMMARY, document(summary))
        finally:
            self._rows.close()
            self._rows = None


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a run directory, or of a `metrics.jsonl`; a last line that is torn is left out.

    Raises `RunDirectoryError` if there is no such file or another line is damaged.
    """
    return [record for _, record in _records(_file(path, ROWS))]


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events of a run directory, or of an `events.jsonl`; as `read_rows`."""
    return [record for _, record in _records(_file(path, EVENTS))]


def read_summary(path: Path) -> dict[str, Any]:
    """The summary of a run directory, or a `summary.json`. Raises `RunDirectoryError` if it is unreadable."""
    file = _file(path, SUMMARY)
    try:
        summary = read_json(file)
    except PlainDataError as error:
        raise RunDirectoryError(f"{file} {error}") from None
    if not isinstance(summary, dict):
        raise RunDirectoryError(f"{file} does not hold a JSON object")
    restored: dict[str, Any] = restore(summary)
    if problem := shapes.summary_problem(restored):
        raise RunDirectoryError(f"{file} is not the summary of a run: {problem}")
    return restored


def sound_steps(directory: Path) -> tuple[list[int], str]:
    """The steps of the rows before the first line that is none, and what is wrong with that line.

    A last line that a write cut short is no damage.
    """
    steps: list[int] = []
    try:
        for _, record in _records(_file(directory, ROWS)):
            steps.append(record["step"])
    except RunDirectoryError as error:
        return steps, str(error)
    return steps, ""


def truncate(directory: Path, first_step: int) -> int:
    """Keep the rows of steps below `first_step`, byte for byte, up to the first line that is none.

    Returns how many steps there were from there on.
    """
    path, end = directory / ROWS, first_step
    path.touch()  # the run was killed before it had any
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb", buffering=0) as file, suppress(RunDirectoryError):
            for line, record in _records(path):
                if record["step"] < first_step:
                    # Only the newline can be missing from a line that is whole.
                    write(file, line if line.endswith(b"\n") else line + b"\n")
                end = max(end, record["step"] + 1)
        flush(part)
        part.replace(path)
        flush(directory)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        part.unlink(missing_ok=True)
    return end - first_step


def forget(directory: Path, first_step: int) -> None:
    """Remove the snapshots of events from `first_step` on, which come again as the run then goes."""
    for path in (directory / SNAPSHOT_FOLDER).glob("*.npz"):
        step = path.name.partition("-")[0]
        if step.isdecimal() and int(step) >= first_step:
            path.unlink()


def _file(path: Path, name: str) -> Path:
    file = path / name if path.is_dir() else path
    if not file.is_file():
        raise RunDirectoryError(f"{path} is not a run directory: there is no {name}")
    return file


def _records(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The lines that hold a row, or an event; only the last may be another (a write cut short)."""
    torn = 0
    fits, what = (shapes.is_event, "an event") if path.name == EVENTS else (shapes.is_row, "a row")
    with open_file(path) as file:
        for number, line in enumerate(lines(file), start=1):
            if torn:
                break
            record = read_line(line)
            if record is not None and fits(record):
                yield line, record
            else:
                torn = number
        else:
            return
    raise RunDirectoryError(f"{path}, line {torn}: not a JSON object that is {what}, and not the last line")


class _Yaml(yaml.SafeDumper):
    """Safe YAML without anchors, quoting words such as 1e-5 that some readers take for numbers."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_str(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        float(text)
    except ValueError:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'")


_Yaml.add_representer(str, _represent_str)


def _yaml(config: Mapping[str, Any]) -> str:
    return yaml.dump(dict(config), Dumper=_Yaml, sort_keys=False, allow_unicode=True, width=1000)

"""What a crash costs, at every point: `python scripts/crash_points.py [PART]... [KEY=VALUE]...`.

A tiny run is trained once, with all that it does to its folder written down (`write_log.py`). From that the
folder is laid out as each crash would leave it, the run is gone on with in this process, and its end is
compared with that of the undisturbed run: rows but for times, events and their arrays, config, summary,
checkpoints. Nothing is drawn by chance; a folder that two crashes would leave is tried once.

Crashes come before each operation and within each write: a kill, and a power failure after which what was
not flushed is lost, or zeros, or zeros but for the last write, or after which names that were not flushed are
lost too.
Parts, all of them unless told:
  run      each point of a run
  resume   each point of a run that goes on after a kill
  sweep    each point of a sweep of two jobs outside of their folders, and those at which a job ends
  faults   an error at each operation of a run: no space (for once, or from there on), or EIO; then it goes on
  lost     each file of a run in its midst gone, empty, cut by half or zeros: mended, or told in a line
"""

import argparse
import errno
import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

from rich.console import Console
from rich.table import Table
from same_run import differences
from write_log import Log, Operation, State, after, crashes, lay_out, logged

from normlab import run
from normlab.compose.from_words import compose
from normlab.config import RunConfig
from normlab.errors import UserError
from normlab.launch import child, launch
from normlab.rundir.writer import clear

#: Validation at steps 4, 8 and 12, best at the first of them; an event at step 7; rows of every second step.
WORDS = [
    *("depth=1", "model.width=16", "model.heads=2", "model.context=16", "data=markov", "data.length=8192"),
    *("train.steps=12", "train.batch_size=2", "train.eval_every=4", "train.eval_batches=1"),
    *("train.log_every=2", "train.checkpoint.every=3", "train.threads=1", "train.device=cpu"),
    *("optimizer.lr=0.1", "measure.ring=4", "fault.kind=nan_gradient", "fault.step=7"),
    "tracker.mode=disabled",
]
SWEEP = ("-m", "seed=0,1", "sweep.name=s", "train.steps=4", "fault.step=2")
#: What is left of a run for `resume` and `lost`: so much of what it does to its folder.
MIDST = 0.75
#: An error of the disk, and whether there is no room from then on.
FAULTS = {
    "no space": (errno.ENOSPC, False),
    "no space from there on": (errno.ENOSPC, True),
    "EIO": (errno.EIO, False),
}


@dataclass
class Trial:
    """A part: crashes, folders that they left, and what was wrong in the end."""

    points: int = 0
    states: int = 0
    #: Mended by other means than going on in silence: said in a warning or an error.
    told: int = 0
    wrong: list[str] = field(default_factory=list)


@contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Nothing is shown, and git is asked for nothing, which would take most of the time."""
    said = io.StringIO()
    git = mock.patch("normlab.rundir.environment._git", lambda file: None)
    with redirect_stdout(said), redirect_stderr(said), git:
        yield said


def go_on(config: RunConfig, directory: Path) -> str:
    """Train the run, or go on with it, as a user would; returns what was said."""
    with quiet() as said:
        if (directory / "config.yaml").exists():
            try:
                run.resume(config, directory, plain=True)
            except UserError as error:
                if "has done all its" not in str(error):
                    raise
        else:
            clear(directory)
            run.run(config, directory, plain=True)
    return said.getvalue()


def try_all(found: Iterable[tuple[str, State]], folder: Path, finish: Callable[[Path], list[str]]) -> Trial:
    """Lay out each folder and `finish` it, which says what is wrong then; the same one is not tried twice."""
    trial, known = Trial(), dict[frozenset[tuple[str, bytes | None]], list[str]]()
    for where, state in found:
        trial.points += 1
        key = frozenset(state.items())
        if key not in known:
            trial.states += 1
            place = folder / str(trial.states)
            lay_out(state, place)
            known[key] = attempt(lambda place=place: finish(place))
            shutil.rmtree(place)
        trial.wrong += [f"{where}: {each}" for each in known[key]]
    return trial


def attempt(action: Callable[[], list[str]]) -> list[str]:
    """What the action finds wrong, or its exception."""
    try:
        return action()
    except Exception as error:
        return [f"{type(error).__name__}: {error}".splitlines()[0][:200]]


def train_whole(config: RunConfig, folder: Path) -> list[Operation]:
    """Train the undisturbed run in `folder/run`; returns what it did there."""
    folder.mkdir(parents=True)
    with logged(Log(folder)) as log:
        go_on(config, folder / "run")
    return log.operations


def finishing(config: RunConfig, whole: Path) -> Callable[[Path], list[str]]:
    """Goes on with a run, and says what then differs from the whole one."""

    def finish(place: Path) -> list[str]:
        go_on(config, place / "run")
        return differences(place / "run", whole)

    return finish


def try_run(
    config: RunConfig,
    folder: Path,
    wanted: Callable[[list[Operation]], range] = lambda all_: range(len(all_) + 1),
) -> Trial:
    """Each point of a run, or those before the `wanted` operations."""
    operations = train_whole(config, folder / "whole")
    numbers = wanted(operations)
    found = ((where, state) for number, where, state in crashes(operations, {}) if number in numbers)
    return try_all(found, folder / "run", finishing(config, folder / "whole/run"))


def midst(operations: list[Operation]) -> State:
    """What a kill in the midst of a run leaves."""
    return after(operations[: int(MIDST * len(operations))])


def try_resume(config: RunConfig, folder: Path) -> Trial:
    """Each point of a run that goes on after a kill."""
    state = midst(train_whole(config, folder / "whole"))
    lay_out(state, folder / "resumed")
    with logged(Log(folder / "resumed")) as log:
        go_on(config, folder / "resumed/run")
    found = ((where, left) for _, where, left in crashes(log.operations, state))
    return try_all(found, folder / "resume", finishing(config, folder / "whole/run"))


def try_sweep(words: list[str], folder: Path) -> Trial:
    """Each point of a sweep, its jobs in this process; their folders are as in a run: their ends suffice."""

    def sweep(place: Path) -> None:
        with quiet() as said, mock.patch.object(child, "apart", child.attempt):
            code = launch([*words, *SWEEP, f"hydra.sweep.dir={place / 'run'}"])
        if code:
            raise RuntimeError(f"exit code {code}: {' '.join(said.getvalue().split())[-150:]}")

    whole = folder / "whole"
    whole.mkdir(parents=True)
    with logged(Log(whole)) as log:
        sweep(whole)
    jobs = sorted(path.name for path in (whole / "run").iterdir() if path.is_dir())

    def finish(place: Path) -> list[str]:
        sweep(place)
        found = [
            f"{job}: {each}" for job in jobs for each in differences(place / "run" / job, whole / "run" / job)
        ]
        return found + ([] if _table(place) == _table(whole) else ["sweep.json"])

    def points() -> Iterator[tuple[str, State]]:
        for number, where, state in crashes(log.operations, {}):
            path = log.operations[number][1] if number < len(log.operations) else ""
            inside = any(path.startswith(f"run/{job}/") for job in jobs)
            if not inside or ("summary.json" in path and where.startswith("kill before")):
                yield where, state

    return try_all(points(), folder / "sweep", finish)


def _table(place: Path) -> object:
    """`sweep.json`, times and the command's folder aside."""
    told = json.loads((place / "run/sweep.json").read_text())
    return [{key: value for key, value in job.items() if key != "seconds"} for job in told["jobs"]]


def try_faults(config: RunConfig, folder: Path) -> Trial:
    """An error at each operation of a run. Then there is room again, and it is gone on with."""
    operations = train_whole(config, folder / "whole")
    finish, trial = finishing(config, folder / "whole/run"), Trial()
    for number, operation in enumerate(operations):
        for what, (code, on) in FAULTS.items():
            trial.points += 1
            trial.states += 1
            place = folder / "fault"
            place.mkdir()
            wrong = _with_fault(config, place / "run", number, code, on=on)
            wrong += attempt(lambda place=place: finish(place))
            where = f"{what} at operation {number} ({operation[0]} {operation[1]})"
            trial.wrong += [f"{where}: {each}" for each in wrong]
            shutil.rmtree(place)
    return trial


def _with_fault(config: RunConfig, directory: Path, number: int, code: int, *, on: bool) -> list[str]:
    """Train with the error at that operation; returns what is not as it should be."""

    def fault(at: int, room: bool) -> OSError | None:
        return OSError(code, os.strerror(code)) if at == number or (on and at > number and room) else None

    try:
        with logged(Log(directory.parent, fault)), quiet():
            run.run(config, directory, plain=True)
    except OSError as error:
        if error.errno != code:
            return [f"raised {error}"]
    except Exception as error:
        return [f"raised {type(error).__name__}: {error}"]
    summary = directory / "summary.json"
    status = json.loads(summary.read_text())["status"] if summary.exists() else "failed"
    return [] if status in ("failed", "finished") or code != errno.ENOSPC else [f"status {status}"]


def try_lost(config: RunConfig, folder: Path) -> Trial:
    """Damage that no order of writing prevents."""
    state, trial = midst(train_whole(config, folder / "whole")), Trial()
    for name, content in sorted(state.items()):
        if content is None:
            continue
        without = {other: left for other, left in state.items() if other != name}
        damaged: dict[str, State] = {
            "gone": without,
            "empty": {**without, name: b""},
            "half": {**without, name: content[: len(content) // 2]},
            "zeros": {**without, name: b"\0" * len(content)},
        }
        for what, left in damaged.items():
            trial.points += 1
            trial.states += 1
            place = folder / "lost"
            lay_out(left, place)
            said: list[str] = []
            wrong = attempt(
                lambda place=place, said=said: _lost(config, place / "run", folder / "whole/run", said)
            )
            trial.told += bool(said)
            trial.wrong += [f"{name} {what}: {each}" for each in wrong]
            shutil.rmtree(place)
    return trial


def _lost(config: RunConfig, directory: Path, whole: Path, said: list[str]) -> list[str]:
    """What differs once it was gone on with, and was not told."""
    try:
        text = go_on(config, directory)
    except UserError as error:
        said.append(str(error))
        return []
    said += [line for line in text.splitlines() if line.startswith("warning: ")]
    return [] if said else differences(directory, whole)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", metavar="PART or KEY=VALUE")
    given = parser.parse_args().words
    words = [*WORDS, *(word for word in given if "=" in word)]
    folder = Path(tempfile.mkdtemp(prefix="normlab-crashes-"))
    os.environ["NORMLAB_CACHE"] = str(folder / "cache")
    config = compose(words)
    parts: dict[str, Callable[[Path], Trial]] = {
        "run": lambda place: try_run(config, place),
        "resume": lambda place: try_resume(config, place),
        "sweep": lambda place: try_sweep(words, place),
        "faults": lambda place: try_faults(config, place),
        "lost": lambda place: try_lost(config, place),
    }
    table = Table("part", "points", "folders", "told", "different", "seconds")
    wrong: list[str] = []
    for part in [word for word in given if "=" not in word] or parts:
        began = time.monotonic()
        trial = parts[part](folder / part)
        figures = (trial.points, trial.states, trial.told, len(trial.wrong), time.monotonic() - began)
        table.add_row(part, *(f"{figure:.0f}" for figure in figures))
        print("".join(f"{part}: {each}\n" for each in trial.wrong), end="", flush=True)
        wrong += trial.wrong
    Console().print(table)
    shutil.rmtree(folder)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

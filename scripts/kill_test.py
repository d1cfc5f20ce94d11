"""What a kill costs: `python scripts/kill_test.py [--kills N] [KEY=VALUE]...`.

Trains a small run, ends its process with SIGKILL at a random point, resumes it, ends it again, until it is
done; then another, until there were N kills. Each has a token cache of its own, and is compared with the same
run undisturbed: rows byte for byte outside `time/`, events, summary but for times, checkpoints, tokens.

The points are lines of normlab's own files, drawn evenly from all that the undisturbed run went through there
(`step`, `checkpoint`, `rows`, `write`, `cache`, `wandb`), or moments of time. `kill_sweep.py` kills sweeps.
"""

import argparse
import atexit
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

# Some for their own sake: before any fork, so that an attempt costs no import.
import datasets  # noqa: F401
import torch._dynamo  # noqa: F401
from rich.console import Console
from rich.table import Table
from same_run import differences

import normlab.run  # noqa: F401
from normlab.data import cache
from normlab.disk import whole_files
from normlab.launch import launch, resume
from normlab.rundir import writer
from normlab.sinks.wandb import wandb_sink
from normlab.training import checkpoint, loop, step

#: Where a run is killed: the lines of some modules, or any time.
PLACES = {
    "step": (loop, step),
    "checkpoint": (checkpoint,),
    "rows": (writer,),
    "write": (whole_files,),
    "cache": (cache,),
    "wandb": (wandb_sink,),
}
ANY_TIME = "any time"
#: Kills of one run; then it may end.
MOST = 6
#: An event in mid-run, checkpoints of every kind, dropout.
WORDS = [
    *("depth=2", "model.width=16", "model.heads=2", "model.context=16", "model.dropout=0.1"),
    *("data=markov", "data.length=16384", "train.steps=40", "train.batch_size=4", "train.checkpoint.every=6"),
    *("train.eval_every=8", "train.eval_batches=2", "train.threads=1", "train.device=cpu"),
    *("fault.kind=nan_gradient", "fault.step=21"),
]

Action = Callable[[], int]


class Trace:
    """Counts the lines that this process goes through in each place; at `line` of `place` it is gone."""

    def __init__(self, place: str | None = None, line: int = 0) -> None:
        self.place, self.line = place, line
        self.places = {module.__file__: name for name, modules in PLACES.items() for module in modules}
        self.lines: Counter[str] = Counter()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        name = self.places.get(frame.f_code.co_filename)
        if name is None or self.place not in (None, name):
            return None
        if event == "line":
            self.lines[name] += 1
            if self.lines[self.place or ""] == self.line > 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


#: A place, what kills there, or after how many seconds.
Point = tuple[str, Trace | None, float | None]


def attempt(action: Action, folder: Path, trace: Trace | None, seconds: float | None = None) -> int:
    """The exit code of `action` in a process of its own, started in `folder`; if killed, the negative signal.

    `trace` may kill it, and it is killed after `seconds`, with all that it started.
    """

    def work() -> None:
        os.setsid()
        os.chdir(folder)
        os.environ["NORMLAB_CACHE"] = str(folder / "cache")
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.settrace(trace)
        code = action()
        sys.settrace(None)
        if trace:
            (folder / "lines.json").write_text(json.dumps(trace.lines))
        atexit._run_exitfuncs()  # which a forked process would leave out: wandb's are among them
        os._exit(code)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(seconds)
    if process.is_alive():
        os.killpg(process.ident, signal.SIGKILL)
        process.join()
    assert process.exitcode is not None
    return process.exitcode


def action(words: list[str], folder: Path) -> Action:
    """Train `folder/run`, or go on with it."""
    if (folder / "run" / "config.yaml").exists():
        return lambda: resume(Path("run"), [])
    return lambda: launch([*words, "hydra.run.dir=run"])


def finished(folder: Path) -> bool:
    summary = folder / "run" / "summary.json"
    return summary.exists() and json.loads(summary.read_text())["status"] == "finished"


def draw(lines: Counter[str], seconds: float, dice: random.Random) -> Iterator[Point]:
    """Points without end: the places in turn, in ever new order, and one of the lines of each."""
    places = [*PLACES, ANY_TIME]
    while True:
        for place in dice.sample(places, len(places)):
            if place == ANY_TIME:
                yield place, None, dice.uniform(0, seconds)
            elif lines[place]:
                yield place, Trace(place, dice.randint(1, lines[place])), None


def disturbed(words: list[str], folder: Path, points: Iterator[Point], most: int) -> Counter[str]:
    """Train in `folder` with up to `most` kills; returns how many there were of each place."""
    folder.mkdir()
    kills: Counter[str] = Counter()
    while True:
        place, trace, seconds = next(points) if kills.total() < most else ("", None, None)
        code = attempt(action(words, folder), folder, trace, seconds)
        if code == -signal.SIGKILL:
            kills[place] += 1
        elif code != 0:
            raise SystemExit(f"an attempt ended with {code}: {(folder / 'log.txt').read_text()[-2000:]}")
        if code == 0 or finished(folder):
            return kills


def tokens(folder: Path) -> dict[str, bytes]:
    """The files of a token cache that are taken for whole."""
    cache = folder / "cache"
    files = [path for path in cache.glob("*/*") if not path.parent.name.startswith(".")]
    return {str(path.relative_to(cache)): path.read_bytes() for path in files}


def compare(ours: Path, whole: Path) -> list[str]:
    """What differs, of the run and the tokens."""
    found = differences(ours / "run", whole / "run")
    return found + (["the token cache"] if tokens(ours) != tokens(whole) else [])


def conclude(table: Table, began: float, what: str, wrong: list[str], folder: Path) -> None:
    """Say what was killed and what differs. What differs stays to be looked at, and the exit code is 1."""
    Console().print(table)
    took = f"{time.monotonic() - began:.0f} s"
    print(f"{took}; different from the undisturbed {what}: {', '.join(wrong) or 'nothing'}")
    if wrong:
        raise SystemExit(1)
    shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the points")
    parser.add_argument("--wandb", action="store_true", help="with wandb, offline")
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="laid over a tiny run's")
    options = parser.parse_args()
    mode = "offline" if options.wandb else "disabled"
    words = [*WORDS, f"tracker.mode={mode}", *options.words]
    folder, dice = Path(tempfile.mkdtemp(prefix="normlab-kills-")), random.Random(options.seed)
    whole, began = folder / "whole", time.monotonic()
    whole.mkdir()
    if code := attempt(action(words, whole), whole, Trace()):
        raise SystemExit(f"the undisturbed run ended with {code}: {(whole / 'log.txt').read_text()[-2000:]}")
    lines = Counter(json.loads((whole / "lines.json").read_text()))
    points = draw(lines, time.monotonic() - began, dice)
    kills: Counter[str] = Counter()
    wrong: list[str] = []
    trials = 0
    while kills.total() < options.kills:
        trials += 1
        ours = folder / f"killed-{trials}"
        most = min(MOST, options.kills - kills.total())
        kills += disturbed(words, ours, points, most)
        wrong += [f"{ours}: {name}" for name in compare(ours, whole)]
    table = Table("killed in", "kills", "points", title=f"{kills.total()} kills, {trials} runs")
    for place in (*PLACES, ANY_TIME):
        table.add_row(place, str(kills[place]), str(lines[place] or "-"))
    conclude(table, began, "run", wrong, folder)


if __name__ == "__main__":
    main()

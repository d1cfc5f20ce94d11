"""What kills cost a sweep: `python scripts/kill_sweep.py [--kills N] [--seed S] [KEY=VALUE]...`.

Trains a named sweep of twelve tiny runs while processes of it are killed by SIGKILL at random moments, from
its first job on: one job's alone, the command's alone, or everything at once, as when the power fails. The
same command is given again until the sweep is finished; then another sweep, until there were N kills. Each
is compared with the same sweep undisturbed: its table (`sweep.json`) times aside, and every run as by
`kill_test.py`.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
import yaml
from kill_test import WORDS, conclude, tokens
from rich.table import Table
from same_run import differences

SWEEP = ("placement=post,pre,deepnorm", "warmup=0,10", "seed=0,1")
NAME = "killed"
JOB, COMMAND, ALL = "one job", "the command", "everything"
#: Seconds from one kill to the next, on average, of a sweep that would last `seconds` without any.
SHARE = 1 / 12


def start(words: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """`normlab train -m` in a session of its own, started in `folder`, with a token cache of its own."""
    environment = {**os.environ, "NORMLAB_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "normlab", "train", "-m", *words, f"sweep.name={NAME}"],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def jobs(session: int) -> list[int]:
    """The processes of a session that train: each leads a process group of its own."""
    return [pid for pid in members(session) if pid != session and _group(pid) == pid]


def members(session: int) -> list[int]:
    """All processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(ProcessLookupError, PermissionError):
                if os.getsid(int(entry.name)) == session:
                    found.append(int(entry.name))
    return found


def _group(pid: int) -> int:
    with suppress(ProcessLookupError):
        return os.getpgid(pid)
    return 0


def kill(what: str, session: int, dice: random.Random) -> bool:
    """Kill it; False where there is none: before the first job, or between two."""
    training = jobs(session)
    if not training:
        return False
    victims = {JOB: training and [dice.choice(training)], COMMAND: [session], ALL: members(session)}[what]
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return True


def disturbed(words: list[str], folder: Path, most: int, mean: float, dice: random.Random) -> Counter[str]:
    """Train the sweep in `folder` with up to `most` kills; returns how many there were of each kind."""
    folder.mkdir()
    kills: Counter[str] = Counter()
    kinds = _turns(dice)
    while True:
        process = start(words, folder)
        while kills.total() < most and _runs_for(process, dice.uniform(0, 2 * mean)):
            what = next(kinds)
            while process.poll() is None and not kill(what, process.pid, dice):
                time.sleep(0.01)
            kills[what] += process.poll() is None or process.returncode == -signal.SIGKILL
        code = process.wait()
        while members(process.pid):  # a job whose command was killed saves itself first
            time.sleep(0.05)
        if code == 0:
            return kills
        # 1: a job was lost; the same command goes on with it.
        if code not in (-signal.SIGKILL, 1):
            raise SystemExit(f"the sweep ended with {code}: {(folder / 'log.txt').read_text()[-2000:]}")


def _runs_for(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether it still runs this many seconds after it began to train, or from now on."""
    while process.poll() is None and not jobs(process.pid):
        time.sleep(0.01)
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.poll() is None


def _turns(dice: random.Random) -> Iterator[str]:
    while True:
        yield from dice.sample((JOB, COMMAND, ALL), 3)


def table(folder: Path) -> object:
    """`sweep.json`, times aside."""
    told = json.loads((folder / "outputs" / "sweeps" / NAME / "sweep.json").read_text())
    for job in told["jobs"]:
        job.pop("seconds")
    return told


def compare(ours: Path, whole: Path) -> list[str]:
    """What differs between two sweeps that should be the same."""
    runs = [
        sorted(path.parent for path in place.glob(f"outputs/sweeps/{NAME}/*/config.yaml"))
        for place in (ours, whole)
    ]
    found = []
    for run, other in zip(*runs, strict=True):
        fine = _saved_when_told(run, other)
        differ = [name for name in differences(run, other) if name not in fine]
        names = [name for name in differ if not _closer(run, other, name)]
        found += [f"{run.name}: {name}" for name in names]
    found += ["sweep.json"] if table(ours) != table(whole) else []
    return found + (["the token cache"] if tokens(ours) != tokens(whole) else [])


def _saved_when_told(run: Path, other: Path) -> set[str]:
    """What differs because a job whose command was killed saved itself: a checkpoint of a step at which none
    is due stands in the place of an older one."""
    ours, theirs = ({path.name for path in place.glob("checkpoints/step_*.pt")} for place in (run, other))
    train = yaml.safe_load((run / "config.yaml").read_text())["train"]
    extra = ours - theirs
    if any(int(name[5:-3]) % train["checkpoint"]["every"] == 0 for name in extra) or len(ours) != len(theirs):
        return set()
    return {"checkpoints", *extra}


def _closer(run: Path, other: Path, name: str) -> bool:
    """Whether a checkpoint from before an event is of a step closer to it than the undisturbed run's.

    A job whose command was killed saves itself, and that may be the last moment before the event.
    """
    if not name.startswith("before-"):
        return False
    ours, theirs = (
        torch.load(place / "checkpoints" / name, weights_only=True)["step"] for place in (run, other)
    )
    return bool(theirs < ours <= int(name.split("-")[1]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="a sweep; twelve jobs unless told")
    options = parser.parse_args()
    words = [*WORDS, "tracker.mode=disabled", *(options.words or SWEEP)]
    folder, dice = Path(tempfile.mkdtemp(prefix="normlab-kills-")), random.Random(options.seed)
    whole, began = folder / "whole", time.monotonic()
    whole.mkdir()
    if code := start(words, whole).wait():
        raise SystemExit(
            f"the undisturbed sweep ended with {code}: {(whole / 'log.txt').read_text()[-2000:]}"
        )
    mean = (time.monotonic() - began) * SHARE
    kills: Counter[str] = Counter()
    wrong: list[str] = []
    sweeps = 0
    while kills.total() < options.kills:
        sweeps += 1
        ours = folder / f"killed-{sweeps}"
        kills += disturbed(words, ours, options.kills - kills.total(), mean, dice)
        wrong += [f"{ours}: {name}" for name in compare(ours, whole)]
        print(f"{kills.total()} of {options.kills} kills", flush=True)
    shown = Table("killed", "times", title=f"{kills.total()} kills in {sweeps} sweeps")
    for what in (JOB, COMMAND, ALL):
        shown.add_row(what, str(kills[what]))
    conclude(shown, began, "sweep", wrong, folder)


if __name__ == "__main__":
    main()

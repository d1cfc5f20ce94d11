"""Jobs in processes of their own, with real training: killed, interrupted, left alone, and gone on with."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from normlab.compose.from_words import compose
from normlab.launch.child import Task, attempt, settle
from normlab.launch.signals import Interrupted
from normlab.run import run
from normlab.rundir.writer import is_held, read_rows, read_summary
from normlab.sweep import mark

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")

_MODEL = ["depth=2", "model.width=16", "model.heads=2", "model.context=8", "data=markov", "data.length=8192"]
_TRAIN = ["train.steps=300", "train.batch_size=4", "train.checkpoint.every=50", "train.threads=1"]
WORDS = [*_MODEL, *_TRAIN, "tracker.mode=disabled"]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (-9, "killed by SIGKILL (signal 9), as the system does when memory runs out"),
        (-11, "killed by SIGSEGV (signal 11)"),
        (3, "ended with exit code 3"),
    ],
)
@pytest.mark.parametrize("began", [False, True])
def test_a_job_that_could_not_say_how_it_ended_is_marked_lost(tmp_path, capsys, code, why, began):
    if began:
        (tmp_path / "summary.json").write_text('{"status": "running", "parameters": 7}')
    settle(tmp_path, code)
    summary = read_summary(tmp_path)
    assert summary["status"] == "lost" and why in summary["error"] and why in capsys.readouterr().err
    assert summary.get("parameters") == (7 if began else None)


def test_a_job_that_said_how_it_ended_is_left_alone_and_an_interrupt_goes_on(tmp_path):
    (tmp_path / "summary.json").write_text('{"status": "failed", "error": "ours"}')
    settle(tmp_path, 1)
    assert read_summary(tmp_path) == {"status": "failed", "error": "ours"}
    with pytest.raises(Interrupted):
        settle(tmp_path, 128 + signal.SIGTERM)


@pytest.mark.parametrize("status", ["finished", "failed"])
def test_a_job_that_another_sweep_did_meanwhile_is_left_alone(fake, status):
    config = compose()
    task = Task(config=config, directory=Path("here"), sweep="s", plain=True, environment={})
    task.directory.mkdir()
    fake.run(config, task.directory)
    summary = read_summary(task.directory) | {"status": status}
    (task.directory / "summary.json").write_text(json.dumps(summary))
    assert attempt(task) == 0 and fake.resumed == [] and len(fake.ran) == 1
    mark(task.directory, "lost", "too late")
    assert read_summary(task.directory)["status"] == ("finished" if status == "finished" else "lost")


def start(folder):
    command = [sys.executable, "-m", "normlab", "train", "-m", "sweep.name=s", "seed=0,1", *WORDS]
    with (folder / "out.txt").open("a") as out:
        return subprocess.Popen(command, cwd=folder, stdout=out, stderr=out)


def wait_until(what, seconds=120):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def job_of(sweep):
    """The process of the job that a sweep's process trains now: the one that leads a group of its own."""
    stats = [path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat")]
    pids = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat")]
    parents = {pid: int(stat[1]) for pid, stat in zip(pids, stats, strict=False)}
    [job] = [pid for pid in parents if parents.get(parents[pid]) == sweep.pid and os.getpgid(pid) == pid]
    return job


def rows_of(job, count):
    path = job / "metrics.jsonl"
    return path.exists() and path.read_bytes().count(b"\n") >= count


def statuses(folder):
    content = json.loads((folder / "outputs/sweeps/s/sweep.json").read_text())
    return [(job["status"], job["error"]) for job in content["jobs"]]


def untimed(rows):
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]


def test_a_sweep_survives_what_happens_to_its_jobs_and_to_itself(tmp_path):
    """A job is killed, the next interrupted by Ctrl-C; run again, the sweep itself is killed; and again."""
    configs = [compose([*WORDS, f"seed={seed}"]) for seed in (0, 1)]
    first = start(tmp_path)
    sweep = tmp_path / "outputs/sweeps/s"
    wait_until(lambda: any(rows_of(job, 40) for job in sweep.glob("*")))
    os.kill(job_of(first), signal.SIGKILL)
    wait_until(lambda: any(rows_of(job, 40) for job in sweep.glob("*s1")))
    first.send_signal(signal.SIGINT)
    assert first.wait(60) == 128 + signal.SIGINT
    (lost, why), (interrupted, _) = statuses(tmp_path)
    assert (lost, interrupted) == ("lost", "interrupted") and "killed by SIGKILL (signal 9)" in why

    [one] = sweep.glob("*s1")
    [zero] = sweep.glob("s0")
    before = (one / "metrics.jsonl").read_bytes()
    assert 40 <= len(read_rows(zero)) < 300 and len(read_rows(one)) == read_summary(one)["steps"] < 300
    second = start(tmp_path)
    wait_until(lambda: is_held(zero) and rows_of(zero, 120))
    second.kill()
    second.wait()
    wait_until(lambda: not is_held(zero))
    assert read_summary(zero)["status"] == "interrupted" and len(read_rows(zero)) < 300
    assert (one / "metrics.jsonl").read_bytes() == before

    assert start(tmp_path).wait(120) == 0
    out = (tmp_path / "out.txt").read_text()
    assert "sweep s: 2 to go on with" in out and "Traceback" not in out
    assert statuses(tmp_path) == [("finished", None)] * 2
    for config, directory in zip(configs, (zero, one), strict=True):
        run(config, tmp_path / f"whole-{config.seed}", plain=True)
        assert untimed(read_rows(directory)) == untimed(read_rows(tmp_path / f"whole-{config.seed}"))
        whole = read_summary(tmp_path / f"whole-{config.seed}")
        assert {key: read_summary(directory)[key] for key in ("loss/final", "val/final", "outcome")} == {
            key: whole[key] for key in ("loss/final", "val/final", "outcome")
        }

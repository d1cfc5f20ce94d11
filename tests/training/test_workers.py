"""`train.processes`: one run on several processes without torchrun, by itself and in a sweep."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from normlab.launch import launch
from normlab.launch.signals import FAILED, REFUSED
from normlab.rundir.writer import read_rows, read_summary

SMALL = [
    *("data=markov", "data.length=8192", "depth=2", "model.width=16", "model.heads=2", "model.context=8"),
    *("train.steps=6", "train.batch_size=8", "train.eval_every=3", "train.eval_batches=2", "measure=full"),
    *("train.device=cpu", "train.precision=fp64", "tracker.mode=disabled"),
]


def normlab(folder, *words):
    """The command, running in `folder`; what it says goes to out.txt."""
    with (folder / "out.txt").open("w") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "normlab", *words],
            cwd=folder,
            env=os.environ | {"COLUMNS": "80"},
            stdout=out,
            stderr=subprocess.STDOUT,
        )


def told(folder):
    return (folder / "out.txt").read_text()


def untimed(rows):
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]


def children(pid):
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


def others(pid):
    """The processes that train with rank 0: what a fork server has forked, and has no children."""
    below = children(pid)
    if not below and b"forkserver" in cmdline(pid):
        return [pid]
    return [other for child in below for other in others(child)]


def cmdline(pid):
    with suppress(OSError):
        return (Path("/proc") / str(pid) / "cmdline").read_bytes()
    return b""


def wait_for(what):
    deadline = time.monotonic() + 90
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def once_it_trains(run, command):
    """Wait until a run has some steps."""
    rows = run / "metrics.jsonl"
    before = rows.read_bytes().count(b"\n") if rows.exists() else 0
    wait_for(lambda: command.poll() or (rows.exists() and rows.read_bytes().count(b"\n") > before + 5))
    assert command.poll() is None, told(run.parent)


def test_two_processes_train_as_one_with_two_micro_batches(tmp_path, monkeypatch):
    """Under ddp; tests/training/test_ranks.py has fsdp, by torchrun."""
    monkeypatch.chdir(tmp_path)
    words = [*SMALL, "train.threads=1"]
    assert normlab(tmp_path, "train", *words, "train.processes=2", "hydra.run.dir=two").wait(100) == 0
    assert launch([*words, "train.accumulation=2", "hydra.run.dir=one"]) == 0
    assert told(tmp_path).count("run directory") == 1
    assert json.loads((tmp_path / "two/environment.json").read_text())["processes"] == 2
    for ours, theirs in zip(*(untimed(read_rows(tmp_path / name)) for name in ("two", "one")), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-12)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a fork server")
def test_ctrl_c_stops_all_at_one_step_and_the_run_goes_on(tmp_path):
    words = ["train", *SMALL, "train.steps=4000", "train.processes=2", "hydra.run.dir=run"]
    command = normlab(tmp_path, *words)
    once_it_trains(tmp_path / "run", command)
    [other] = others(command.pid)
    for pid in (other, command.pid):  # as a terminal does
        os.kill(pid, signal.SIGINT)
    assert command.wait(60) == 128 + signal.SIGINT, told(tmp_path)
    assert not Path(f"/proc/{other}").exists()
    done = read_summary(tmp_path / "run")["steps"]
    assert read_summary(tmp_path / "run")["status"] == "interrupted" and 5 < done < 4000
    resumed = normlab(tmp_path, "resume", "run", "train.processes=1")
    once_it_trains(tmp_path / "run", resumed)
    resumed.terminate()
    assert resumed.wait(60) == 128 + signal.SIGTERM
    rows = read_rows(tmp_path / "run")
    assert [row["step"] for row in rows] == list(range(len(rows))) and len(rows) > done


@pytest.mark.skipif(sys.platform != "linux", reason="needs a fork server")
def test_in_a_sweep_a_job_that_loses_a_process_costs_one_row(tmp_path):
    words = ["sweep.name=s", "seed=0,1", "train.processes=2", "sweep.zip=[seed,train.steps]"]
    command = normlab(tmp_path, "train", "-m", *SMALL[:-4], *SMALL[-3:], *words, "train.steps=100000,6")
    [run] = wait_for(lambda: list(tmp_path.glob("outputs/sweeps/s/*-s0")))
    once_it_trains(run, command)
    [other] = others(command.pid)
    os.kill(other, signal.SIGKILL)
    assert command.wait(100) == FAILED
    jobs = json.loads((tmp_path / "outputs/sweeps/s/sweep.json").read_text())["jobs"]
    assert [job["status"] for job in jobs] == ["failed", "finished"]
    assert "has lost another process of this run" in jobs[0]["error"]
    assert list((run / "checkpoints").glob("*.pt"))


def test_what_the_processes_cannot_share_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words, why in (
        (["train.processes=3"], "train.batch_size: 8 does not divide into 3 processes"),
        (["train.processes=0"], "train.processes: must be 1 or more, got 0"),
        (["train.processes=2", "train.parallel=fsdp", "norm=dyt"], "fsdp cannot share out a single number"),
    ):
        assert launch([*SMALL, *words]) == REFUSED
        assert why in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

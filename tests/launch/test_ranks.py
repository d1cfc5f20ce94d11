"""One run on two processes, as torchrun starts them: the same run as one process makes."""

import os
import subprocess
import sys

import pytest

from normlab.launch import launch
from normlab.sinks.run_directory import read_rows, read_summary

SMALL = [
    "data=markov",
    "data.length=8192",
    "depth=2",
    "model.width=16",
    "model.heads=2",
    "model.context=8",
    "train.steps=6",
    "train.batch_size=8",
    "train.eval_every=3",
    "train.eval_batches=2",
    "train.device=cpu",
    "train.threads=1",
    "train.precision=fp64",
    "tracker.mode=disabled",
    "measure=full",
]


def torchrun(folder, *words, processes=2):
    """torchrun's command, running in `folder`."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    command += ["--master-port=0", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    return subprocess.Popen(
        [*command, "-m", "normlab", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"COLUMNS": "80"},
    )


def done(process):
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def untimed(rows):
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def close(ours, theirs, tolerance):
    for row, other in zip(untimed(ours), untimed(theirs), strict=True):
        assert row.keys() == other.keys()
        for key, value in row.items():
            assert value == pytest.approx(other[key], rel=tolerance, abs=1e-12), key


def test_two_processes_train_as_one_with_two_micro_batches(here):
    words = ["train", *SMALL, "train.clip=0.5"]
    code, output = done(torchrun(here, *words, "hydra.run.dir=two", "train.accumulation=2"))
    assert code == 0, output
    assert launch([*words[1:], "hydra.run.dir=one", "train.accumulation=4"]) == 0
    close(read_rows(here / "two"), read_rows(here / "one"), 1e-6)
    two, one = read_summary(here / "two"), read_summary(here / "one")
    assert two["status"] == "finished" and two["events"] == one["events"]
    # One directory, written by one process, which alone speaks.
    assert sorted(path.name for path in here.iterdir()) == ["one", "two"]
    assert output.count("run directory") == 1

"""One run on two processes, as torchrun starts them: the same run as one process makes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from normlab.compose.from_words import compose
from normlab.errors import ConfigError
from normlab.launch import launch, resume
from normlab.machine import ranks
from normlab.rundir.writer import read_rows, read_summary
from normlab.training.checks import check_model

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


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_train_as_one_with_two_micro_batches(here, parallel):
    words = ["train", *SMALL, "train.clip=0.5", f"train.parallel={parallel}"]
    code, output = done(torchrun(here, *words, "hydra.run.dir=two", "train.accumulation=2"))
    assert code == 0, output
    assert launch([*words[1:], "hydra.run.dir=one", "train.accumulation=4"]) == 0
    rows = read_rows(here / "one")
    if parallel == "fsdp":  # no process has whole gains
        assert any(key.startswith("gain/") for key in rows[0])
        rows = [{key: row[key] for key in row if not key.startswith("gain/")} for row in rows]
    close(read_rows(here / "two"), rows, 1e-6)
    two, one = read_summary(here / "two"), read_summary(here / "one")
    assert two["status"] == "finished" and two["events"] == one["events"]
    # One directory, written by one process, which alone speaks.
    assert sorted(path.name for path in here.iterdir()) == ["one", "two"]
    assert output.count("run directory") == 1


_WHOLE_AND_CUT = """
import os, pathlib, sys
from normlab.launch import launch, resume
words = sys.argv[1:]
code = launch([*words, "hydra.run.dir=whole"]) or launch([*words, "hydra.run.dir=cut", "train.steps=4"])
code = code or resume(pathlib.Path("cut"), ["train.steps=6"])
sys.stdout.flush()
os._exit(code)
"""


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_run_of_two_goes_on_as_if_it_had_never_stopped(here, parallel):
    """With dropout, whose random numbers each process has of its own; here without torchrun."""
    words = [*SMALL, "model.dropout=0.2", "train.checkpoint.every=2", f"train.parallel={parallel}"]
    # Apart from this process, in which gloo's threads would stay.
    process = subprocess.run(
        [sys.executable, "-c", _WHOLE_AND_CUT, *words, "train.processes=2"],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    losses = [[row["loss"] for row in read_rows(here / name)] for name in ("cut", "whole")]
    assert losses[0] == losses[1] and len(losses[0]) == 6


def test_a_checkpoint_is_whole_whoever_wrote_it(here):
    """One process begins, two go on with a share each, one ends it: the run of one process."""
    words = [*SMALL, "train.accumulation=2"]
    assert launch([*words, "hydra.run.dir=whole", "train.steps=9"]) == 0
    assert launch([*words, "hydra.run.dir=cut", "train.steps=3"]) == 0
    code, output = done(torchrun(here, "resume", "cut", "train.steps=6", "train.parallel=fsdp"))
    assert code == 0, output
    assert resume(here / "cut", ["train.steps=9"]) == 0
    ours, theirs = ([row["loss"] for row in read_rows(here / name)] for name in ("cut", "whole"))
    assert ours == pytest.approx(theirs, rel=1e-9) and len(ours) == 9
    states = [torch.load(here / name / "checkpoints" / "step_00000009.pt") for name in ("cut", "whole")]
    ours, theirs = ([state["model"], state["optimizer"]["state"]] for state in states)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_what_cannot_be_shared_is_refused_once_and_leaves_nothing(here):
    code, output = done(torchrun(here, "train", *SMALL, "train.batch_size=3"))
    told = "train.batch_size: 3 does not divide into 2 processes"
    assert code != 0 and output.count("error: ") == 1 and told in output, output
    assert not list(here.iterdir())


def test_a_sweep_is_not_for_torchrun(here, monkeypatch, capsys):
    monkeypatch.setattr(ranks, "size", lambda: 2)
    assert launch([*SMALL, "-m", "seed=0,1"]) == 2
    assert "error: torchrun trains one run" in capsys.readouterr().err
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train.batch_size=3"], "train.batch_size: 3 does not divide into 2 processes"),
        (["train.processes=4"], "train.processes: torchrun has started 2; leave it at 1"),
        (["train.parallel=fsdp", "norm=dyt"], "train.parallel: fsdp cannot share out a single number"),
    ],
)
def test_the_model_and_the_batch_must_suit_the_processes(monkeypatch, words, told):
    monkeypatch.setattr(ranks, "size", lambda: 2)
    with pytest.raises(ConfigError) as refusal:
        check_model(compose([*SMALL, *words]))
    assert str(refusal.value).startswith(told)


def test_a_process_that_dies_ends_the_run_as_failed_with_a_checkpoint(here):
    words = ["train", *SMALL, "train.steps=4000", "train.checkpoint.every=1", "hydra.run.dir=run"]
    process = torchrun(here, *words)
    rows = here / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not (rows.exists() and rows.read_bytes().count(b"\n") > 5):
        time.sleep(0.1)
    (victim,) = [pid for pid in children(process.pid) if environment(pid).get("RANK") == "1"]
    os.kill(victim, signal.SIGKILL)
    code, output = done(process)
    summary = read_summary(here / "run")
    assert code != 0 and summary["status"] == "failed", output
    assert "has lost another process of this run" in summary["error"]
    assert list((here / "run" / "checkpoints").glob("step_*.pt"))
    assert "to go on: torchrun --nproc-per-node=2 -m normlab resume run\n" in output


@pytest.mark.parametrize(
    ("told", "command"),
    [
        ({}, "normlab"),
        ({"WORLD_SIZE": "2"}, "normlab"),  # train.processes=2
        (
            {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
            "torchrun --nproc-per-node=2 -m normlab",
        ),
        (
            {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"},
            "torchrun ... -m normlab",  # on two machines
        ),
    ],
)
def test_what_started_a_process_is_told_with_its_number_of_processes(monkeypatch, told, command):
    for name in ("TORCHELASTIC_RUN_ID", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert ranks.command() == command


def children(pid):
    found = (path.parent for path in Path("/proc").glob("[0-9]*/stat"))
    stats = ((int(path.name), (path / "stat").read_text().rpartition(")")[2].split()) for path in found)
    return [child for child, stat in stats if int(stat[1]) == pid]


def environment(pid):
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)

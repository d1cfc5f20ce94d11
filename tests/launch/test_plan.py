"""`normlab sweep plan`, with the real models."""

import re
from pathlib import Path

import pytest

from normlab.launch import launch, plan
from normlab.launch.main import FAILED, OK, REFUSED

WORDS = ["model.width=16", "model.heads=2", "model.context=8", "data=markov", "data.length=8192"]


def test_a_plan_tells_the_jobs_and_does_nothing(fake, monkeypatch, tmp_path, capsys):
    words = [*WORDS, "sweep.name=s", "depth=2,3", "tracker.mode=disabled", "train.threads=1"]
    assert launch(["-m", *words, "depth=2"]) == OK
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    capsys.readouterr()
    monkeypatch.undo()  # the real training, in the same folder
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    assert plan([*words, "train.steps=300,600"]) == OK
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert rows[1][:2] == ["depth", "train.steps"]
    assert [row[:3] for row in rows[3:7]] == [
        ["2", "300", "done"],
        ["2", "600", "train"],
        ["3", "300", "train"],
        ["3", "600", "train"],
    ]
    assert re.search(r"4 jobs, 3 to train: about \d.* one after another", out)
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_a_plan_counts_the_start_of_each_job_and_of_the_sweep(fake, monkeypatch, tmp_path, capsys):
    words = [*WORDS, "depth=2", "train.steps=1", "tracker.mode=disabled", "train.threads=1", "sweep.name=s"]
    assert launch(["-m", *words, f"seed={fake.FULL_DISK}"]) == FAILED
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert plan([*words, f"seed={fake.FULL_DISK},1", "sweep.retry=failed"]) == OK
    out = capsys.readouterr().out
    assert "try again" in out
    seconds = float(re.search(r"2 jobs, 2 to train: about ([\d.]+) s one after another", out)[1])
    assert 8 <= seconds < 12  # the steps of such a model take no time
    assert plan([*words, "seed=1"]) == OK
    assert re.search(r"1 job, 1 to train: about [\d.]+ s on this machine", capsys.readouterr().out)
    assert plan([*words, f"seed={fake.FULL_DISK}"]) == OK
    assert capsys.readouterr().out.endswith("1 job, 0 to train\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["placement=prez,post"], "Did you mean 'pre'"),
        (["depth=2,0"], "depth: must be 1 or more"),
        (["--cfg", "job"], "--multirun and --cfg do not go together"),
    ],
)
def test_a_plan_checks_every_name(fake, capsys, words, message):
    assert plan(words) == REFUSED
    assert message in capsys.readouterr().err and not Path("outputs").exists()


@pytest.mark.parametrize("width", [40_000, 200_000])
def test_a_model_that_does_not_fit_in_memory_is_named(monkeypatch, tmp_path, capsys, width):
    """The first could be had by what Linux promises, and would have the process killed."""
    if width == 40_000:  # a machine that it does not fit
        monkeypatch.setattr("normlab.training.forecast.os.sysconf", lambda name: 2**17)
    monkeypatch.chdir(tmp_path)
    words = [*WORDS, "depth=1", "tracker.mode=disabled", "train.threads=1", "train.device=cpu"]
    assert plan([*words, f"model.width=16,{width}"]) == REFUSED
    out, err = capsys.readouterr()
    assert out == "" and "1 of 2 jobs cannot run, so none was started" in err
    assert f"model.width: {width} takes at least" in err and "is the most that fits" in err


def test_a_step_for_which_there_is_no_memory_counts_too(monkeypatch, small):
    from normlab.training import forecast

    def full(job):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(forecast, "take_step", full)
    with pytest.raises(MemoryError):
        forecast.forecast(small({}))

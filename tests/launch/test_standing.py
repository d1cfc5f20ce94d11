"""A sweep that is run again, enlarged, stopped or shared: what was done stays, the rest is trained."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from normlab.compose.from_words import compose
from normlab.launch import child, launch, standing
from normlab.launch.main import FAILED, OK, REFUSED


def left():
    """Everything in the current folder."""
    return sorted(path for path in Path().rglob("*") if path.is_file())


def test_a_sweep_does_not_run_a_job_twice(fake, capsys):
    assert launch(["-m", "sweep.name=s", "seed=1"]) == OK
    before = {path: path.read_bytes() for path in left() if ".hydra" not in path.parts}
    assert launch(["-m", "sweep.name=s", "seed=1", "train.threads=1", "measure=full"]) == OK
    assert "sweep s: 1 finished before\n" in capsys.readouterr().out
    assert len(fake.ran) == 1 and fake.resumed == []
    for path, content in before.items():
        assert path.name in ("sweep.json", "multirun.yaml") or path.read_bytes() == content


def test_an_enlarged_sweep_runs_what_is_new_and_its_table_has_all(fake, capsys):
    assert launch(["-m", "sweep.name=s", "seed=1,2"]) == OK
    assert launch(["-m", "sweep.name=s", "warmup=0,9", "seed=2,3"]) == OK
    assert "sweep s: 1 finished before, 3 new\n" in capsys.readouterr().out
    assert [(config.seed, config.warmup) for config, *_ in fake.ran] == [
        (1, 0),
        (2, 0),
        (3, 0),
        (2, 9),
        (3, 9),
    ]
    content = json.loads(Path("outputs/sweeps/s/sweep.json").read_text())
    assert content["knobs"] == ["warmup", "seed"] and len(content["jobs"]) == 5


def _rewrite(status, **more):
    [path] = Path("outputs/sweeps/s").glob("*/summary.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": status, **more}))
    return path


@pytest.mark.parametrize("status", ["running", "lost", "interrupted"])
def test_a_job_that_did_not_end_is_gone_on_with(fake, capsys, status):
    assert launch(["-m", "sweep.name=s", "seed=1"]) == OK
    path = _rewrite(status)
    assert launch(["-m", "sweep.name=s", "seed=1", "tracker.project=x"]) == OK
    assert "sweep s: 1 to go on with\n" in capsys.readouterr().out
    assert len(fake.ran) == 1 and fake.resumed[0][1] == path.parent.absolute()


def test_a_failed_job_is_tried_again_only_where_wanted(fake, capsys):
    assert launch(["-m", "sweep.name=s", "seed=1"]) == OK
    _rewrite("failed", error="OSError: disk full")
    assert launch(["-m", "sweep.name=s", "seed=1"]) == FAILED
    out = capsys.readouterr().out
    assert "1 failed before (sweep.retry=failed tries again)" in out and "OSError: disk full" in out
    assert fake.resumed == []
    assert out.endswith("what failed:\nnormlab train -m seed=1 sweep.name=s sweep.retry=failed\n")
    assert launch(["-m", "sweep.name=s", "seed=1,2", "sweep.retry=failed"]) == OK
    assert "sweep s: 1 failed before, tried again, 1 new\n" in capsys.readouterr().out
    assert len(fake.resumed) == 1


def test_the_command_that_goes_on_is_on_record_from_the_first_job_on(fake):
    ran, seen = fake.run, []

    def run(config, directory, **rest):
        seen.append(json.loads((directory.parent / "sweep.json").read_text())["command"])
        return ran(config, directory, **rest)

    fake.run = run
    words = ["-m", "sweep.name=s", "warmup=0", "seed=range(2)"]
    assert launch([*words, "sweep.retry=failed"]) == OK
    assert seen == ["normlab train -m warmup=0 'seed=range(2)' sweep.name=s"] * 2
    assert launch(["-m", "seed=5"]) == OK and re.fullmatch(
        r"normlab train -m seed=5 sweep\.name=[\d_-]+", seen[2]
    )


def test_a_job_that_another_process_trains_is_left_to_it(fake, capsys):
    assert launch(["-m", "sweep.name=s", "seed=1"]) == OK
    path = _rewrite("running")
    code = f"""
import sys
from pathlib import Path
from normlab.rundir.writer import hold
with hold(Path({str(path.parent)!r})):
    print("held", flush=True)
    sys.stdin.read()
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"held\n"
    assert launch(["-m", "sweep.name=s", "seed=1,2"]) == OK
    other.communicate()
    out = capsys.readouterr().out
    assert "1 being trained by another process, 1 new" in out and "left to another process" in out
    assert "1 running, 1 finished" in out and fake.resumed == []


@pytest.mark.parametrize(
    ("status", "words", "message"),
    [
        ("interrupted", ["measure=full"], "measure.name: was standard when the run was started"),
        ("interrupted", ["hydra.sweep.subdir=x", "warmup=7"], "warmup: was 0 when"),
        (
            "finished",
            ["hydra.sweep.subdir=x", "warmup=7"],
            "x holds another job: warmup is 0 there, and 7 here",
        ),
    ],
)
def test_a_folder_that_holds_another_job_is_told_before_any_work(fake, capsys, status, words, message):
    subdir = [word for word in words if word.startswith("hydra")]
    assert launch(["-m", "sweep.name=s", "seed=1", *subdir]) == OK
    _rewrite(status)
    before = {path: path.read_bytes() for path in left()}
    assert launch(["-m", "sweep.name=s", "seed=1", *words]) == REFUSED
    assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in left()} == before and fake.resumed == []


def test_a_tracker_that_was_out_of_reach_is_not_waited_for_again(fake, monkeypatch):
    ran, seen = fake.run, []

    def run(config, directory, **rest):
        summary = ran(config, directory, **rest) | {"wandb": {"unreachable": "True"}}
        (directory / "summary.json").write_text(json.dumps(summary))
        return summary

    def apart(task):
        seen.append(task.environment.get("WANDB_MODE"))
        return child.attempt(task)

    fake.run = run
    monkeypatch.setattr(child, "apart", apart)
    assert launch(["-m", "seed=1,2"]) == OK
    assert seen == [None, "offline"]
    assert launch(["-m", "seed=3"]) == OK and seen[2] is None  # another command tries again


def test_a_clock_that_goes_back_makes_no_job_run_twice(fake):
    assert launch(["-m", "sweep.name=s", "seed=0,1"]) == OK
    tomorrow = time.time() + 86400
    for path in Path().rglob("*"):
        os.utime(path, (tomorrow, tomorrow))
    assert launch(["-m", "sweep.name=s", "seed=0,1,2"]) == OK
    assert [config.seed for config, *_ in fake.ran] == [0, 1, 2] and fake.resumed == []


def test_fail_fast_knows_what_failed_before_whatever_the_clock_says(fake):
    assert launch(["-m", "sweep.name=s", "seed=91"]) == FAILED
    tomorrow = time.time() + 86400
    for path in Path().rglob("*"):
        os.utime(path, (tomorrow, tomorrow))
    words = ["-m", "sweep.name=s", "sweep.fail_fast=true"]
    assert launch([*words, "seed=91,1"]) == FAILED and [config.seed for config, *_ in fake.ran] == [91, 1]
    # Tried again it fails again, and that counts.
    assert launch([*words, "seed=91,2", "sweep.retry=failed"]) == FAILED
    assert [config.seed for config, *_ in fake.ran] == [91, 1]


@pytest.mark.parametrize("text", ["[1]", "3", "{", "null"])
def test_a_list_of_what_failed_before_that_is_none_is_an_empty_one(tmp_path, text):
    job = tmp_path / "job"
    job.mkdir()
    (job / "summary.json").write_text('{"status": "failed"}')
    (tmp_path / standing.BEFORE).write_text(text)
    assert standing.is_stopped(compose(["sweep.fail_fast=true"]), tmp_path)


def test_fail_fast_starts_no_further_job(fake, capsys):
    words = ["-m", "sweep.name=s", "sweep.fail_fast=true", "seed=1,91,2"]
    assert launch(words) == FAILED
    assert [config.seed for config, *_ in fake.ran] == [1, 91]
    assert "1 finished, 1 failed, 1 not started" in capsys.readouterr().out
    assert launch([*words, "sweep.retry=failed"]) == FAILED
    assert [config.seed for config, *_ in fake.ran] == [1, 91] and len(fake.resumed) == 1


def test_a_sweep_that_a_signal_stopped_begins_anew(fake):
    Path("outputs/sweeps/s").mkdir(parents=True)
    Path("outputs/sweeps/s/.stop").touch()
    assert launch(["-m", "sweep.name=s", "seed=1"]) == OK and len(fake.ran) == 1


def test_no_job_starts_once_a_signal_stopped_the_sweep(fake, capsys):
    ran = fake.run

    def run_then_stop(config, directory, **rest):
        (directory.parent / ".stop").touch()
        return ran(config, directory, **rest)

    fake.run = run_then_stop
    assert launch(["-m", "sweep.name=s", "seed=1,2"]) == FAILED
    assert len(fake.ran) == 1 and "1 finished, 1 not started" in capsys.readouterr().out

"""A sweep of an earlier normlab, whose modules had other names, is read, compared, replayed and gone on with.

`old_sweep/` is two runs of 12 steps with a gradient that is not a number at step 8.
"""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import normlab
from normlab.cli.app import app
from normlab.launch import resume
from normlab.rundir.writer import read_events, read_rows, read_summary
from normlab.runs.replay import replay

SWEEP = Path(__file__).parent / "old_sweep"
PRE = "depth-2_fault.kind-nan_gradient_fault.step-8_model.width-8_and-8-more-44402967"
#: What it was trained with.
WORDS = (
    *("placement=pre", "depth=2", "model.width=8", "model.heads=2", "model.context=16", "data=markov"),
    *("data.length=8192", "train.batch_size=4", "train.eval_every=6", "train.eval_batches=2"),
    *("train.threads=1", "tracker.mode=disabled", "train.checkpoint.every=6", "train.checkpoint.keep=1"),
    *("fault.kind=nan_gradient", "fault.step=8"),
)


@pytest.fixture
def old(tmp_path):
    return Path(shutil.copytree(SWEEP, tmp_path / "old"))


def test_it_is_read(old):
    runs = normlab.load(old)
    found = {run.config["placement"]["name"]: run for run in runs}
    assert list(found) == ["post", "pre"] and runs.knobs == ["placement"]
    assert all(run.status == "finished" and run.notes == () for run in runs)
    assert [len(run.rows) for run in runs] == [12, 12]
    assert found["pre"].summary["val/final"] == pytest.approx(2.8, abs=0.2)
    assert [(event["kind"], event["step"]) for event in found["pre"].events] == [("nonfinite", 8)]


def test_it_is_compared(old):
    done = CliRunner().invoke(app, ["compare", str(old), "--json"])
    assert done.exit_code == 0, done.output
    losses = json.loads(done.stdout)["loss"]
    assert [row["placement"] for row in losses] == ["post", "pre"]


def test_it_is_replayed_to_the_events_that_it_had(old):
    for run in normlab.load(old):
        again = [(event.kind, event.step, event.metric) for event in replay(run.path).events]
        assert again == [(event["kind"], event["step"], event["metric"]) for event in run.events]


def test_it_goes_on_as_if_it_had_been_longer(old, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = read_rows(old / PRE)
    assert resume(old / PRE, ["train.steps=16"]) == 0
    rows = read_rows(old / PRE)
    assert rows[:12] == before and [row["step"] for row in rows] == list(range(16))
    assert read_summary(old / PRE)["steps"] == 16 and len(read_events(old / PRE)) == 1
    whole = normlab.train([*WORDS, "train.steps=16"], tmp_path / "whole")
    # Another machine's kernels round otherwise.
    wanted = [row["loss"] for row in whole.read_rows()]
    assert [row["loss"] for row in rows] == pytest.approx(wanted, rel=1e-4)

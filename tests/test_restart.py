"""Where a stopped run goes on from; it equals the undisturbed run from whichever checkpoint was good."""

import json
import os
import re
import signal

import pytest
import torch
import yaml

from normlab.errors import CheckpointError, ConfigError, RunDirectoryError
from normlab.run import resume, run
from normlab.training import checkpoint, loop

#: Validation at steps 2, 4 and 6, checkpoints at 2, 4, 6 and 7.
CHANGES = {"train.steps": 7, "train.eval_every": 2, "train.checkpoint.every": 2, "model.dropout": 0.1}


def rows(directory):
    """`metrics.jsonl` byte for byte, but for what lies under `time/`."""
    return re.sub(rb'"time/\w+": [^,}]+', b"", (directory / "metrics.jsonl").read_bytes())


def state(path):
    """A checkpoint in words, to the last bit."""
    return json.dumps(torch.load(path, weights_only=True), default=lambda tensor: tensor.tolist())


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def killed_at(step, directory, config, monkeypatch):
    """A run that ends without a checkpoint before `step`."""
    taken = loop.take_step

    def killing(job):
        if job.step == step:
            raise KeyboardInterrupt
        return taken(job)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_step", killing)
        with pytest.raises(KeyboardInterrupt):
            run(config, directory, plain=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tmp_path_factory.mktemp("whole") / "run"


@pytest.mark.parametrize(
    ("damage", "wrong"), [(flip, "not what was written"), (cut, "cut short"), (os.unlink, None)]
)
def test_after_a_damaged_checkpoint_the_rows_are_the_same(
    damage, wrong, whole, small, tmp_path, monkeypatch, capsys
):
    config = small(CHANGES)
    if not whole.exists():
        run(config, whole, plain=True)
    directory = tmp_path / "run"
    killed_at(5, directory, config, monkeypatch)
    damage(directory / "checkpoints" / "step_00000004.pt")
    capsys.readouterr()
    resume(config, directory, plain=True)
    assert rows(directory) == rows(whole)
    assert (directory / "events.jsonl").read_bytes() == (whole / "events.jsonl").read_bytes()
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    told = (
        f"warning: step_00000004.pt is {wrong}.*: going on from step_00000002.pt at step 2, 3 steps .* again"
    )
    assert len(said) == (wrong is not None) and all(re.fullmatch(told, line) for line in said)
    for name in ("step_00000006.pt", "step_00000007.pt", "best.pt"):
        assert state(directory / "checkpoints" / name) == state(whole / "checkpoints" / name), name


def test_a_damaged_checkpoint_does_not_push_out_a_good_one(small, tmp_path, monkeypatch):
    killed_at(5, tmp_path / "run", small(CHANGES), monkeypatch)
    flip(tmp_path / "run" / "checkpoints" / "step_00000004.pt")
    taken = loop.take_step

    def signalled(job):
        os.kill(os.getpid(), signal.SIGTERM)
        return taken(job)

    monkeypatch.setattr(loop, "take_step", signalled)
    assert resume(small(CHANGES), tmp_path / "run", plain=True)["steps"] == 3
    assert [path.name for path in sorted((tmp_path / "run" / "checkpoints").glob("step_*"))] == [
        "step_00000002.pt",
        "step_00000003.pt",
    ]


def test_a_run_killed_before_its_first_checkpoint_starts_again(small, tmp_path, monkeypatch, capsys):
    config = small(CHANGES)
    killed_at(1, tmp_path / "run", config, monkeypatch)
    summary = resume(config, tmp_path / "run", plain=True)
    run(config, tmp_path / "whole", plain=True)
    assert summary["status"] == "finished" and rows(tmp_path / "run") == rows(tmp_path / "whole")
    assert "stopped before its first checkpoint: 1 step trained again" in capsys.readouterr().out


def test_a_run_killed_after_its_config_can_be_resumed_and_before_it_started(small, tmp_path, monkeypatch):
    config, directory = small({"train.steps": 2}), tmp_path / "run"

    def killed(self, summary):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("normlab.sinks.run_directory.RunDirectory.write_summary", killed)
        with pytest.raises(KeyboardInterrupt):
            run(config, directory, plain=True)
    (directory / "metrics.jsonl").unlink()
    assert resume(config, directory, plain=True)["status"] == "finished"
    for name in ("metrics.jsonl", "summary.json", "config.yaml"):
        (directory / name).unlink()
    with pytest.raises(RunDirectoryError, match=r"there is no config\.yaml"):
        resume(config, directory, plain=True)
    assert run(config, directory, plain=True)["status"] == "finished"


def test_a_checkpoint_of_another_experiment_is_refused_with_what_differs(small, tmp_path):
    directory, config = tmp_path / "run", small({"train.steps": 2})
    run(config, directory, plain=True)
    before = rows(directory)
    other = small({"train.steps": 4, "depth": 3, "optimizer.lr": 1e-3}, activation="relu")
    run(other, tmp_path / "other", plain=True)
    (directory / "config.yaml").write_bytes((tmp_path / "other" / "config.yaml").read_bytes())
    with pytest.raises(CheckpointError, match=r"step_00000002\.pt is not .*") as refused:
        resume(other, directory, plain=True)
    for told in ("activation.name is gelu there and relu", "depth is 2 there and 3", "optimizer.lr is"):
        assert told in str(refused.value)
    assert rows(directory) == before


def test_a_checkpoint_that_does_not_fit_the_model_is_named(small, tmp_path):
    config, path = small({"train.steps": 2}), tmp_path / "run" / "checkpoints" / "step_00000002.pt"
    run(config, tmp_path / "run", plain=True)
    lacking = torch.load(path, weights_only=True)
    del lacking["model"]["head.weight"]
    checkpoint.save(path.parent, 2, lacking, keep=2)
    with pytest.raises(CheckpointError, match=r"step_00000002\.pt does not fit the model.*head\.weight"):
        resume(small({"train.steps": 4}), tmp_path / "run", plain=True)


def test_a_file_that_is_not_a_runs_state_is_named(small, tmp_path):
    config, folder = small({"train.steps": 2}), tmp_path / "run" / "checkpoints"
    run(config, tmp_path / "run", plain=True)
    checkpoint.save(folder, 2, {"model": {}}, keep=2)
    with pytest.raises(CheckpointError, match=r"step_00000002\.pt is not the state of a run"):
        resume(small({"train.steps": 4}), tmp_path / "run", plain=True)


def test_the_best_and_the_last_before_an_event_are_kept(small, tmp_path):
    config = small(
        {"train.steps": 40, "train.eval_every": 5, "train.checkpoint.every": 7, "fault.step": 20}
        | {"fault.kind": "nan_activation"}
    )
    summary = run(config, tmp_path / "run", plain=True)
    folder, written = tmp_path / "run" / "checkpoints", (tmp_path / "run" / "metrics.jsonl").read_text()
    found = [row for row in map(json.loads, written.splitlines()) if "val/loss" in row]
    lowest = min(found, key=lambda row: row["val/loss"])
    best = torch.load(folder / "best.pt", weights_only=True)
    assert best["step"] == lowest["step"] + 1 and best["best"][0] == summary["val/best"]
    (before,) = folder.glob("before-*.pt")
    assert before.name == "before-000020-nonfinite.pt"
    assert 14 <= torch.load(before, weights_only=True)["step"] <= 20
    assert [int(path.stem[5:]) for path in sorted(folder.glob("step_*.pt"))] >= [35, 40]


@pytest.mark.parametrize(
    ("changes", "key"), [({"train.steps": 4}, "train.steps"), ({"optimizer.lr": 1e-3}, "optimizer.lr")]
)
def test_a_resumed_run_stays_the_same_experiment(changes, key, small, tmp_path):
    run(small(), tmp_path / "run", plain=True)
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(ConfigError, match=key):
        resume(small(changes), tmp_path / "run", plain=True)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["train"]["steps"] == 6

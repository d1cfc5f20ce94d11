"""Where a stopped run goes on from; it equals the undisturbed run from whichever checkpoint was good."""

import json
import os
import re
import signal
import zipfile

import numpy as np
import pytest
import torch
import yaml

from normlab.errors import CheckpointError, ConfigError, RunDirectoryError
from normlab.run import resume, run
from normlab.training import checkpoint, loop, restart
from normlab.training import step as one_step

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
        patch.setattr("normlab.rundir.writer.RunDirectory.write_summary", killed)
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


def test_a_state_that_lacks_a_part_or_holds_another_in_it_is_named(small, tmp_path):
    folder, again = tmp_path / "run" / "checkpoints", small({"train.steps": 4})
    run(small({"train.steps": 2}), tmp_path / "run", plain=True)
    state = torch.load(folder / "step_00000002.pt", weights_only=True)
    for part in ("best", "optimizer", "watch", "rng", "config"):
        lacking = {key: value for key, value in state.items() if key != part}
        for changed in (
            lacking,
            state | {part: {"bands": "x", "events": [1], "state": "x", "param_groups": 3}},
            state | {part: torch.ones(2)},
        ):
            checkpoint.save(folder, 2, changed, keep=2)
            with pytest.raises(CheckpointError, match=r"step_00000002\.pt (is not|does not fit)"):
                resume(again, tmp_path / "run", plain=True)


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


def windows(directory):
    """The arrays of each event's snapshot, but for times."""
    return {
        path.name: {
            name: array.tolist() for name, array in np.load(path).items() if not name.startswith("time/")
        }
        for path in (directory / "events").glob("*.npz")
    }


#: An event at step 5, of which the steps before are written; rows of every third step, and of evaluations.
EVENT = CHANGES | {"measure.ring": 4, "fault.kind": "nan_gradient", "fault.step": 5, "train.log_every": 3}


def test_the_steps_before_an_event_are_whole_though_the_run_was_killed_twice_before_it(
    small, tmp_path, monkeypatch
):
    config = small(EVENT)
    run(config, tmp_path / "whole", plain=True)
    killed_at(3, tmp_path / "run", config, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_step", killer(5))
        with pytest.raises(KeyboardInterrupt):
            resume(config, tmp_path / "run", plain=True)
    resume(config, tmp_path / "run", plain=True)
    found = windows(tmp_path / "run")
    assert json.dumps(found) == json.dumps(windows(tmp_path / "whole"))
    assert [len(arrays["loss"]) for arrays in found.values()] == [4]


def killer(step):
    """`take_step`, until that step."""
    taken = loop.take_step

    def killing(job):
        if job.step == step:
            raise KeyboardInterrupt
        return taken(job)

    return killing


def test_the_best_checkpoint_is_the_one_of_the_record_after_a_kill_before_it_was_kept(
    small, tmp_path, monkeypatch
):
    config, directory = small(CHANGES), tmp_path / "run"
    run(config, tmp_path / "whole", plain=True)

    def killed(name, folder, step):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "keep_as", killed)
        with pytest.raises(KeyboardInterrupt):
            run(config, directory, plain=True)
    assert not (directory / "checkpoints" / "best.pt").exists()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_step", killer(2))
        with pytest.raises(KeyboardInterrupt):
            resume(config, directory, plain=True)
    kept = torch.load(directory / "checkpoints" / "best.pt", weights_only=True)
    assert kept["step"] == kept["best"][1] == 2
    resume(config, directory, plain=True)
    assert state(directory / "checkpoints" / "best.pt") == state(tmp_path / "whole/checkpoints/best.pt")


def test_a_best_checkpoint_of_another_step_than_the_record_says_is_not_kept(small, tmp_path, capsys):
    config, directory = small(CHANGES), tmp_path / "run"
    run(config, directory, plain=True)
    folder = directory / "checkpoints"
    best = torch.load(folder / "best.pt", weights_only=True)["best"][1]
    other = next(path for path in checkpoint.checkpoints(folder) if not path.name.endswith(f"{best}.pt"))
    (folder / "best.pt").write_bytes(other.read_bytes())
    (folder / f"step_{best:08d}.pt").unlink(missing_ok=True)
    assert checkpoint.mend_best(folder, best, torch.device("cpu")) == f"best.pt, of step {best}, is lost"
    assert not (folder / "best.pt").exists()


def test_rows_that_a_power_failure_took_are_trained_again_from_the_checkpoint_before(
    small, tmp_path, monkeypatch, capsys
):
    config, directory = small(CHANGES), tmp_path / "run"
    run(config, tmp_path / "whole", plain=True)
    killed_at(5, directory, config, monkeypatch)
    lines = (directory / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    damaged = [*lines[:3], b"\0" * len(lines[3]), *lines[4:]]
    (directory / "metrics.jsonl").write_bytes(b"".join(damaged))
    capsys.readouterr()
    resume(config, directory, plain=True)
    assert rows(directory) == rows(tmp_path / "whole")
    said = capsys.readouterr().out
    assert "metrics.jsonl has 3 of the 4 rows before step 4" in said and "step_00000002.pt at step 2" in said


def test_rows_that_are_lost_from_before_every_checkpoint_are_made_again(small, tmp_path, monkeypatch, capsys):
    config, directory = small(CHANGES), tmp_path / "run"
    run(config, tmp_path / "whole", plain=True)
    killed_at(5, directory, config, monkeypatch)
    (directory / "metrics.jsonl").write_bytes(b"\0" * 100)
    (directory / "summary.json").write_bytes(b"")
    resume(config, directory, plain=True)
    assert rows(directory) == rows(tmp_path / "whole")
    said = capsys.readouterr().out
    assert "lacks rows from before every checkpoint: beginning again" in said
    assert "summary.json is not JSON" in said


def test_rows_of_a_run_that_ended_are_not_made_again_from_its_first_step(small, tmp_path):
    config, directory = small(CHANGES), tmp_path / "run"
    run(config, directory, plain=True)
    (directory / "metrics.jsonl").write_bytes(b"\0" * 100)
    with pytest.raises(CheckpointError, match=r"no checkpoint to go on from \(metrics\.jsonl has 0 of the 7"):
        resume(small(CHANGES | {"train.steps": 9}), directory, plain=True)
    assert (directory / "metrics.jsonl").read_bytes() == b"\0" * 100


#: NaN in the gradient of step 1, which is an event and changes no parameter.
STOPS = {"fault.kind": "nan_gradient", "fault.step": 1, "divergence.action": "stop"}


def test_a_run_that_stopped_on_divergence_is_finished_and_says_how_to_go_on(small, tmp_path, monkeypatch):
    config, directory = small(STOPS), tmp_path / "run"
    assert run(config, directory, plain=True)["steps"] == 2
    before = rows(directory)
    with pytest.raises(RunDirectoryError, match=r"ended it at step 2 .*add divergence\.action=record"):
        resume(config, directory, plain=True)
    # Killed before its last word, it has that alone to say.
    summary = json.loads((directory / "summary.json").read_text()) | {"status": "running"}
    (directory / "summary.json").write_text(json.dumps(summary))
    assert resume(config, directory, plain=True)["status"] == "finished"
    assert rows(directory) == before
    assert resume(small(STOPS | {"divergence.action": "record"}), directory, plain=True)["steps"] == 6


def test_a_run_whose_parameters_are_not_finite_trains_no_further_step(small, tmp_path, monkeypatch):
    config, directory = small({"train.checkpoint.every": 1}), tmp_path / "run"
    whole = one_step.step

    def broken(job, rate):
        whole(job, rate)
        with torch.no_grad():
            next(job.model.parameters()).fill_(torch.nan)

    with monkeypatch.context() as patch:
        patch.setattr(one_step, "step", broken)
        steps = run(config, directory, plain=True)["steps"]
    assert steps < 6
    before = rows(directory)
    with pytest.raises(RunDirectoryError, match=r"is finished: .* not finite"):
        resume(config, directory, plain=True)
    (directory / "summary.json").unlink()
    assert resume(config, directory, plain=True)["status"] == "finished"
    assert rows(directory) == before


def test_what_a_killed_write_left_goes_at_the_next_start_though_the_run_is_finished(small, tmp_path):
    config, directory = small(CHANGES), tmp_path / "run"
    run(config, directory, plain=True)
    (directory / "summary.json.part").touch()
    with pytest.raises(RunDirectoryError, match="has done all its 7 steps"):
        resume(config, directory, plain=True)
    assert not list(directory.rglob("*.part"))


def test_what_was_kept_of_an_event_that_has_yet_to_come_is_removed(small, tmp_path, monkeypatch):
    changes = {"train.checkpoint.every": 4, "train.eval_every": 100}
    config, directory = small(EVENT | changes), tmp_path / "run"
    killed_at(6, directory, config, monkeypatch)
    assert windows(directory) and list((directory / "checkpoints").glob("before-000005-*.pt"))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_step", killer(4))
        with pytest.raises(KeyboardInterrupt):
            resume(config, directory, plain=True)
    assert not windows(directory) and not list((directory / "checkpoints").glob("before-*.pt"))


def bomb(path, megabytes):
    """An archive of zeros, a thousandth as large as what is in it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("loss.npy", "w") as file:
        for _ in range(megabytes):
            file.write(bytes(1 << 20))


def patched(path, place, value):
    """A byte in the heads of the first member: flags (6, 8) or method (8, 10)."""
    content = bytearray(path.read_bytes())
    for head, at in ((b"PK\x03\x04", place), (b"PK\x01\x02", place + 2)):
        content[content.find(head) + at] = value
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: bomb(path, 4),
        lambda path: patched(path, 6, 1),  # locked with a password
        lambda path: patched(path, 8, 99),  # packed in a way that nobody knows
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
    ],
)
def test_an_archive_of_an_event_that_is_none_is_lost_and_nothing_waits_for_it(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(restart, "_LARGEST", 2 << 20)
    path = tmp_path / "events" / "000003-spike.npz"
    path.parent.mkdir()
    np.savez_compressed(path, loss=np.ones(9))
    losses = lambda: restart._losses(tmp_path, ["events/000003-spike.npz"], torch.device("cpu"))  # noqa: E731
    assert losses() == [] and path.exists()
    damage(path)
    assert losses() == ["events/000003-spike.npz, kept of an event, is lost"] and not path.exists()


@pytest.mark.parametrize("damage", [os.unlink, cut, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("kept", ["events/*.npz", "checkpoints/before-*.pt"])
def test_what_is_lost_of_an_event_is_told(small, tmp_path, capsys, damage, kept):
    config, directory = small(EVENT), tmp_path / "run"
    run(config, directory, plain=True)
    (path,) = directory.glob(kept)
    damage(path)
    capsys.readouterr()
    resume(small(EVENT | {"train.steps": 8}), directory, plain=True)
    told = f"warning: {path.relative_to(directory)}, kept of an event, is lost"
    assert told in capsys.readouterr().out.splitlines() and not path.exists()

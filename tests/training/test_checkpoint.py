import errno
import hashlib
import os
import pickle
import subprocess
import sys

import pytest
import torch

from normlab.errors import CheckpointError
from normlab.training import checkpoint

CPU = torch.device("cpu")
STATE = {"step": 3, "model": {"w": torch.arange(500.0)}, "optimizer": {}, "watch": {}}


def save(folder, *steps, keep=2):
    return [checkpoint.save(folder, step, STATE | {"step": step}, keep=keep) for step in steps][-1]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def cut(path):
    os.truncate(path, path.stat().st_size - 1)


def empty(path):
    path.write_bytes(b"")


def flip(path, place=1000):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def foreign(path):
    torch.save({"weights": torch.ones(1)}, path)


def test_the_newest_are_kept_and_read_back(tmp_path):
    save(tmp_path, 1, 2, 30)
    assert names(tmp_path) == ["step_00000002.pt", "step_00000030.pt"]
    found = checkpoint.load_latest(tmp_path, CPU)
    assert found.path.name == "step_00000030.pt" and found.damaged == ()
    assert found.state["step"] == 30 and torch.equal(found.state["model"]["w"], torch.arange(500.0))


def test_it_is_what_torch_reads(tmp_path):
    state = torch.load(save(tmp_path, 7), weights_only=True)
    assert state["step"] == 7 and torch.equal(state["model"]["w"], torch.arange(500.0))


def test_none_at_all_is_no_error(tmp_path):
    (tmp_path / "step_00000003.pt.part").write_bytes(b"a write that was killed")
    assert checkpoint.load_latest(tmp_path, CPU) is None
    assert checkpoint.load_latest(tmp_path / "nowhere", CPU) is None


@pytest.mark.parametrize("damage", [cut, empty, flip, foreign])
def test_a_damaged_one_is_passed_over_for_the_one_before(damage, tmp_path):
    damage(save(tmp_path, 3, 6))
    found = checkpoint.load_latest(tmp_path, CPU)
    assert found.state["step"] == 3
    wrong = "not what was written" if damage is flip else "cut short"
    assert len(found.damaged) == 1 and found.damaged[0].startswith(f"step_00000006.pt is {wrong}")


def test_a_byte_that_flipped_anywhere_is_seen(tmp_path):
    path = save(tmp_path, 3)
    whole = path.read_bytes()
    for place in [*range(0, len(whole), 37), *range(len(whole) - 90, len(whole))]:
        flip(path, place)
        with pytest.raises(CheckpointError, match=r"step_00000003\.pt is (cut short|not what was written)"):
            checkpoint.load_latest(tmp_path, CPU)
        path.write_bytes(whole)
    assert checkpoint.load_latest(tmp_path, CPU).state["step"] == 3


def test_where_all_by_step_are_damaged_the_newest_of_the_others_is_taken(tmp_path):
    save(tmp_path, 3)
    checkpoint.keep_as("best", tmp_path, 3)
    save(tmp_path, 6)
    checkpoint.keep_as("before-000007-spike", tmp_path, 7)
    for path in checkpoint.checkpoints(tmp_path):
        copy = path.read_bytes()  # the others may be the same file under another name
        path.unlink()
        path.write_bytes(copy[:-9])
    found = checkpoint.load_latest(tmp_path, CPU)
    assert (
        found.path.name == "before-000007-spike.pt" and found.state["step"] == 6 and len(found.damaged) == 2
    )
    for path in tmp_path.glob("be*.pt"):
        flip(path)
    with pytest.raises(CheckpointError, match=r"no checkpoint in .*step_00000006.*step_00000003.*best\.pt.*"):
        checkpoint.load_latest(tmp_path, CPU)


def test_another_format_is_refused_and_named(tmp_path, monkeypatch):
    save(tmp_path, 3)
    monkeypatch.setattr(checkpoint, "FORMAT", 7)
    save(tmp_path, 6)
    monkeypatch.undo()
    told = rf"step_00000006\.pt has the format 7, and this normlab reads {checkpoint.FORMAT}"
    with pytest.raises(CheckpointError, match=told):
        checkpoint.load_latest(tmp_path, CPU)


def test_what_is_no_checkpoint_is_refused_and_named(tmp_path):
    checkpoint.save(tmp_path, 3, STATE | {"format": None}, keep=2)
    with pytest.raises(CheckpointError, match=r"step_00000003\.pt has no format, and this normlab reads"):
        checkpoint.load_latest(tmp_path, CPU)
    torch.save(STATE, tmp_path / "step_00000003.pt")
    with pytest.raises(CheckpointError, match=r"step_00000003\.pt is cut short, or of another version"):
        checkpoint.load_latest(tmp_path, CPU)


def test_pickled_code_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (print, ("code ran",))

    checkpoint.save(tmp_path, 1, STATE | {"watch": Trap()}, keep=1)
    with pytest.raises(CheckpointError, match="step_00000001"):
        checkpoint.load_latest(tmp_path, CPU)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        *[(part, value) for part in ("step", "rows") for value in (None, -1, 1.5, "x", [1], True, 10**30)],
        *[
            (part, value)
            for part in ("config", "model", "optimizer", "watch")
            for value in (None, [1], {1: 2})
        ],
        *[("best", value) for value in (None, 1, [1.0], ["x", 1], [1.0, None], [1.0, -1])],
        *[("ring", value) for value in (None, {}, [1], [{}], [{"step": "x"}], [{"step": 1, "loss": [1]}])],
        *[("rng", value) for value in (None, [1], [torch.ones(3)], [torch.ones(0, 3)])],
        *[("kept", value) for value in (None, "x", [1], ["../a.npz"], ["events/../../a.npz"], ["/a.pt"])],
        *[("kept", value) for value in (["config.yaml"], ["checkpoints/best.pt"], ["events/\0.npz"])],
        *[("model", {"w": value}) for value in (1, torch.zeros(1).expand(10**9), torch.ones(3).to_sparse())],
        ("optimizer", {"state": {0: [torch.zeros(1).expand(10**9)]}}),
        ("format", ["\x1b[31m" * 1000]),
        ("format", torch.ones(3)),
    ],
)
def test_a_state_with_a_part_of_another_type_is_refused_and_named(tmp_path, part, value):
    """Nothing but what a run keeps of its events is in `kept`: what of it is damaged is removed."""
    checkpoint.save(tmp_path, 3, STATE | {part: value}, keep=2)
    with pytest.raises(
        CheckpointError, match=rf"step_00000003\.pt (is .*: {part} of another|has no)"
    ) as refused:
        checkpoint.load_latest(tmp_path, CPU)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_with_a_seal_is_refused_in_a_line_without_a_warning(tmp_path, protocol):
    body = pickle.dumps({"step": slice(1)}, protocol=protocol)
    seal = f"\nnormlab sha256 {hashlib.sha256(body).hexdigest()}\n".encode()
    (tmp_path / "step_00000003.pt").write_bytes(body + seal)
    with pytest.raises(
        CheckpointError, match=r"step_00000003\.pt: it holds .* else than tensors, numbers and"
    ):
        checkpoint.load_latest(tmp_path, CPU)


@pytest.mark.parametrize("kind", ["pipe", "endless", "folder"])
def test_what_is_no_file_is_passed_over_for_the_one_before(tmp_path, kind):
    path = save(tmp_path, 3, 6)
    path.unlink()
    if kind == "endless":
        path.symlink_to("/dev/zero")
    else:
        (os.mkfifo if kind == "pipe" else os.mkdir)(path)
    found = checkpoint.load_latest(tmp_path, CPU)
    assert found.state["step"] == 3 and found.damaged[0].startswith("step_00000006.pt cannot be read (")
    if kind == "folder":
        with pytest.raises(CheckpointError, match=r"step_00000006\.pt is a folder.*: move it away"):
            checkpoint.drop_after(tmp_path, 3)


@pytest.mark.parametrize("links", [True, False])
def test_a_kept_one_outlives_the_rotation(links, tmp_path, monkeypatch):
    if not links:

        def refuse(*_):
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr("os.link", refuse)
    checkpoint.keep_as("best", tmp_path, 5)  # nothing to keep yet
    assert names(tmp_path) == []
    save(tmp_path, 2, 4)
    checkpoint.keep_as("before-000003-spike", tmp_path, 3)
    checkpoint.keep_as("best", tmp_path, 4)
    checkpoint.keep_as("best", tmp_path, 4)
    save(tmp_path, 6, 8)
    assert names(tmp_path) == ["before-000003-spike.pt", "best.pt", "step_00000006.pt", "step_00000008.pt"]
    steps = {path.stem: torch.load(path, weights_only=True)["step"] for path in tmp_path.glob("be*.pt")}
    assert steps == {"before-000003-spike": 2, "best": 4}


def test_those_of_later_steps_are_dropped(tmp_path):
    save(tmp_path, 2, 4, 6, keep=3)
    checkpoint.drop_after(tmp_path, 4)
    assert names(tmp_path) == ["step_00000002.pt", "step_00000004.pt"]


def test_a_failed_write_leaves_the_old_one(tmp_path, monkeypatch):
    save(tmp_path, 1, keep=1)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*step_00000002\.pt"):
        save(tmp_path, 2, keep=1)
    assert names(tmp_path) == ["step_00000001.pt"]


def test_a_disk_that_takes_a_part_only_leaves_the_old_one(tmp_path):
    """The system itself cuts the write short, by its limit on a file's size."""
    script = (
        "import sys, resource, signal, torch; from pathlib import Path\n"
        "from normlab.training import checkpoint\n"
        "folder, state = Path(sys.argv[1]), {'step': 1, 'model': {'w': torch.zeros(100)}}\n"
        "checkpoint.save(folder, 1, state, keep=1)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "try: checkpoint.save(folder, 2, {'step': 2, 'model': {'w': torch.zeros(10000)}}, keep=1)\n"
        "except OSError as error: print(error)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "File too large" in done.stdout and "step_00000002.pt" in done.stdout
    assert names(tmp_path) == ["step_00000001.pt"]
    assert checkpoint.load_latest(tmp_path, CPU).state["step"] == 1

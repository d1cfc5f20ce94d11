import pytest
import torch

from normlab.errors import CheckpointError
from normlab.training import checkpoint

CPU = torch.device("cpu")
STATE = {"step": 3, "model": {"w": torch.ones(2)}, "optimizer": {}, "watch": {}}


def test_the_newest_are_kept_and_read_back(tmp_path):
    for step in (1, 2, 30):
        checkpoint.save(tmp_path, step, STATE | {"step": step}, keep=2)
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == [
        "step_00000002.pt",
        "step_00000030.pt",
    ]
    state = checkpoint.load_latest(tmp_path, CPU)
    assert state["step"] == 30 and torch.equal(state["model"]["w"], torch.ones(2))


def test_none_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        checkpoint.load_latest(tmp_path, CPU)


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "foreign"])
def test_a_corrupt_one_is_named(damage, tmp_path):
    path = checkpoint.save(tmp_path, 3, STATE, keep=1)
    if damage == "foreign":
        torch.save({"weights": torch.ones(1)}, path)
    else:
        path.write_bytes({"cut": path.read_bytes()[:-200], "garbage": b"\x80\x05junk", "empty": b""}[damage])
    with pytest.raises(CheckpointError, match=r"step_00000003\.pt"):
        checkpoint.load_latest(tmp_path, CPU)


def test_pickled_code_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (print, ("code ran",))

    torch.save({"step": 1, "model": {}, "optimizer": {}, "watch": Trap()}, tmp_path / "step_00000001.pt")
    with pytest.raises(CheckpointError, match="step_00000001"):
        checkpoint.load_latest(tmp_path, CPU)


def test_a_failed_write_leaves_the_old_one(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, STATE, keep=1)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*step_00000002\.pt"):
        checkpoint.save(tmp_path, 2, STATE, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001.pt"]

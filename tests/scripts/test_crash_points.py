"""After a crash at any point the record is whole: a part of `scripts/crash_points.py`, which tries all."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
#: As the run of the script, but shorter.
CHANGES = {
    "depth": 1,
    "train.steps": 6,
    "train.eval_every": 3,
    "train.eval_batches": 1,
    "train.batch_size": 2,
    "train.checkpoint.every": 3,
    "measure.ring": 2,
    "fault.kind": "lr_jump",  # so that the first evaluation is the best
    "fault.factor": 1000.0,
    "fault.step": 4,
}


@pytest.fixture
def crash_points(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPTS)
    import crash_points

    return crash_points


@pytest.fixture
def write_log(crash_points: ModuleType) -> ModuleType:
    return sys.modules["write_log"]


def best(operations: list[tuple]) -> range:
    """From a checkpoint's name to that of best.pt, which is the same."""
    made = ("rename", "run/checkpoints/step_00000003.pt.part", "run/checkpoints/step_00000003.pt")
    kept = ("rename", "run/checkpoints/best.pt.part", "run/checkpoints/best.pt")
    return range(operations.index(made), operations.index(kept) + 1)


def last_word(operations: list[tuple]) -> range:
    """The last writing of the summary."""
    made = ("create", "run/summary.json.part")
    return range(len(operations) - 1 - operations[::-1].index(made), len(operations) + 1)


@pytest.mark.parametrize(("wanted", "least"), [(best, 30), (last_word, 20)])
def test_a_run_ends_as_undisturbed_after_each_crash_while_it_saves(
    crash_points, small, tmp_path, wanted, least
):
    trial = crash_points.try_run(small(CHANGES), tmp_path, wanted)
    assert trial.wrong == [] and trial.points >= least and trial.states >= 4


def test_what_was_written_down_is_what_is_there(write_log, tmp_path):
    (tmp_path / "run").mkdir()
    with write_log.logged(write_log.Log(tmp_path)) as log:
        folder = tmp_path / "run" / "x"
        folder.mkdir()
        (folder / "a").write_text("one\ntwo")
        with (folder / "a").open("ab", buffering=0) as file:
            file.write(b"three")
        (folder / "b").hardlink_to(folder / "a")
        (folder / "a").rename(folder / "c")
        (folder / "b").unlink()
        with (folder / "c").open("r+b") as file:
            file.seek(1)
            file.write(b"N")
            file.truncate(5)
    there = {"run/x": None, "run/x/c": b"oNe\nt"}
    assert write_log.after(log.operations) == there
    assert (folder / "c").read_bytes() == b"oNe\nt"


def test_what_was_not_flushed_is_what_a_power_failure_takes(write_log):
    operations = [
        ("mkdir", "run"),
        ("create", "run/a"),
        ("write", "run/a", 0, b"safe"),
        ("fsync", "run/a"),
        ("fsync", "run"),
        ("write", "run/a", 4, b"one"),
        ("write", "run/a", 7, b"two"),
        ("rename", "run/a", "run/b"),
    ]
    left = [(what, state) for number, what, state in write_log.crashes(operations, {}) if number == 8]
    folders = [state for _, state in left]
    assert folders == [
        {"run": None, "run/b": b"safeonetwo"},
        {"run": None, "run/b": b"safe"},
        {"run": None, "run/b": b"safe\0\0\0\0\0\0"},
        {"run": None, "run/b": b"safe\0\0\0two"},
        {"run": None, "run/a": b"safe"},
    ]
    torn = [state for _, what, state in write_log.crashes(operations, {}) if what.startswith("kill within")]
    assert torn[-1] == {"run": None, "run/a": b"safeonet"}

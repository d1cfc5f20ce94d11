"""The run directory on disk, against the standard library's own strict JSON and YAML."""

import errno
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from normlab.errors import RunDirectoryError
from normlab.rundir.writer import (
    RunDirectory,
    check_free,
    clear,
    has_begun,
    hold,
    is_held,
    read_events,
    read_rows,
    read_summary,
    sound_steps,
    tidy,
    truncate,
)


def strict(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def run(opening_of, made):
    """A closed run of ten rows and one event."""
    opening = opening_of()
    sink = RunDirectory({"torch": "2.13"})
    sink.open(opening)
    for step in range(10):
        sink.row(made.row(step))
    sink.event(made.event(5))
    sink.close(made.summary())
    return opening.directory


def test_it_holds_what_was_given(run, made):
    assert {path.name for path in run.iterdir()} == {
        "config.yaml",
        "metrics.jsonl",
        "events.jsonl",
        "summary.json",
        "environment.json",
        "checkpoints",
    }
    assert yaml.safe_load((run / "config.yaml").read_text()) == made.config
    assert list(yaml.safe_load((run / "config.yaml").read_text())) == list(made.config)
    assert strict((run / "environment.json").read_text()) == {"torch": "2.13"}
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [strict(line) for line in lines] == [made.row(step) for step in range(10)]
    assert strict((run / "events.jsonl").read_text()) == made.event(5)
    assert strict((run / "summary.json").read_text()) == made.summary()
    assert read_rows(run) == [made.row(step) for step in range(10)]
    assert read_events(run) == [made.event(5)]
    assert read_summary(run) == made.summary()


def test_a_row_is_on_disk_at_once(opening_of, made):
    """Another process, killed without any chance to flush, leaves its rows."""
    directory = opening_of().directory
    code = f"""
import os
from pathlib import Path
from normlab.rundir.opening import Opening
from normlab.rundir.writer import RunDirectory
sink = RunDirectory({{}})
sink.open(Opening(directory=Path({str(directory)!r}), config={{}}, name="", sweep=None,
    floors={{"unigram": 3.0}}, parameters=7, first_step=0))
sink.row({{"step": 0, "loss": 5.5}})
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert (directory / "metrics.jsonl").read_text() == '{"step": 0, "loss": 5.5}\n'
    assert (directory / "events.jsonl").read_bytes() == b""
    summary = read_summary(directory)
    assert summary["status"] == "running"
    assert (summary["floors"], summary["parameters"]) == ({"unigram": 3.0}, 7)


def test_what_json_lacks_is_a_string_on_disk_and_a_float_again_when_read(opening_of, made):
    opening = opening_of()
    sink = RunDirectory({"limit": math.inf})
    sink.open(opening)
    odd = {"loss": math.nan, "grad_norm/head": math.inf, "lr": -math.inf, "nonfinite/parameter": "head"}
    sink.row(made.row(0, **odd))
    sink.event(made.event(0, value=math.nan, threshold=math.inf))
    sink.close(made.summary(**{"loss/final": math.nan, "first_event": {"value": math.inf}}))
    line = strict((opening.directory / "metrics.jsonl").read_text())
    assert [line[key] for key in odd] == ["NaN", "Infinity", "-Infinity", "head"]
    assert strict((opening.directory / "events.jsonl").read_text())["value"] == "NaN"
    assert strict((opening.directory / "environment.json").read_text()) == {"limit": "Infinity"}
    row = read_rows(opening.directory)[0]
    assert math.isnan(row["loss"])
    assert (row["grad_norm/head"], row["lr"], row["nonfinite/parameter"]) == (math.inf, -math.inf, "head")
    assert read_events(opening.directory)[0]["threshold"] == math.inf
    summary = read_summary(opening.directory)
    assert math.isnan(summary["loss/final"])
    assert summary["first_event"]["value"] == math.inf


def test_floats_keep_every_bit(opening_of):
    opening, values = opening_of(), [0.1 + 0.2, 5e-324, 1.7976931348623157e308, 1 / 3, 1e16 + 2]
    sink = RunDirectory({})
    sink.open(opening)
    for step, value in enumerate(values):
        sink.row({"step": step, "loss": value})
    assert [row["loss"] for row in read_rows(opening.directory)] == values
    assert repr(values[0]) in (opening.directory / "metrics.jsonl").read_text()
    sink.close({})


def test_an_event_that_is_better_known_keeps_its_line(opening_of, made):
    opening = opening_of()
    sink = RunDirectory({})
    sink.open(opening)
    sink.event(made.event(5))
    sink.event(made.event(6, "plateau"))
    sink.event(made.event(5, end=9, recovered=True))
    sink.event(made.event(5, metric="grad_norm/global"))
    events = read_events(opening.directory)
    assert [(event["step"], event["metric"], event["end"]) for event in events] == [
        (5, "loss", 9),
        (6, "loss", None),
        (5, "grad_norm/global", None),
    ]
    assert not list(opening.directory.glob("*.part"))
    sink.close({})


@pytest.mark.parametrize("name", ["summary.json", "metrics.jsonl"])
def test_a_directory_that_holds_a_run_is_refused(run, name, opening_of):
    other = {"summary.json": "metrics.jsonl", "metrics.jsonl": "summary.json"}[name]
    (run / other).unlink()
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    with pytest.raises(RunDirectoryError, match=rf"normlab resume .*{run.name}"):
        check_free(run)
    sink = RunDirectory({})
    with pytest.raises(RunDirectoryError):  # its config is there
        sink.open(opening_of())
    sink.close({"status": "failed"})  # what its owner does after an error must not touch the other run
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_what_an_attempt_left_that_did_not_begin_is_cleared_and_what_began_is_not(run):
    before = {path.name for path in run.iterdir()}
    clear(run)
    assert has_begun(run) and {path.name for path in run.iterdir()} == before
    (run / "summary.json").unlink()  # killed between its rows and its summary
    clear(run)
    assert not has_begun(run)
    assert not {"config.yaml", "metrics.jsonl", "environment.json"} & {path.name for path in run.iterdir()}
    check_free(run)


@pytest.mark.parametrize("name", [".lock", "metrics.jsonl", "train.log", "checkpoints", "events", "wandb"])
def test_a_link_among_the_files_that_a_run_writes_is_not_followed(tmp_path, name):
    """It could lead anywhere; a run would write and remove there."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.part").write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(outside if "." not in name else outside / "x.part")
    with pytest.raises(RunDirectoryError, match=rf"run/{name} is a link"), hold(tmp_path / "run"):
        pass
    assert not is_held(tmp_path / "run") and (outside / "x.part").read_text() == "kept"


@pytest.mark.parametrize(
    "name", ["summary.json", "events.jsonl", "config.yaml", "checkpoints/best.pt", "events"]
)
def test_what_is_no_file_where_a_run_writes_one_is_told_before_it_writes(tmp_path, name):
    path = tmp_path / name
    path.mkdir(parents=True) if "." in name else path.touch()
    with (
        pytest.raises(RunDirectoryError, match=rf"{name} is not a f\w+, as that of a run is"),
        hold(tmp_path),
    ):
        pass
    assert not (tmp_path / ".lock").exists()


def test_whether_a_folder_is_held_can_be_asked(tmp_path):
    assert not is_held(tmp_path) and list(tmp_path.iterdir()) == []
    with hold(tmp_path):
        with hold(tmp_path):
            assert is_held(tmp_path)
        assert is_held(tmp_path)
    assert not is_held(tmp_path)


def test_a_foreign_config_is_not_overwritten(opening_of):
    opening = opening_of()
    opening.directory.mkdir()
    (opening.directory / "config.yaml").write_text("mine: 1\n")
    check_free(opening.directory)
    with pytest.raises(RunDirectoryError, match=r"config\.yaml"):
        RunDirectory({}).open(opening)
    assert (opening.directory / "config.yaml").read_text() == "mine: 1\n"
    assert [path.name for path in opening.directory.iterdir()] == ["config.yaml"]


def test_a_torn_last_line_is_dropped_and_a_damaged_one_before_it_is_an_error(run, made):
    path = run / "metrics.jsonl"
    whole = path.read_bytes()
    for cut in (1, 20, len(whole.splitlines(keepends=True)[-1]) - 1):
        path.write_bytes(whole[:-cut])
        assert len(read_rows(run)) == (10 if cut == 1 else 9)  # only the newline is missing: it is whole
    lines = whole.splitlines(keepends=True)
    for damaged in (b'{"step": 4, "lo\n', b"\0\0\0\n", b"[1]\n", b"{}\n", b"\n"):
        path.write_bytes(b"".join([*lines[:4], damaged, *lines[5:]]))
        with pytest.raises(RunDirectoryError, match=r"metrics\.jsonl, line 5"):
            read_rows(run)
    with pytest.raises(RunDirectoryError, match="not a run directory"):
        read_rows(run / "checkpoints")


def test_a_summary_that_is_damaged_is_a_clear_error(run):
    for text in ("{", "[]", ""):
        (run / "summary.json").write_text(text)
        with pytest.raises(RunDirectoryError, match=r"summary\.json"):
            read_summary(run)


@pytest.mark.parametrize("tail", [b"", b'{"step": 10, "loss', b"\0\0\0\0"])
def test_truncate_keeps_the_lines_before_a_step_byte_for_byte(run, made, tail):
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    # Spelled otherwise than we would: it must not be written anew.
    lines[3] = b'{"loss":1.50,  "step":3}\n'
    path.write_bytes(b"".join(lines) + tail)
    truncate(run, 6)
    assert path.read_bytes() == b"".join(lines[:6])
    assert not list(run.glob("*.part"))


@pytest.mark.parametrize("hole", [b"rubbish\n", b"\0" * 40, b'{"step": 1, "lo\n'])
def test_rows_end_before_a_hole_that_a_power_failure_has_left(run, hole):
    path = run / "metrics.jsonl"
    path.write_bytes(b'{"step": 0}\n' + hole + b'{"step": 2}\n{"step": 3}\n')
    steps, damage = sound_steps(run)
    assert steps == [0] and "metrics.jsonl, line 2: not a JSON object" in damage
    truncate(run, 1)
    assert path.read_bytes() == b'{"step": 0}\n' and sound_steps(run) == ([0], "")
    assert not list(run.glob("*.part"))


def test_a_resumed_run_goes_on_in_its_files(run, opening_of, made):
    environment = (run / "environment.json").read_bytes()
    sink = RunDirectory({"torch": "3"})
    truncate(run, 6)
    # The file knows how the event ended, the checkpoint does not yet.
    (run / "events.jsonl").write_text(json.dumps(made.event(5, end=8)) + "\n")
    longer = made.config | {"train": {"steps": 60, "clip": None}}
    sink.open(opening_of(first_step=6, resumed=True, config=longer, events=[made.event(5)]))
    assert read_summary(run)["status"] == "running"
    assert read_events(run) == [made.event(5)]
    for step in range(6, 12):
        sink.row(made.row(step))
    sink.event(made.event(5, end=9))
    sink.close(made.summary())
    assert [row["step"] for row in read_rows(run)] == list(range(12))
    assert read_events(run) == [made.event(5, end=9)]
    assert yaml.safe_load((run / "config.yaml").read_text()) == longer
    assert (run / "environment.json").read_bytes() == environment
    assert strict((run / "environment-from-000006.json").read_text()) == {"torch": "3"}


def test_the_config_survives_readers_of_other_yaml_versions(opening_of):
    """1e-5 is a word in YAML 1.1 and a number in 1.2; shared lists must not become anchors."""
    shared = [1, 2]
    config = {"law": "1e-5", "words": "depth ** -0.5", "a": shared, "b": shared, "eps": 1e-5, "one": "1"}
    opening = opening_of(config=config)
    sink = RunDirectory({})
    sink.open(opening)
    sink.close({})
    text = (opening.directory / "config.yaml").read_text()
    assert yaml.safe_load(text) == config
    assert "law: '1e-5'" in text
    assert "&" not in text


def test_a_full_disk_is_reported_and_keeps_the_rows(opening_of, made, monkeypatch):
    opening = opening_of()
    sink = RunDirectory({})
    sink.open(opening)
    sink.row(made.row(0))

    class Full:
        def __init__(self, file):
            self.file, self.room = file, 50

        def write(self, data):
            if not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            took, self.room = self.file.write(data[: self.room]), 0
            return took

        def __getattr__(self, name):
            return getattr(self.file, name)

    monkeypatch.setattr(sink, "_rows", Full(sink._rows))
    with pytest.raises(OSError, match="No space left"):
        sink.row(made.row(1))
    sink.close({"status": "failed"})
    assert read_summary(opening.directory)["status"] == "failed"
    assert read_rows(opening.directory) == [made.row(0)]
    assert (opening.directory / "metrics.jsonl").read_bytes().count(b"\n") == 1  # and nothing of the second


def test_how_a_run_ended_is_known_on_a_disk_without_room_for_another_file(opening_of, made, monkeypatch):
    opening = opening_of()
    sink = RunDirectory({})
    sink.open(opening)

    def full(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("normlab.rundir.writer.replace_file", full)
    sink.close({"status": "failed", "error": "ours"})
    assert read_summary(opening.directory) == {"status": "failed", "error": "ours"}


def test_what_a_kill_within_a_write_has_left_is_removed(run):
    for name in ("summary.json.part", "checkpoints/step_00000003.pt.part", "events/000005-spike.npz.part"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).touch()
    kept = {path for path in run.rglob("*") if path.suffix != ".part"}
    tidy(run)
    assert set(run.rglob("*")) == kept


def test_a_reader_never_sees_half_a_summary(run, made, monkeypatch):
    """The new text is complete, and on the disk, before it takes the name."""
    seen = []
    replace = Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(os.fstat(descriptor).st_size))

    def watched(self, target):
        assert seen and seen[-1] == self.stat().st_size > 0
        assert read_summary(run) == made.summary()
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    sink = RunDirectory({})
    sink._directory = run
    sink.write_summary({"status": "failed"})
    assert read_summary(run) == {"status": "failed"}

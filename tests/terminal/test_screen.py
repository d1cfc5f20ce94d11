"""A run is worth more than its screen: stdout and stderr that are closed, full or left by their reader."""

import io
import logging
import os
import subprocess
import sys
from contextlib import closing

import pytest

from normlab.launch.child import Task, attempt
from normlab.launch.run_log import RunLog, logged
from normlab.run import resume, run
from normlab.rundir.writer import read_rows, read_summary
from normlab.terminal.screen import Mirror, Missing, mirrored


def left():
    """A pipe that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


def full():
    return open("/dev/full", "w")  # noqa: PTH123


def closed():
    file = io.TextIOWrapper(io.BytesIO())
    file.close()
    return file


def gone_terminal():
    """A terminal whose window was closed, under nohup."""
    master, slave = os.openpty()
    os.close(master)
    return os.fdopen(slave, "w")


def narrow():
    """One that knows ASCII alone."""
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii")


def missing():
    """What stands for one that the command was started without (`>&-`)."""
    return Missing(os.open(os.devnull, os.O_WRONLY))


BROKEN = [left, full, closed, gone_terminal, narrow, missing]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("broken", BROKEN)
def test_a_run_ends_as_without_a_screen_and_its_log_says_so_once(
    broken, small, tmp_path, monkeypatch, caplog
):
    config, directory = small({"train.steps": 2}), tmp_path / "größe"
    with closing(broken()) as out, closing(broken()) as err:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        assert run(config, directory)["status"] == "finished"
    assert [row["step"] for row in read_rows(directory)] == [0, 1]
    notes = [record for record in caplog.records if record.name == "normlab.terminal.screen"]
    assert len(notes) == (0 if broken is narrow else 1)


def test_a_job_of_a_sweep_ends_as_without_a_screen(small, tmp_path, monkeypatch):
    (tmp_path / "job").mkdir()
    task = Task(config=small(), directory=tmp_path / "job", sweep="s", plain=True, environment={})
    with left() as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert attempt(task) == 0
    assert read_summary(tmp_path / "job")["status"] == "finished"
    with left() as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert resume(small({"train.steps": 9}), tmp_path / "job")["steps"] == 9


def test_a_lost_stream_is_told_of_once_and_put_back(capsys, monkeypatch, caplog):
    before = sys.stdout
    with mirrored(), mirrored():
        assert isinstance(sys.stdout, Mirror) and not isinstance(sys.stdout._stream, Mirror)
        print("shown")
    assert sys.stdout is before and logging.raiseExceptions and capsys.readouterr().out == "shown\n"
    with left() as pipe, mirrored():  # closed, it flushes what it still holds: to nowhere
        monkeypatch.setattr(sys, "stdout", Mirror(pipe, "stdout", []))
        for _ in range(2):
            print("lost" * 10_000, flush=True)
            print("lost", file=sys.stderr, flush=True)
    (note,) = caplog.records
    assert "Broken pipe" in note.getMessage() and note.levelno == logging.WARNING


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_log_on_a_full_disk_raises_nothing_and_prints_nothing(tmp_path, capsys):
    log = RunLog("/dev/full")
    record = logging.makeLogRecord({"msg": "x" * 100_000})
    with mirrored():
        log.emit(record)
    log.close()
    lacking = RunLog(tmp_path / "no" / "train.log", delay=True)
    lacking.emit(record)
    assert capsys.readouterr() == ("", "")


def test_what_is_logged_meanwhile_is_in_the_log_of_the_run(tmp_path):
    with logged(tmp_path):
        logging.getLogger("x").info("no")
        assert not (tmp_path / "train.log").exists()
        logging.getLogger("x").warning("yes")
    logging.getLogger("x").warning("no more")
    assert (tmp_path / "train.log").read_text().endswith(" WARNING x: yes\n")


def test_files_do_not_get_the_numbers_of_streams_that_were_closed(tmp_path):
    code = (
        "from normlab.terminal.screen import open_missing; open_missing(); import os, sys; print('lost');"
        f"rows = open({str(tmp_path / 'rows')!r}, 'w'); os.write(1, b'lost'); os.write(2, b'lost');"
        "rows.write(str(rows.fileno() > 2 and sys.stderr is not None)); rows.close(); sys.stdout.flush()"
    )
    shell = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code]
    assert subprocess.run(shell, check=False).returncode == 0
    assert (tmp_path / "rows").read_text() == "True"

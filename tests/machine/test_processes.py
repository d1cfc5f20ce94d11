"""Signals and the processes that normlab starts."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from multiprocessing.connection import Listener

import pytest

from normlab.errors import UserError
from normlab.machine import processes

#: Imported by the server, which takes its time over it; what its fork does.
_SLOW = """
import os, signal, time
from normlab.machine import processes

time.sleep(1)

def work():
    os.kill(os.getpid(), signal.SIGTERM)  # it can wait
    print("begun", flush=True)
    processes.awake()
    time.sleep(30)
"""
#: The signal goes to the whole group, as from a terminal, amid the server's imports.
_COMMAND = """
import os, signal, sys
from normlab.machine import processes

number = int(sys.argv[1])
signal.signal(number, lambda number, frame: print("noted", flush=True))
context = processes.context(["slow"])
os.killpg(0, number)
import slow
process = context.Process(target=slow.work)
process.start()
process.join()
print(process.exitcode)
"""


@pytest.mark.skipif(processes.METHOD != "forkserver", reason="there is no server")
@pytest.mark.parametrize("number", sorted(processes.SIGNALS))
def test_a_signal_amid_the_imports_of_the_server_ends_neither_it_nor_what_it_forks(tmp_path, number):
    (tmp_path / "slow.py").write_text(_SLOW)
    done = subprocess.run(
        [sys.executable, "-c", _COMMAND, str(int(number))],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        start_new_session=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["noted", "begun", "-15"], done.stderr
    assert "Traceback" not in done.stderr


def test_a_long_folder_for_temporary_files_is_no_folder_for_sockets(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 80)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", None)
    processes.make_socket_folder()
    Listener(family="AF_UNIX").close()
    assert tempfile.gettempdir() == str(long)
    assert list(long.iterdir()) == []


def test_without_a_short_folder_the_long_one_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/" + "x" * 80)
    monkeypatch.setattr(processes, "_SHORT", ("/nowhere",))
    with pytest.raises(
        UserError, match=r"^TMPDIR=/x+ is too long .*; set TMPDIR to a folder of at most 75 char"
    ):
        processes.make_socket_folder()

"""Signals and the processes that normlab starts."""

import os
import subprocess
import sys

import pytest

from normlab import processes

#: Imported by the server, which takes its time over it; what its fork does.
_SLOW = """
import os, signal, time
from normlab import processes

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
from normlab import processes

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

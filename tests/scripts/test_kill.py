"""Runs that are killed at random points and resumed equal the undisturbed one."""

import os
import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "kill_test.py"


def test_killed_runs_end_as_the_undisturbed_one(tmp_path):
    command = [sys.executable, str(SCRIPT), "--kills", "6", "--seed", "3", "train.steps=26"]
    environment = os.environ | {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 kills" in done.stdout and "different from the undisturbed run: nothing" in done.stdout
    # Of every place there are lines at which a kill can come: none has moved away unnoticed.
    points = dict(re.findall(r"│ (\w[\w ]*?) +│ \d+ +│ (\d+|-)", done.stdout))
    assert [place for place, number in points.items() if number == "-"] == ["any time"] and len(points) == 7
    assert list(tmp_path.glob("normlab-*")) == []

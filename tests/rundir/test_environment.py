"""What is recorded of where a run was made."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import torch

from normlab.rundir import environment


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_processor_has_a_name_and_every_package_a_version() -> None:
    known = environment.describe(SimpleNamespace(seed=1), torch.device("cpu"))
    assert known["device_name"]
    assert {"matplotlib", "pillow"} <= known["packages"].keys()
    assert all(known["packages"].values())


def test_the_commit_is_that_of_normlab_and_not_of_the_project_around_it(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.py", tmp_path / "venv" / "theirs.py"
    theirs.parent.mkdir()
    ours.write_text("1")
    theirs.write_text("1")
    assert environment._git(ours) is None
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "ours.py")
    git(tmp_path, "commit", "-q", "-m", "one")
    assert environment._git(ours) == {"commit": git(tmp_path, "rev-parse", "HEAD"), "changed": False}
    assert environment._git(theirs) is None
    ours.write_text("2")
    known = environment._git(ours)
    assert known is not None and known["changed"]

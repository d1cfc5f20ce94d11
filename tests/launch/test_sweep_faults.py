"""Sweeps that meet another one and a full disk; with real processes."""

import json
import os
import subprocess
import sys

import pytest

WORDS = (
    *("depth=2", "model.width=16", "model.heads=2", "model.context=8", "data=markov", "data.length=8192"),
    *("train.steps=6", "train.batch_size=4", "train.eval_every=3", "train.eval_batches=2"),
    *("train.device=cpu", "train.threads=1", "tracker.mode=disabled"),
)


def train(*words, cwd, **more):
    command = [sys.executable, "-m", "normlab", "train", "-m", *WORDS, "sweep.name=s", *words]
    return subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more
    )


def jobs(cwd):
    folder = cwd / "outputs" / "sweeps" / "s"
    return {job["dir"]: job for job in json.loads((folder / "sweep.json").read_text())["jobs"]}


def test_two_at_once_in_one_folder_share_the_jobs(tmp_path):
    two = [train("seed=range(3)", "train.steps=20", cwd=tmp_path) for _ in range(2)]
    told = [process.communicate(timeout=120)[0] for process in two]
    assert [process.returncode for process in two] == [0, 0], told
    found = jobs(tmp_path)
    assert len(found) == 3 and {job["status"] for job in found.values()} == {"finished"}
    for name in found:
        folder = tmp_path / "outputs" / "sweeps" / "s" / name
        steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert steps == list(range(20))
        assert not list(folder.glob("environment-from-*"))


def test_a_disk_that_fills_fails_jobs_which_go_on_once_there_is_room(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system of a chosen size can be mounted here")
    cache = os.environ | {"NORMLAB_CACHE": str(tmp_path / "cache")}
    words = ["seed=range(2)", "model.width=32", "train.checkpoint.every=2"]
    try:
        process = train(*words, cwd=disk, env=cache)
        told = process.communicate(timeout=120)[0]
        assert process.returncode == 1 and "the disk is full" in told, told
        assert not list(disk.rglob("*.part"))
        failed = [job for job in jobs(disk).values() if job["status"] == "failed"]
        assert failed and all("No space left" in job["error"] for job in failed)
        subprocess.run(["mount", "-o", "remount,size=40m", str(disk)], check=True)
        process = train(*words, "sweep.retry=failed", cwd=disk, env=cache)
        told = process.communicate(timeout=120)[0]
        assert process.returncode == 0, told
        assert {job["status"] for job in jobs(disk).values()} == {"finished"}
    finally:
        subprocess.run(["umount", str(disk)], check=True)

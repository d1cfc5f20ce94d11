"""What trains at the same time shares the cores."""

import json
import os

import pytest
import torch
from omegaconf import OmegaConf

from normlab.launch import engines
from normlab.machine import threads
from normlab.run import run

JOBLIB = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"
SUBMITIT = "hydra_plugins.hydra_submitit_launcher.submitit_launcher"
BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


@pytest.mark.parametrize(
    ("environment", "at_once", "expected"),
    [
        ({}, 1, 8),
        ({}, 2, 4),
        ({}, 3, 2),
        ({}, 20, 1),
        ({"OMP_NUM_THREADS": "3"}, 1, 3),
        ({"OMP_NUM_THREADS": "3"}, 4, 3),
        ({"OMP_NUM_THREADS": "1"}, 4, 1),
        ({"OMP_NUM_THREADS": "3,2"}, 1, 3),
        ({"OMP_NUM_THREADS": "0"}, 1, 8),
        ({"OMP_NUM_THREADS": "many"}, 1, 8),
        ({"SLURM_CPUS_PER_TASK": "2", "SLURM_CPUS_ON_NODE": "4"}, 1, 2),
        ({"SLURM_CPUS_ON_NODE": "4"}, 2, 2),
        ({"SLURM_CPUS_PER_TASK": "64"}, 1, 8),
        ({"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}, 1, 4),
        ({"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "3"}, 1, 3),
        ({"LOCAL_WORLD_SIZE": "2", "SLURM_CPUS_PER_TASK": "6"}, 1, 3),
    ],
)
def test_a_share_of_eight_cores(environment, at_once, expected):
    assert threads.share(8, environment, at_once) == expected


@pytest.mark.parametrize("cores", range(1, 20))
@pytest.mark.parametrize("at_once", range(1, 20))
def test_jobs_at_once_never_have_more_threads_than_there_are_cores(cores, at_once):
    each = threads.share(cores, {}, at_once)
    assert each * at_once <= max(cores, at_once) and each >= 1
    assert (each + 1) * at_once > cores  # and no fewer than there could be


@pytest.mark.parametrize(
    ("launcher", "sweeper", "jobs", "expected"),
    [
        ({"_target_": BASIC}, {}, 20, 1),
        ({"_target_": JOBLIB, "n_jobs": -1}, {}, 20, 8),
        ({"_target_": JOBLIB, "n_jobs": -2}, {}, 20, 7),
        ({"_target_": JOBLIB, "n_jobs": -1}, {}, 3, 3),
        ({"_target_": JOBLIB, "n_jobs": 3}, {}, 20, 3),
        ({"_target_": JOBLIB, "n_jobs": None}, {}, 20, 1),
        ({"_target_": JOBLIB, "n_jobs": 4}, {"max_batch_size": 2}, 20, 2),
        ({"_target_": JOBLIB, "n_jobs": -1}, {"n_jobs": 2}, 0, 2),
        ({"_target_": f"{SUBMITIT}.LocalLauncher"}, {"max_batch_size": None}, 20, 20),
        ({"_target_": f"{SUBMITIT}.LocalLauncher"}, {"max_batch_size": 2}, 20, 2),
        ({"_target_": f"{SUBMITIT}.LocalLauncher"}, {}, 1, 1),
        ({"_target_": f"{SUBMITIT}.SlurmLauncher"}, {}, 20, 1),
    ],
)
def test_a_launcher_says_how_many_jobs_share_the_machine(launcher, sweeper, jobs, expected):
    assert engines.at_once(launcher, sweeper, jobs, 8) == expected


def sweep(launcher, **env_set):
    return OmegaConf.create(
        {
            "hydra": {
                "launcher": launcher,
                "sweeper": {"max_batch_size": None},
                "job": {"env_set": env_set},
                "overrides": {"hydra": ["hydra.mode=MULTIRUN"]},
            }
        }
    )


@pytest.mark.parametrize(
    ("launcher", "processes", "env_set", "expected"),
    [
        ({"_target_": JOBLIB, "n_jobs": 2}, 1, {}, ["+hydra.job.env_set.OMP_NUM_THREADS='4'"]),
        ({"_target_": JOBLIB, "n_jobs": 2}, 3, {}, ["+hydra.job.env_set.OMP_NUM_THREADS='1'"]),
        ({"_target_": JOBLIB, "n_jobs": 2}, 1, {"OMP_NUM_THREADS": "6"}, []),
        ({"_target_": JOBLIB, "n_jobs": 1}, 1, {}, []),
        ({"_target_": BASIC}, 2, {}, []),
    ],
)
def test_jobs_that_share_the_machine_are_told_their_threads(
    monkeypatch, launcher, processes, env_set, expected
):
    monkeypatch.setattr(threads, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS")
    config = sweep(launcher, **env_set)
    engines.share_cores(config, 20, processes)
    assert config.hydra.overrides.hydra == ["hydra.mode=MULTIRUN", *expected]


@pytest.mark.parametrize(("batch", "expected"), [(None, 8), (2, 2)])
def test_submitit_here_is_given_no_more_jobs_than_cores(monkeypatch, batch, expected):
    monkeypatch.setattr(threads, "cores", lambda: 8)
    config = sweep({"_target_": f"{SUBMITIT}.LocalLauncher"})
    config.hydra.sweeper.max_batch_size = batch
    engines.share_cores(config, 20, 1)
    assert config.hydra.sweeper.max_batch_size == expected


def test_the_cores_are_those_that_this_process_may_use(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 4, 5, 6})
    monkeypatch.setattr(threads, "_CPUS", tmp_path)
    assert threads.cores() == 5
    for cpu in range(8):  # as with hyperthreads: 0 and 4, 1 and 5, ... are a core
        file = tmp_path / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        file.parent.mkdir(parents=True)
        file.write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    assert threads.cores() == 3


@pytest.mark.parametrize(
    ("setting", "environment", "expected"),
    [("auto", {}, 4), ("auto", {"OMP_NUM_THREADS": "2"}, 2), (1, {"OMP_NUM_THREADS": "2"}, 1)],
)
def test_a_run_has_its_share_or_what_it_was_told_and_says_so(
    small, tmp_path, monkeypatch, setting, environment, expected
):
    monkeypatch.setattr(threads, "cores", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    before = torch.get_num_threads()
    try:
        run(small({"train.threads": setting}), tmp_path / "run", plain=True)
    finally:
        torch.set_num_threads(before)
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["threads"] == expected

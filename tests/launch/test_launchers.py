"""Sweeps on every launcher there is, of jobs of which some come to grief."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from normlab.catalogue import groups
from normlab.compose import plugins
from normlab.errors import ConfigError
from normlab.launch import engines, launch
from normlab.launch.signals import FAILED, REFUSED
from normlab.machine import threads
from normlab.rundir.writer import read_rows, read_summary

_MODEL = ["depth=2", "model.width=16", "model.heads=2", "model.context=8", "data=markov", "data.length=8192"]
_TRAIN = ["train.batch_size=4", "train.device=cpu", "tracker.mode=disabled"]
#: Seed 1 raises in its 20th step, 2 would take for ever, 3 diverges.
_GRIEF = """# @package _global_
train: {steps: 40}
sweep:
  rows:
    - {seed: 1, placement.branch_scale.value: 1/(20-step)}
    - {seed: 2, train.steps: 1000000}
    - {seed: 3, optimizer.lr: 1.0e+30}
    - {seed: 4}
    - {seed: 5}
    - {seed: 6}
    - {seed: 7}
    - {seed: 8}
"""


def _needs(plugin, *marks):
    there = find_spec("hydra_plugins") and find_spec(f"hydra_plugins.{plugin}")
    return [pytest.mark.skipif(not there, reason=f"{plugin} is not installed"), *marks]


_JOBS = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
_SLURM = ["hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1"]
_JOBLIB, _SUBMITIT = _needs("hydra_joblib_launcher"), _needs("hydra_submitit_launcher")
LAUNCHERS = [
    pytest.param(_JOBS, 2, id="joblib", marks=_JOBLIB),
    pytest.param(
        ["hydra/launcher=submitit_local", "hydra.sweeper.max_batch_size=2"],
        2,
        id="submitit_local",
        marks=_SUBMITIT,
    ),
    pytest.param(
        _SLURM,
        None,
        id="submitit_slurm",
        marks=[*_SUBMITIT, pytest.mark.slurm],
    ),
    pytest.param(
        ["hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=2"],
        None,
        id="ray",
        marks=[*_needs("hydra_ray_launcher"), pytest.mark.ray],
    ),
]


def holder(folder):
    """The process that trains in `folder`: it has the lock open."""
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if entry.readlink() == folder / ".lock":
                return int(entry.parts[2])
        except OSError:
            continue
    return None


def start(folder, *words):
    environment = {name: value for name, value in os.environ.items() if name != threads.WISH}
    with (folder / "out.txt").open("w") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "normlab", "train", "-m", "sweep.name=s", *_MODEL, *_TRAIN, *words],
            cwd=folder,
            env=environment | {"COLUMNS": "80", "RAY_AUTH_MODE": "disabled"},
            stdout=out,
            stderr=subprocess.STDOUT,
        )


def wait_for(what, process, seconds=400):
    """What `what` gives, as soon as it gives something; no longer than the process lives."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "waited in vain"
        assert process.poll() is None, "it ended"
        time.sleep(0.05)
    return found


def job(folder, seed):
    """The folder of a job, once it has trained some steps."""
    rows = [*folder.glob(f"outputs/sweeps/s/*s{seed}/metrics.jsonl")]
    return rows[0].parent if rows and rows[0].read_bytes().count(b"\n") > 10 else None


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.parametrize(("launcher", "at_once"), LAUNCHERS)
def test_jobs_that_raise_are_killed_or_diverge_cost_one_row_each(tmp_path, launcher, at_once):
    (tmp_path / "mine/experiment").mkdir(parents=True)
    (tmp_path / "mine/experiment/grief.yaml").write_text(_GRIEF)
    sweep = start(tmp_path, "--config-dir", "mine", "experiment=grief", *launcher)
    endless = wait_for(lambda: job(tmp_path, 2), sweep)
    os.kill(holder(endless), signal.SIGKILL)
    assert sweep.wait(400) == FAILED
    out = (tmp_path / "out.txt").read_text()
    assert "6 finished" in out and "1 failed" in out and "1 lost" in out and "Traceback" not in out

    jobs = {
        each["knobs"]["seed"]: each
        for each in json.loads((tmp_path / "outputs/sweeps/s/sweep.json").read_text())["jobs"]
    }
    assert [jobs[seed]["status"] for seed in range(1, 9)] == ["failed", "lost"] + ["finished"] * 6
    assert jobs[1]["error"] == "LawError: '1/(20-step)' has no value here: division by zero"
    assert "killed by SIGKILL (signal 9)" in jobs[2]["error"]
    assert jobs[3]["outcome"] == "nonfinite"
    assert {jobs[seed]["outcome"] for seed in range(4, 9)} <= {"stable", "untrained"}  # of 40 steps
    folders = [tmp_path / "outputs/sweeps/s" / jobs[seed]["dir"] for seed in range(4, 9)]
    each = max(1, threads.cores() // at_once) if at_once else 1  # what SLURM or Ray was asked for
    assert {json.loads((path / "environment.json").read_text())["threads"] for path in folders} == {each}


@pytest.mark.parametrize(("launcher", "at_once"), LAUNCHERS)
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)], ids=["SIGINT", "SIGTERM"]
)
def test_a_signal_to_the_sweep_alone_has_its_jobs_save_themselves(tmp_path, launcher, at_once, number):
    sweep = start(tmp_path, "seed=4,5,6", "train.steps=1000000", *launcher)
    folders = [wait_for(lambda seed=seed: job(tmp_path, seed), sweep) for seed in (4, 5)[: at_once or 1]]
    sweep.send_signal(number)
    assert sweep.wait(100) == 128 + number
    out = (tmp_path / "out.txt").read_text()
    assert "interrupted, " in out and "not started" in out and "Traceback" not in out, out
    for folder in folders:
        assert read_summary(folder)["status"] == "interrupted"
        assert len(read_rows(folder)) == read_summary(folder)["steps"] > 10
        assert any((folder / "checkpoints").iterdir())


@pytest.mark.parametrize(("launcher", "at_once"), LAUNCHERS)
def test_a_job_trains_on_two_processes_there_too(tmp_path, launcher, at_once):
    given = [word.replace("cpus_per_task=1", "cpus_per_task=2") for word in launcher]
    sweep = start(tmp_path, "seed=4,5", "train.steps=20", "train.processes=2", *given)
    assert sweep.wait(400) == 0, (tmp_path / "out.txt").read_text()
    folders = list(tmp_path.glob("outputs/sweeps/s/s[45]"))
    assert [read_summary(folder)["status"] for folder in folders] == ["finished"] * 2
    for folder in folders:
        environment = json.loads((folder / "environment.json").read_text())
        assert environment["processes"] == 2 and environment["threads"] == 1
        assert len(read_rows(folder)) == 20


@pytest.mark.slurm
def test_a_job_that_slurm_takes_the_machine_from_saves_itself_and_goes_on(tmp_path):
    sweep = start(tmp_path, "seed=2", "train.steps=2000", *_SLURM)
    folder = wait_for(lambda: job(tmp_path, 2), sweep)
    squeue = ["squeue", "--noheader", "--format=%A"]
    [number] = subprocess.run(squeue, capture_output=True, text=True, check=True).stdout.split()
    subprocess.run(["scancel", "--signal=USR2", number], check=True)
    wait_for(lambda: read_summary(folder)["status"] == "interrupted", sweep)
    assert len(read_rows(folder)) < 2000
    assert sweep.wait(400) == 0
    assert read_summary(folder)["status"] == "finished"
    assert [row["step"] for row in read_rows(folder)] == list(range(2000))


@pytest.mark.parametrize(
    ("launcher", "plugin", "extra"),
    [
        ("joblib", "hydra_joblib_launcher", "joblib"),
        ("submitit_local", "hydra_submitit_launcher", "slurm"),
        ("submitit_slurm", "hydra_submitit_launcher", "slurm"),
        ("ray", "hydra_ray_launcher", "ray"),
    ],
)
def test_a_launcher_that_is_not_installed_names_its_extra(fake, capsys, monkeypatch, launcher, plugin, extra):
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name.endswith(plugin) else True)
    assert launch(["-m", "seed=1,2", f"hydra/launcher={launcher}"]) == REFUSED
    err = capsys.readouterr().err
    assert err.startswith(
        f"error: hydra/launcher={launcher}: its package is not installed; pip install 'norml"
    )
    assert f"'normlab[{extra}]'" in err and list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["joblib", "n_jobs=0"], "n_jobs: must be 1 or more, or -1", marks=_JOBLIB),
        pytest.param(["joblib", "batch_size=0"], "batch_size: must be 1 or more, got 0", marks=_JOBLIB),
        pytest.param(
            ["joblib", "njobs=2"], "njobs: there is no such setting. Did you mean 'hydra.l", marks=_JOBLIB
        ),
        pytest.param(["submitit_local", "timeout_min=0"], "timeout_min: must be 1", marks=_SUBMITIT),
        pytest.param(
            ["submitit_local", "n_jobs=2"], "the submitit_local launcher has no such", marks=_SUBMITIT
        ),
        pytest.param(
            ["ray", "ray.remote.num_cpus=-1"],
            "num_cpus: must be 0 or more, got -1",
            marks=_needs("hydra_ray_launcher"),
        ),
        pytest.param(
            ["ray", "ray.init.num_cpus=1", "hydra.launcher.ray.remote.num_cpus=2"],
            "num_cpus: a job asks for 2, and Ray has 1 here",
            marks=_needs("hydra_ray_launcher"),
        ),
    ],
    ids=lambda given: given[-1] if isinstance(given, list) else None,
)
def test_values_with_which_a_launcher_cannot_work_are_refused_before_any_job(fake, capsys, words, message):
    name, *settings = words
    settings = [word if word.startswith("hydra.") else f"hydra.launcher.{word}" for word in settings]
    assert launch(["-m", "seed=1,2", f"hydra/launcher={name}", *settings]) == REFUSED
    out, err = capsys.readouterr()
    assert err.startswith("error: hydra.launcher.") and message in err and err.count("\n") == 1
    assert out == "" and list(Path().iterdir()) == []


def test_a_share_that_ray_does_not_have_is_refused():
    launcher = OmegaConf.create({"ray": {"remote": {"num_cpus": 4, "num_gpus": None}}})
    plugins.check_share(launcher, {"CPU": 4.0, "GPU": 0.0})
    with pytest.raises(ConfigError, match=r"ray.remote.num_cpus: a job asks for 4, and Ray has 2 here"):
        plugins.check_share(launcher, {"CPU": 2.0, "GPU": 0.0})


@pytest.mark.skipif(not find_spec("optuna"), reason="hydra_optuna_sweeper is not installed")
@pytest.mark.parametrize("word", ["n_trials=0", "n_jobs=0", "max_failure_rate=2", "direction=up"])
def test_values_with_which_optuna_cannot_work_are_refused(fake, capsys, word):
    words = ["-m", "seed=1,2", "hydra/sweeper=optuna_tpe", f"hydra.sweeper.{word}"]
    assert launch(words) == REFUSED
    assert f"error: hydra.sweeper.{word.split('=')[0]}: " in capsys.readouterr().err
    assert list(Path().iterdir()) == []


_FILES = [*groups.conf_dir().glob("hydra/launcher/*.yaml"), *groups.conf_dir().glob("hydra/sweeper/*.yaml")]


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.stem)
def test_every_file_of_a_launcher_names_a_package_of_an_extra(file):
    _, plugin, *_ = yaml.safe_load(file.read_text())["_target_"].split(".")
    extras = tomllib.loads((groups.conf_dir().parent / "pyproject.toml").read_text())["project"]
    [package] = extras["optional-dependencies"][engines._EXTRAS[plugin]]
    assert package.startswith(plugin.replace("_", "-") + ">=")


def test_slurm_is_asked_for_where_there_is_none(fake, capsys, monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: True)
    monkeypatch.setattr(engines.shutil, "which", lambda name: None)
    assert launch(["-m", "seed=1,2", "hydra/launcher=submitit_slurm"]) == REFUSED
    assert "there is no SLURM here" in capsys.readouterr().err and list(Path().iterdir()) == []


def test_a_launcher_that_breaks_still_leaves_a_table(fake, capsys, monkeypatch):
    def launch_none(self, job_overrides, initial_job_idx):
        raise RuntimeError("a worker was killed\nand more")

    name = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
    monkeypatch.setattr(Plugins.instance().class_name_to_class[name], "launch", launch_none)
    assert launch(["-m", "sweep.name=s", "seed=1,2"]) == FAILED
    out, err = capsys.readouterr()
    assert err == "error: the launcher stopped: RuntimeError: a worker was killed\n"
    assert "sweep s: 2 not started" in out and "2 not started; the same command goes on:" in out


@pytest.mark.filterwarnings("ignore")  # Optuna's own
@pytest.mark.skipif(not find_spec("optuna"), reason="hydra_optuna_sweeper is not installed")
def test_optuna_looks_for_the_lowest_loss_and_goes_on_after_a_job_that_fails(fake, capsys):
    words = ["-m", "sweep.name=s", "hydra/sweeper=optuna_tpe", "hydra.sweeper.n_trials=8"]
    assert launch([*words, "seed=choice(3,5,91)"]) == FAILED  # 91 raises
    seeds = [config.seed for config, *_ in fake.ran]
    assert sorted(seeds) == [3, 5, 91]  # each is trained once, however often it is proposed
    assert "2 finished, 1 failed" in capsys.readouterr().out.replace(
        "1 failed, 2 finished", "2 finished, 1 failed"
    )
    best = yaml.safe_load(Path("outputs/sweeps/s/optimization_results.yaml").read_text())
    assert best["best_params"] == {"seed": 3} and best["best_value"] == 5.5

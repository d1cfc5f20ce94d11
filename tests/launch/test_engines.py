"""A Ray to start or to join, and what a sweep that is stopped leaves to the jobs it has sent off."""

import signal
import socket
import sys
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from normlab.errors import UserError
from normlab.launch import engines, preflight, stopping
from normlab.launch.signals import Interrupted

RAY = "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher"


@pytest.fixture
def ray(monkeypatch):
    """A Ray of two cores that takes SIGTERM for itself; `init` is replaced by tests."""
    module = SimpleNamespace(cluster_resources=lambda: {"CPU": 2.0})
    module.init = lambda **settings: signal.signal(signal.SIGTERM, signal.SIG_IGN)
    monkeypatch.setitem(sys.modules, "ray", module)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return module


def config(address=None):
    settings = {"init": {"address": address}, "remote": {"num_cpus": 1}}
    return OmegaConf.create({"hydra": {"launcher": {"_target_": RAY, "ray": settings}}})


def test_sigterm_stays_the_command_s(ray):
    before = signal.getsignal(signal.SIGTERM)
    engines.start(config())
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_while_ray_starts_interrupts_the_command(ray):
    def init(**settings):
        sys.exit(signal.SIGTERM)

    ray.init = init
    with pytest.raises(Interrupted) as stop:
        engines.start(config())
    assert stop.value.signal == signal.SIGTERM


def test_where_nothing_answers_ray_is_not_asked(ray):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = "127.0.0.1:{1}".format(*taken.getsockname())
        ray.init = None
        with pytest.raises(UserError, match=rf"init.address={address}: Ray cannot be reached .*refused"):
            engines.start(config(address))


@pytest.mark.parametrize("spread", [True, False])
def test_jobs_that_were_sent_off_find_that_the_sweep_was_stopped_though_none_began(tmp_path, spread):
    folder = tmp_path / "sweep"
    session = preflight.Session(sweep=folder, spread=spread)
    session.watch(folder)
    folder.mkdir()
    (folder / stopping.FILE).touch()
    assert not session.take_back()
    assert stopping.told(folder) == spread and folder.is_dir() == spread


@pytest.mark.parametrize(("processes", "at_once", "threads_each"), [(1, 8, 1), (2, 4, 1), (16, 1, None)])
def test_submitit_is_given_as_many_jobs_at_once_as_there_are_cores_for(
    monkeypatch, processes, at_once, threads_each
):
    monkeypatch.setattr(engines.threads, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    target = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"
    config = OmegaConf.create(
        {
            "hydra": {
                "launcher": {"_target_": target},
                "sweeper": {"max_batch_size": None},
                "job": {"env_set": {}},
                "overrides": {"hydra": []},
            }
        }
    )
    engines.share_cores(config, jobs=20, processes=processes)
    assert config.hydra.sweeper.max_batch_size == at_once
    told = [word for word in config.hydra.overrides.hydra if engines.threads.WISH in word]
    assert [word.rpartition("=")[2] for word in told] == ([f"'{threads_each}'"] if threads_each else [])

"""Who waits for other processes of a run, for how long, and what an environment must say of them."""

import os
import signal
import threading
from datetime import timedelta

import pytest

from normlab.errors import Interrupted
from normlab.launch import launch, resume
from normlab.launch.signals import terminable
from normlab.machine import ranks
from normlab.training import world

WHOLE = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in (*WHOLE, "TORCHELASTIC_RUN_ID", "TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(world, "_stores", {})


@pytest.fixture
def told(monkeypatch):
    def tell(**words):
        for name, value in words.items():
            monkeypatch.setenv(name, value)

    return tell


@pytest.mark.parametrize(
    "words",
    [
        {"WORLD_SIZE": "2"},
        {"RANK": "0", "WORLD_SIZE": "2"},
        {"RANK": "1"},
        {"RANK": "1", "WORLD_SIZE": "1"},
        {"RANK": "x"},
        {"WORLD_SIZE": "-1"},
        WHOLE | {"RANK": "2"},
        WHOLE | {"MASTER_PORT": "ssh"},
        WHOLE | {"MASTER_PORT": "70000"},
        WHOLE | {"MASTER_ADDR": ""},
    ],
)
@pytest.mark.parametrize("command", [lambda: launch(["--cfg", "job"]), lambda: resume("nowhere", [])])
def test_an_environment_that_does_not_say_how_processes_meet_is_refused_at_once(words, command, told, capsys):
    told(**words)
    assert command() == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert (
        line.startswith(f"error: the environment has {next(iter(words))}=")
        and "RANK, WORLD_SIZE, MASTER" in line
    )
    assert out == ""


@pytest.mark.parametrize("words", [{}, {"RANK": "", "WORLD_SIZE": ""}, {"RANK": "0"}, {"WORLD_SIZE": "1"}])
def test_one_process_needs_nobody(words, told):
    told(**words)
    ranks.check()
    assert (ranks.rank(), ranks.size()) == (0, 1)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_showing_a_config_waits_for_nobody(rank, told, capsys):
    told(**WHOLE | {"RANK": rank})
    assert launch(["--cfg", "job"]) == 0
    assert capsys.readouterr().out.startswith("norm:" if rank == "0" else "")


def test_a_refusal_waits_for_nobody(told, capsys):
    told(**WHOLE)
    assert launch(["-m", "seed=1,2"]) == 2
    assert launch(["depth=x"]) == 2
    assert capsys.readouterr().err.count("error: ") == 2


@pytest.fixture
def port():
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def test_who_leads_is_told_for_how_many_it_waits_and_can_be_interrupted(told, port, capsys, monkeypatch):
    told(**WHOLE | {"MASTER_PORT": port, "WORLD_SIZE": "3"})
    monkeypatch.setattr(world, "TELL", 0.0)
    looks = iter([None] * 3)
    with (
        pytest.raises(Interrupted) as stop,
        world.lead({}, "cpu", stop=lambda: next(looks, int(signal.SIGTERM))),
    ):
        pass
    assert stop.value.signal == signal.SIGTERM
    assert capsys.readouterr().err == f"waiting for 2 of 3 processes at 127.0.0.1:{port}\n"


def test_who_follows_is_told_that_rank_0_is_missing_and_can_be_interrupted(told, port, capsys, monkeypatch):
    told(**WHOLE | {"MASTER_PORT": port, "RANK": "1"})
    monkeypatch.setattr(world, "TELL", 0.0)
    monkeypatch.setattr(world, "PATIENCE", timedelta(seconds=20))
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(Interrupted), terminable():
        world.wait_for_task()
    first, *_ = capsys.readouterr().err.splitlines()
    assert first == f"waiting for rank 0 of 2 processes at 127.0.0.1:{port}"


def test_nobody_is_waited_for_to_be_told_that_there_is_nothing_to_train(told, port):
    told(**WHOLE | {"MASTER_PORT": port})
    world.dismiss()  # nobody has met
    assert world._stores == {}

"""Whole runs: what they leave, how they end, and that a resumed one equals an uninterrupted one."""

import dataclasses
import json
import math
import multiprocessing
import os
import re
import signal
import time

import pytest
import torch
import yaml

from normlab.config import MEASURED
from normlab.data import load_corpus
from normlab.errors import CheckpointError, ConfigError, RunDirectoryError
from normlab.run import check, resume, run
from normlab.rundir.writer import read_events
from normlab.runs.replay import replay
from normlab.sinks.wandb.wandb_sink import WandbSink
from normlab.training import loop
from normlab.training.build import build


def rows_of(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def untimed(row):
    return {key: value for key, value in row.items() if not key.startswith("time/")}


def summary_of(directory):
    return json.loads((directory / "summary.json").read_text())


def test_a_run_leaves_what_is_promised(small, tmp_path):
    config, directory = small(), tmp_path / "a" / "run"
    returned = run(config, directory, plain=True)
    assert {path.name for path in directory.iterdir()} >= {
        "config.yaml",
        "metrics.jsonl",
        "events.jsonl",
        "summary.json",
        "environment.json",
        "checkpoints",
    }
    written = yaml.safe_load((directory / "config.yaml").read_text())
    assert written["depth"] == 2 and written["optimizer"]["lr"] == 2.5e-3
    groups = [
        node for key, node in written.items() if isinstance(node, dict) and key not in ("fault", "sweep")
    ]
    assert len(groups) == 12 and all("name" in node for node in groups)

    rows = rows_of(directory)
    assert [row["step"] for row in rows] == list(range(6))
    corpus = load_corpus(config.data, config.model.context)
    summary = summary_of(directory)
    assert summary["status"] == "finished" and summary["outcome"] == "untrained" and summary["steps"] == 6
    assert summary["loss/final"] == pytest.approx(sum(row["loss"] for row in rows) / 6)
    assert summary["val/final"] == rows[-1]["val/loss"]
    assert summary["val/best"] == min(row["val/loss"] for row in rows if "val/loss" in row)
    assert summary["floors"] == pytest.approx(corpus.floors.as_dict())
    assert summary["floors"]["uniform"] == pytest.approx(math.log(corpus.vocab))
    assert (
        summary["events"] == {} and summary["first_event"] is None and summary["wandb"]["mode"] == "disabled"
    )
    assert summary["parameters"] == sum(summary["sizes"].values())
    assert summary["tokens_per_second"] > 0
    assert returned["loss/final"] == summary["loss/final"]
    environment = json.loads((directory / "environment.json").read_text())
    assert environment["packages"]["torch"] and environment["threads"] >= 1 and environment["seed"] == 0


@pytest.mark.parametrize(
    ("norm", "placement", "seen"),
    [
        ("instancenorm_time", "pre", True),
        ("layernorm_TC", "post", True),
        ("instancenorm_time", "rezero", False),  # which has no norm
        ("batchnorm", "pre", False),  # which evaluates by running statistics
        ("layernorm", "pre", False),
    ],
)
def test_a_validation_loss_that_saw_the_future_says_so(norm, placement, seen, small, tmp_path, capsys):
    config = small({"norm.allow_leaky": True, "train.steps": 1}, norm=norm, placement=placement)
    run(config, tmp_path / "run", plain=True)
    said = summary_of(tmp_path / "run").get("val/caveat", "")
    assert bool(said) == seen
    lines = [line for line in capsys.readouterr().out.splitlines() if f"optimistic with norm={norm}" in line]
    assert len(lines) == seen
    if seen:
        assert said.startswith(f"optimistic with norm={norm}: its statistics run over all tokens")
        assert said.endswith("evaluation has no other statistics and leaks too")


def test_the_same_seed_gives_the_same_rows_whatever_is_measured(small, tmp_path):
    run(small(), tmp_path / "full", plain=True)
    run(small({"measure.grad_norm": False}), tmp_path / "brief", plain=True)
    run(small(), tmp_path / "again", plain=True)
    full, brief, again = (rows_of(tmp_path / name) for name in ("full", "brief", "again"))
    assert [row["loss"] for row in full] == [row["loss"] for row in brief]
    assert list(map(untimed, full)) == list(map(untimed, again))
    orders = {summary_of(tmp_path / name)["batch_order"] for name in ("full", "brief", "again")}
    assert len(orders) == 1


def test_variants_see_the_same_batches_and_seeds_do_not(small, tmp_path):
    run(small({"train.steps": 1}, placement="post", norm="rmsnorm"), tmp_path / "a", plain=True)
    run(small({"train.steps": 1}), tmp_path / "b", plain=True)
    run(small({"train.steps": 1, "seed": 1}), tmp_path / "c", plain=True)
    a, b, c = (summary_of(tmp_path / name)["batch_order"] for name in "abc")
    assert a == b != c


def wait_for_rows(directory, count):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        path = directory / "metrics.jsonl"
        if path.exists() and len(path.read_bytes().splitlines()) >= count:
            return
        time.sleep(0.01)
    raise AssertionError("the child wrote no rows")


def start_child(config, directory):
    """A run in a process of its own, given its config and directory and nothing else."""
    process = multiprocessing.get_context("spawn").Process(
        target=run, args=(config, directory), kwargs={"plain": True}
    )
    process.start()
    return process


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_killed_and_resumed_run_equals_an_uninterrupted_one(precision, small, tmp_path):
    changes = {"train.steps": 400, "train.checkpoint.every": 30, "model.dropout": 0.1, "train.eval_every": 50}
    config = small(changes | {"train.precision": precision, "train.threads": 1})
    child = start_child(config, tmp_path / "killed")
    wait_for_rows(tmp_path / "killed", 70)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert summary_of(tmp_path / "killed")["status"] == "running"
    assert 60 < (tmp_path / "killed" / "metrics.jsonl").read_bytes().count(b"\n") < 400
    with (tmp_path / "killed" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9999, "lo')  # a torn last line

    resume(config, tmp_path / "killed", plain=True)
    run(config, tmp_path / "whole", plain=True)
    killed, whole = (list(map(untimed, rows_of(tmp_path / name))) for name in ("killed", "whole"))
    assert json.dumps(killed) == json.dumps(whole)
    assert [row["step"] for row in killed] == list(range(400))
    left, right = summary_of(tmp_path / "killed"), summary_of(tmp_path / "whole")
    for key in ("status", "outcome", "steps", "loss/final", "loss/best", "val/final", "val/best", "events"):
        assert left[key] == right[key], key


def test_a_run_killed_before_its_first_checkpoint_starts_over(small, tmp_path):
    run(small(), tmp_path / "run", plain=True)
    whole, path = rows_of(tmp_path / "run"), tmp_path / "run" / "summary.json"
    summary = summary_of(tmp_path / "run")
    for checkpoint in (tmp_path / "run" / "checkpoints").glob("*.pt"):
        checkpoint.unlink()
    with pytest.raises(CheckpointError, match="no checkpoint"):  # one that ended in order had some
        resume(small({"train.steps": 9}), tmp_path / "run", plain=True)
    path.write_text(json.dumps(summary | {"status": "lost"}))
    assert resume(small(), tmp_path / "run", plain=True)["status"] == "finished"
    assert list(map(untimed, rows_of(tmp_path / "run"))) == list(map(untimed, whole))


def test_a_finished_run_can_be_given_more_steps(small, tmp_path):
    run(small(), tmp_path / "run", plain=True)
    with pytest.raises(RunDirectoryError, match=r"all its 6 steps.*train\.steps="):
        resume(small(), tmp_path / "run", plain=True)
    resume(small({"train.steps": 9}), tmp_path / "run", plain=True)
    run(small({"train.steps": 9}), tmp_path / "whole", plain=True)
    # The last step of the shorter run had an evaluation that the longer one has not.
    left, right = ([row["loss"] for row in rows_of(tmp_path / name)] for name in ("run", "whole"))
    assert left == right and summary_of(tmp_path / "run")["steps"] == 9
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["train"]["steps"] == 9


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_in_order_and_it_can_go_on(number, small, tmp_path, monkeypatch):
    taken = loop.take_step

    def signalled(job):
        if job.step == 4 and not (tmp_path / "run" / "sent").exists():
            (tmp_path / "run" / "sent").touch()
            os.kill(os.getpid(), number)
        return taken(job)

    monkeypatch.setattr(loop, "take_step", signalled)
    summary = run(small({"train.steps": 8}), tmp_path / "run", plain=True)
    assert summary["status"] == "interrupted" and summary["signal"] == number and summary["steps"] == 5
    assert summary_of(tmp_path / "run")["status"] == "interrupted"
    assert resume(small({"train.steps": 8}), tmp_path / "run", plain=True)["status"] == "finished"
    run(small({"train.steps": 8}), tmp_path / "whole", plain=True)
    assert list(map(untimed, rows_of(tmp_path / "run"))) == list(map(untimed, rows_of(tmp_path / "whole")))


def test_a_signal_after_the_last_step_loses_nothing(small, tmp_path, monkeypatch):
    """While wandb uploads, say: the run is finished, and only the sweep around it hears of the signal."""
    closed = WandbSink.close

    def slow(self, summary):
        os.kill(os.getpid(), signal.SIGINT)
        closed(self, summary)

    monkeypatch.setattr(WandbSink, "close", slow)
    summary = run(small(), tmp_path / "run", plain=True)
    assert summary["signal"] == signal.SIGINT
    assert summary_of(tmp_path / "run")["status"] == "finished" and summary_of(tmp_path / "run")["steps"] == 6


def test_a_run_killed_after_its_last_step_can_be_closed(small, tmp_path):
    run(small(), tmp_path / "run", plain=True)
    whole, path = summary_of(tmp_path / "run"), tmp_path / "run" / "summary.json"
    path.write_text(json.dumps(whole | {"status": "running", "outcome": None}))
    resume(small(), tmp_path / "run", plain=True)
    again = summary_of(tmp_path / "run")
    assert again["status"] == "finished" and again["outcome"] == "untrained"
    assert again["loss/final"] == whole["loss/final"] and len(rows_of(tmp_path / "run")) == 6


def test_the_summary_of_a_killed_run_is_as_old_as_its_checkpoint(small, tmp_path, monkeypatch):
    taken = loop.take_step
    seen = []

    def watched(job):
        seen.append(summary_of(tmp_path / "run"))
        return taken(job)

    monkeypatch.setattr(loop, "take_step", watched)
    run(small({"train.checkpoint.every": 2, "train.eval_every": 6}), tmp_path / "run", plain=True)
    assert [summary["steps"] for summary in seen] == [0, 0, 2, 2, 4, 4]
    assert {summary["status"] for summary in seen} == {"running"}


def test_two_processes_cannot_train_in_one_directory(small, tmp_path):
    config = small({"train.steps": 400, "train.checkpoint.every": 5})
    child = start_child(config, tmp_path / "run")
    wait_for_rows(tmp_path / "run", 10)
    os.kill(child.pid, signal.SIGSTOP)  # it holds its folder, and does not come to its end meanwhile
    for attempt in (run, resume):
        with pytest.raises(RunDirectoryError, match="being trained by another process"):
            attempt(config, tmp_path / "run", plain=True)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert resume(config, tmp_path / "run", plain=True)["status"] == "finished"
    assert [row["step"] for row in rows_of(tmp_path / "run")] == list(range(400))


def test_time_goes_on_in_a_resumed_run(small, tmp_path):
    run(small(), tmp_path / "run", plain=True)
    resume(small({"train.steps": 9}), tmp_path / "run", plain=True)
    seconds = [row["time/seconds"] for row in rows_of(tmp_path / "run")]
    assert seconds == sorted(seconds)
    assert summary_of(tmp_path / "run")["seconds"] >= round(seconds[-1], 2) - 0.01


def test_more_steps_under_a_schedule_that_ends_with_them_are_warned_of(small, tmp_path, capsys):
    run(small(schedule="cosine"), tmp_path / "run", plain=True)
    resume(small({"train.steps": 9}, schedule="cosine"), tmp_path / "run", plain=True)
    assert "the cosine schedule is laid out anew over 9 steps" in "".join(capsys.readouterr())


def test_a_failure_keeps_the_rows_and_says_so(small, tmp_path, monkeypatch):
    taken = loop.take_step

    def failing(job):
        if job.step == 4:
            raise MemoryError("no memory left")
        return taken(job)

    monkeypatch.setattr(loop, "take_step", failing)
    with pytest.raises(MemoryError):
        run(small(), tmp_path / "run", plain=True)
    summary = summary_of(tmp_path / "run")
    assert summary["status"] == "failed" and "no memory left" in summary["error"] and summary["steps"] == 4
    assert len(rows_of(tmp_path / "run")) == 4


def test_a_full_disk_while_training_fails_the_run_and_keeps_the_rows(small, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("normlab.training.checkpoint.save", full)
    with pytest.raises(OSError, match="No space"):
        run(small({"train.checkpoint.every": 2}), tmp_path / "run", plain=True)
    assert len(rows_of(tmp_path / "run")) == 2 and summary_of(tmp_path / "run")["status"] == "failed"


def test_divergence_is_a_result(small, tmp_path):
    config = small({"optimizer.lr": 1e25, "train.steps": 40}, optimizer="sgd", placement="none")
    summary = run(config, tmp_path / "run", plain=True)
    assert summary["status"] == "finished" and summary["outcome"] == "nonfinite"
    # The parameters are finite but huge, and no update is applied any more: it keeps going, as asked.
    assert summary["first_event"]["kind"] == "nonfinite" and summary["steps"] == 40
    last = rows_of(tmp_path / "run")[-1]
    assert last["loss"] in ("NaN", "Infinity") or last["grad_norm/global"] in ("NaN", "Infinity")


def test_stop_ends_the_run_at_the_first_event(small, tmp_path):
    # A loss that starts at its floor and stays there is a plateau: rate 0 in all but name.
    config = small(
        {"divergence.action": "stop", "optimizer.lr": 1e-12, "train.steps": 200, "init.head_std": 0.0}
    )
    plateau = dataclasses.replace(config.divergence.plateau, tolerance=2.0, grace=5, window=10)
    config = dataclasses.replace(config, divergence=dataclasses.replace(config.divergence, plateau=plateau))
    summary = run(config, tmp_path / "run", plain=True)
    assert summary["steps"] < 30 and summary["outcome"] == "stuck" and summary["events"] == {"plateau": 1}


def test_a_taken_directory_is_refused_and_left_as_it_is(small, tmp_path):
    run(small({"train.steps": 2}), tmp_path / "run", plain=True)
    before = (tmp_path / "run" / "summary.json").read_bytes()
    with pytest.raises(RunDirectoryError, match="normlab resume"):
        run(small(), tmp_path / "run", plain=True)
    assert (tmp_path / "run" / "summary.json").read_bytes() == before


def test_resume_where_there_is_no_run(small, tmp_path):
    with pytest.raises(RunDirectoryError):
        resume(small(), tmp_path / "nowhere", plain=True)


@pytest.mark.parametrize(("ramp", "told"), [(1000.0, 1), (2.0, 0)])
def test_branches_that_the_run_is_too_short_to_fade_in_are_told_at_its_start(
    ramp, told, small, tmp_path, capsys
):
    config = small({"placement.parameters": {"ramp": ramp}}, placement="branchnorm")
    run(config, tmp_path / "run", plain=True)
    out = "".join(capsys.readouterr())
    assert out.count("branch_scale in block 2 is 0.005 at the last step, and would be 1 at step 1000") == told
    assert out.count("placement.parameters.ramp=3 or train.steps=2000") == told


def test_what_was_asked_for_and_cannot_be_had_costs_one_line(small, tmp_path, capsys):
    """What the preset brings along and does not apply needs no word."""
    run(small({"train.steps": 1}, optimizer="sgd"), tmp_path / "a", plain=True)
    assert "left out" not in capsys.readouterr().out
    changes = {f"measure.{key}": 1 for key in ("update", "gain", "norm", "batchnorm", "hidden", "stream")}
    run(
        small(changes | {"train.steps": 1}, optimizer="sgd", norm="layernorm_nonparam"),
        tmp_path / "b",
        plain=True,
    )
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert line == (
        "warning: left out measure.gain: norm=layernorm_nonparam has no gains; "
        "measure.norm: norm=layernorm_nonparam has no curve that could saturate; "
        "measure.batchnorm: norm=layernorm_nonparam has no running statistics"
    )


def test_what_can_be_had_is_not_warned_of(small):
    changes = {f"measure.{key}": 1 for key in MEASURED}
    corpus = load_corpus(small().data, 8)
    said = {
        norm: build(small(changes, norm=norm, activation="tanh"), corpus).instruments.left_out
        for norm in ("dyt", "batchnorm", "layernorm")
    }
    assert [[line.split(":")[0] for line in lines] for lines in said.values()] == [
        ["measure.batchnorm"],
        ["measure.norm"],
        ["measure.norm", "measure.batchnorm"],
    ]
    (line, *_) = build(small({"measure.gain": 1}, placement="rezero"), corpus).instruments.left_out
    assert line == "measure.gain: placement=rezero, without a norm, has no gains"
    never = build(small(dict.fromkeys(changes, 0), optimizer="sgd"), corpus)
    assert never.instruments.left_out == ()


def test_leaky_norms_are_refused_unless_allowed(small, tmp_path):
    with pytest.raises(ConfigError, match=r"norm\.allow_leaky=true"):
        check(small(norm="batchnorm"))
    config = small({"norm.allow_leaky": True}, norm="batchnorm")
    check(config)
    assert run(config, tmp_path / "run", plain=True)["status"] == "finished"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there_is_refused(small):
    with pytest.raises(ConfigError, match=r"train\.device: this machine has no cuda device; it has cpu"):
        check(small({"train.device": "cuda"}))


def test_live_and_plain_console_do_not_change_the_rows(small, tmp_path, capsys):
    run(small(), tmp_path / "plain", plain=True)
    said = capsys.readouterr().out
    assert "untrained" in said and not re.search(r"\x1b\[[0-9;]*[A-HJK]", said)
    run(small(), tmp_path / "other")
    assert list(map(untimed, rows_of(tmp_path / "plain"))) == list(map(untimed, rows_of(tmp_path / "other")))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fault.kind": "nan_activation", "fault.step": 3}, {"direction": "forward", "parameter": None}),
        ({"fault.kind": "nan_gradient", "fault.step": 3}, {"direction": "backward", "parameter": None}),
        ({"optimizer.lr": 1e39}, {"metric": "nonfinite/parameter"}),
    ],
)
def test_rows_hold_numbers_alone_and_a_replay_has_the_words_from_the_events(small, tmp_path, changes, words):
    run(small(changes), tmp_path / "run", plain=True)
    for row in rows_of(tmp_path / "run"):
        assert not [
            key for key, value in row.items() if isinstance(value, str) and value not in ("NaN", "Infinity")
        ]
    first = next(event for event in read_events(tmp_path / "run") if event["kind"] == "nonfinite")
    assert first["site"] or first["parameter"]
    assert {key: first[key] for key in words} == words
    assert {found.mark for found in replay(tmp_path / "run").found} == {"same"}

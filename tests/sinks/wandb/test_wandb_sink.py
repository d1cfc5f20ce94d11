"""The wandb sink: real offline runs read back with wandb's own reader, and a stand-in for the rest.

The stand-in records calls and fails on demand; the real ones need no network either.
"""

import json
import logging
import math
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from normlab.config import TrackerConfig
from normlab.run import run
from normlab.rundir.writer import RunDirectory, read_rows, truncate
from normlab.sinks.wandb import start
from normlab.sinks.wandb.budget import coarse
from normlab.sinks.wandb.wandb_sink import WandbSink

STEPS = 12
ORDER = [
    {"place": "layer_01", "metric": "grad_norm/layer_01", "step": 4, "ratio": 12.345, "z": 31.0},
    {"place": "head", "metric": "loss", "step": 5, "ratio": math.inf, "z": 9.5},
]


def be_nobody(monkeypatch, folder):
    """No key, no settings and no server of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("NETRC", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(folder / "nobody" / name))
    monkeypatch.setattr(start.RunStarter, "unreachable", False)


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    be_nobody(monkeypatch, tmp_path)


def mirror(sink, opening, made, rows, **summary):
    """One attempt at a run, in the run directory and in `sink`; returns what the summary says of wandb."""
    files = RunDirectory({})
    files.open(opening)
    sink.open(opening)
    for row in rows:
        files.row(row)
        sink.row(row)
        if row["step"] == 5:
            files.event(made.event(5))
            sink.event(made.event(5))
            sink.event(made.event(5, end=7, recovered=True, order=ORDER))
    sink.close(made.summary(**summary))
    files.close(made.summary(**summary))
    return sink.record()


def inspect(directory):
    """The records of a run's file, as wandb's own reader gives them."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"this needs the reader of wandb 0.31 or newer: {done.stderr}"
    return [json.loads(line) for line in done.stdout.splitlines()]


def history(records):
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def summary_of(records):
    merged = {}
    for record in records:
        if record["type"] == "summary":
            merged |= record["summary"].get("update", {})
    return merged


@pytest.fixture(scope="module")
def offline(tmp_path_factory, made):
    """A real offline run with a NaN in it: (sink, run directory, records)."""
    asked, folder = [], tmp_path_factory.mktemp("offline")

    def pictures(directory):
        asked.append((directory, len(read_rows(directory))))
        return {"figures/loss": Image.new("RGB", (8, 6), "red")}

    sink = WandbSink(TrackerConfig(mode="offline", tags=["thesis"]), pictures)
    rows = [made.row(step) for step in range(STEPS)]
    rows[4] |= {"loss": math.nan, "nonfinite/parameter": "layer_01/ffn.out"}
    rows[9]["val/loss"] = 4.5
    for row in rows:
        row |= {"stream/rms/layer_00": 1.0, "output/p99.9": 2.0, "nonfinite/loss": float(row["step"] == 4)}
    with pytest.MonkeyPatch.context() as monkeypatch:
        be_nobody(monkeypatch, folder)
        opening = made.opening(folder / "run", sweep="lr-sweep")
        later = {
            "loss/final": math.nan,
            "first_event_step": 5,
            "first_event_layer": None,
            "grad_norm/first_to_last": 1.5,
        }
        mirror(sink, opening, made, rows, **later)
    assert asked == [(opening.directory, STEPS)]
    return sink, opening.directory, inspect(sink.directory)


def test_the_offline_run_reads_back_with_the_steps_of_metrics_jsonl_and_no_detail(offline, made):
    sink, directory, records = offline
    rows, logged = read_rows(directory), history(records)
    assert sum("loss" in item for item in logged) == len(rows) == STEPS
    for row, item in zip(rows, logged, strict=True):
        assert item["_step"] == item["step"] == row["step"]
        for key, value in row.items():
            if isinstance(value, str) or key == "grad_norm/layer_00/attn.qkv":
                assert key not in item
            elif math.isfinite(value):
                assert item[key] == value, key
            else:
                assert item[key] == "NaN"
    assert list(directory.glob("wandb/**/*.wandb")) == [next(sink.directory.glob("*.wandb"))]


def test_config_names_and_group_are_there(offline, made):
    sink, directory, records = offline
    run = next(record["run"] for record in records if record["type"] == "run")
    assert run["config"]["update"].items() >= made.config.items()
    assert (run["display_name"], run["run_group"], run["job_type"]) == ("placement=post", "lr-sweep", "train")
    assert (run["project"], run["tags"]) == ("normlab", ["thesis"])
    assert sink.directory.parent == directory / "wandb"
    assert sink.record() == {
        "mode": "offline",
        "directory": f"wandb/{sink.directory.name}",
        "sync": f"wandb sync {sink.directory}",
    }


def test_the_summary_has_the_lowest_losses_the_outcome_and_no_series_of_layers(offline, made):
    _, _, records = offline
    summary = summary_of(records)
    # The NaN at step 4 would be wandb's own minimum.
    assert summary["loss"]["min"] == pytest.approx(made.row(STEPS - 1)["loss"])
    assert summary["val/loss"]["min"] == 4.5
    assert (summary["outcome"], summary["status"]) == ("spiked", "finished")
    assert (summary["loss/final"], summary["loss/best"]) == ("NaN", 2.3)
    assert summary["floors/unigram"] == 3.147
    assert (summary["events/spike"], summary["first_event/step"]) == (1, 5)
    assert summary["first_event/layers"] == "layer_01, layer_00"
    # Numbers are numbers; what there is none of is missing, rather than a word in a column of them.
    assert (summary["first_event_step"], summary["grad_norm/first_to_last"]) == (5, 1.5)
    assert "first_event_layer" not in summary
    assert not [key for key in summary if re.match(r"stream|nonfinite|grad_norm/(layer|global|head)", key)]
    assert next(record["exit"] for record in records if record["type"] == "exit")["exit_code"] == 0


def test_every_series_has_step_as_its_axis_and_globs_do_not_overlap(offline):
    _, _, records = offline
    metrics = [record["metric"] for record in records if record["type"] == "metric"]
    globs = [metric["glob_name"] for metric in metrics if "glob_name" in metric]
    names = [metric["name"] for metric in metrics if "name" in metric]
    assert sorted(globs) == ["grad_norm/*", "nonfinite/*", "stream/*"]
    assert all(metric["step_metric"] == "step" for metric in metrics if metric.get("name") != "step")
    assert r"output/p99\.9" in names
    logged = {key for item in history(records) for key in item if not key.startswith(("_", "figures"))}
    families = tuple(glob.removesuffix("*") for glob in globs)
    assert {key for key in logged if not key.startswith(families)} <= {n.replace("\\", "") for n in names}


def test_what_is_not_finite_is_a_flag_that_charts_can_show(offline):
    _, _, records = offline
    assert [item["nonfinite/loss"] for item in history(records)] == [step == 4 for step in range(STEPS)]


def test_pictures_and_events_are_in_the_last_row(offline, made):
    sink, _, records = offline
    *before, last = history(records)
    assert not [key for item in before for key in item if key.startswith("figures")]
    assert (last["figures/loss.width"], last["figures/loss.height"]) == (8, 6)
    assert (sink.directory / "files" / last["figures/loss.path"]).is_file()
    table = json.loads((sink.directory / "files" / last["figures/events.path"]).read_text())
    event = dict(zip(table["columns"], table["data"][0], strict=True))
    assert len(table["data"]) == 1
    assert (event["kind"], event["end"], event["layers"]) == ("spike", 7, "layer_01, layer_00")
    assert event["order"] == "layer_01 grad_norm x12.3 at step 4, head loss xinf at step 5"
    assert event.keys() == {*made.event(), "order", "peak", "peak_step"}
    assert event["peak"] is None  # of an older run, whose events lack it


def test_a_resumed_offline_run_is_complete_and_replaces_the_first(opening_of, made):
    first = WandbSink(TrackerConfig(mode="offline"))
    mirror(first, opening_of(), made, [made.row(step) for step in range(9)], status="interrupted")
    assert [
        record["exit"]["exit_code"] for record in inspect(first.directory) if record["type"] == "exit"
    ] == [255]
    truncate(opening_of().directory, 6)
    again = WandbSink(TrackerConfig(mode="offline"))
    opening = opening_of(first_step=6, resumed=True, events=[made.event(5)])
    mirror(again, opening, made, [made.row(step) for step in range(6, STEPS)])
    assert not first.directory.exists()
    logged = history(inspect(again.directory))
    assert [item["step"] for item in logged] == list(range(STEPS))
    assert [item["loss"] for item in logged] == [row["loss"] for row in read_rows(opening.directory)]
    assert logged[-1]["figures/events.nrows"] == 1


def test_the_folder_in_the_summary_is_relative_to_the_run_directory(opening_of, made, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for directory in (Path("relative"), tmp_path / "absolute"):
        for first in (0, 1):
            sink = WandbSink(TrackerConfig(mode="offline"))
            opening = opening_of(directory=directory, first_step=first, resumed=first > 0)
            record = mirror(sink, opening, made, [made.row(first)])
            assert record["directory"] == f"wandb/{sink.directory.name}"
            assert (directory / record["directory"]).is_dir()


@pytest.mark.parametrize("mode", ["auto", "offline"])
def test_a_wrong_wandb_mode_costs_at_most_one_line_and_not_wandb(opening_of, made, monkeypatch, mode):
    import wandb

    wandb.teardown()  # its process has read the environment already
    monkeypatch.setenv("WANDB_MODE", "bogus")
    warnings = []
    sink = WandbSink(TrackerConfig(mode=mode), warn=warnings.append)
    record = mirror(sink, opening_of(), made, [made.row(0)])
    line = "WANDB_MODE must be online, offline or disabled, not 'bogus': this run is recorded offline"
    assert warnings == ([line] if mode == "auto" else [])
    assert record["mode"] == "offline"
    assert os.environ["WANDB_MODE"] == "bogus"
    monkeypatch.delenv("WANDB_MODE")  # which the reader refuses
    assert len(history(inspect(sink.directory))) == 1


@pytest.mark.parametrize(("mode", "lines"), [("online", 1), ("offline", 0)])
def test_before_it_waits_for_its_server_it_says_so(opening_of, made, monkeypatch, mode, lines):
    opening, told = opening_of(), []
    stand_in(monkeypatch, opening)
    sink = WandbSink(TrackerConfig(mode=mode), tell=told.append)
    mirror(sink, opening, made, [made.row(0)])
    assert told == ["wandb: trying its server for up to 5 s"] * lines


def test_an_earlier_offline_run_that_was_synced_stays(opening_of, made):
    first = WandbSink(TrackerConfig(mode="offline"))
    mirror(first, opening_of(), made, [made.row(0)])
    Path(f"{next(first.directory.glob('*.wandb'))}.synced").touch()
    mirror(
        WandbSink(TrackerConfig(mode="offline")), opening_of(first_step=1, resumed=True), made, [made.row(1)]
    )
    assert first.directory.exists()


@pytest.mark.parametrize(("mode", "environment"), [("disabled", "online"), ("auto", "disabled")])
def test_disabled_imports_nothing_and_writes_nothing(mode, environment, tmp_path):
    code = f"""
import sys
from pathlib import Path
from normlab.config import TrackerConfig
from normlab.rundir.opening import Opening
from normlab.sinks.wandb.wandb_sink import WandbSink
sink = WandbSink(TrackerConfig(mode={mode!r}))
sink.open(Opening(directory=Path({str(tmp_path)!r}), config={{}}, name="", sweep=None, floors={{}},
    parameters=1, first_step=0))
sink.row({{"step": 0, "loss": 1.0}})
sink.event({{"step": 0, "kind": "spike", "metric": "loss"}})
sink.close({{}})
assert sink.record() == {{"mode": "disabled"}}, sink.record()
assert "wandb" not in sys.modules
"""
    environ = os.environ | {"WANDB_MODE": environment}
    subprocess.run([sys.executable, "-c", code], check=True, env=environ)
    assert list(tmp_path.glob("wandb")) == []


def test_auto_without_a_key_is_offline_and_silent_even_on_a_terminal(tmp_path):
    """On a pseudo-terminal, where wandb would prompt and block: nothing is asked or printed."""
    pty = pytest.importorskip("pty")
    code = f"""
from pathlib import Path
from normlab.config import TrackerConfig
from normlab.rundir.opening import Opening
from normlab.sinks.wandb.wandb_sink import WandbSink
sink = WandbSink(TrackerConfig())
sink.open(Opening(directory=Path({str(tmp_path)!r}), config={{}}, name="", sweep=None, floors={{}},
    parameters=1, first_step=0))
sink.row({{"step": 0, "loss": 1.0}})
sink.close({{"status": "finished"}})
print("mode", sink.mode)
"""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, stdin=theirs, stdout=theirs, stderr=theirs, timeout=30, check=False)
    os.close(theirs)
    printed = os.read(ours, 10_000).decode()
    os.close(ours)
    assert done.returncode == 0
    assert printed.split() == ["mode", "offline"], printed


def test_asked_to_be_online_without_a_key_it_is_offline_with_one_warning(opening_of, made, caplog):
    sink = WandbSink(TrackerConfig(mode="online"))
    record = mirror(sink, opening_of(), made, [made.row(0)])
    assert record["mode"] == "offline"
    ours = [line for line in caplog.records if line.name.startswith("normlab")]
    assert [line.levelno for line in ours] == [logging.WARNING]
    assert "no API key" in ours[0].message


def test_a_mute_server_costs_one_warning_and_a_short_wait(opening_of, made, monkeypatch, capfd):
    """Real wandb and a port that accepts and stays mute. The runs after it in the same sweep do not wait."""
    import wandb

    wandb.teardown()  # its process has read the environment already
    warnings = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setattr(start, "INIT_TIMEOUT", 1.0)
        sink = WandbSink(TrackerConfig(), warn=warnings.append)
        record = mirror(sink, opening_of(), made, [made.row(step) for step in range(3)])
        second = WandbSink(TrackerConfig(), warn=warnings.append)
        second.open(opening_of(directory=opening_of().directory / "second"))
        second.close(made.summary())
    wandb.teardown()
    assert (record["mode"], second.mode) == ("offline", "offline")
    assert "cannot reach its server" in warnings[0]
    assert warnings[1:] == ["wandb could not reach its server before, so this run is recorded offline"]
    assert capfd.readouterr() == ("", "wandb: trying its server for up to 1 s\n")
    assert len(history(inspect(sink.directory))) == 3


KILLED = """
import os, signal, sys, time
from pathlib import Path
from normlab.config import TrackerConfig
from normlab.rundir.opening import Opening
from normlab.sinks.wandb.wandb_sink import WandbSink

def start(name):
    sink = WandbSink(TrackerConfig(mode="offline"))
    sink.open(Opening(directory=Path(sys.argv[1]) / name, config={}, name=name, sweep=None, floors={},
        parameters=1, first_step=0))
    sink.row({"step": 0, "loss": 1.0})
    return sink

sink = start("first")
for stat in Path("/proc").glob("[0-9]*/stat"):
    try:
        pid, _, rest = stat.read_text().partition(" (wandb-core) ")
    except OSError:
        continue
    if rest and int(rest.split()[1]) == os.getpid():
        os.kill(int(pid), signal.SIGKILL)
time.sleep(0.2)
for step in range(1, 5):
    sink.row({"step": step, "loss": 1.0})
sink.close({"status": "finished"})
assert sink.record()["problem"]
sink = start("next")
sink.close({"status": "finished"})
print(sink.directory)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds wandb's process in /proc")
def test_a_wandb_killed_in_mid_run_costs_one_warning_and_not_the_next_run(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "goes on without it" in done.stderr
    assert len(history(inspect(Path(done.stdout.strip())))) == 1


class StandIn:
    """As much of wandb as the sink uses, online."""

    Settings = SimpleNamespace

    def __init__(self, directory, failing=(), **run):
        self.calls = []
        self.failing = failing
        self.run = SimpleNamespace(
            dir=str(directory / "wandb" / "run-1" / "files"),
            url="https://server/run",
            id="a1b2",
            step=0,
            summary={},
            log=self.record("log"),
            alert=self.record("alert"),
            finish=self.record("finish"),
            define_metric=lambda *words, **more: None,
        )
        vars(self.run).update(run)

    def record(self, name):
        def call(*words, **more):
            self.calls.append((name, words, more))
            if name in self.failing:
                raise self.failing[name]
            if name == "init":
                self.run.id = more["id"]
            return self.run

        return call

    def of(self, name):
        return [(words, more) for called, words, more in self.calls if called == name]

    def __getattr__(self, name):
        return self.record(name)


def stand_in(monkeypatch, opening, **more):
    fake = StandIn(opening.directory, **more)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_online_each_new_event_is_an_alert_once(opening_of, made, monkeypatch):
    opening = opening_of()
    fake = stand_in(monkeypatch, opening)
    record = mirror(WandbSink(TrackerConfig()), opening, made, [made.row(step) for step in range(7)])
    assert [more["title"] for _, more in fake.of("alert")] == ["spike at step 5"]
    assert (record["mode"], record["url"]) == ("online", "https://server/run")
    assert "sync" not in record
    assert fake.of("login") == [((), {"prompt": False, "verify": False})]
    settings = fake.of("init")[0][1]["settings"]
    assert (settings.silent, settings.console, settings.x_disable_stats) == (True, "off", True)
    assert [more["step"] for _, more in fake.of("log")] == list(range(7))


@pytest.mark.parametrize("home", ["/", None])
def test_without_a_home_folder_wandb_has_folders_of_ours(home, tmp_path, monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    for name in ("HOME", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(start.Path, "home", nowhere if home is None else lambda: Path(home))
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    for name in ("first", "second"):
        start.find_room(tmp_path / name)
        assert os.environ["WANDB_DATA_DIR"] == str(tmp_path / name / "wandb" / "data")
    assert Path(os.environ["WANDB_CACHE_DIR"]).is_dir()
    assert os.environ["HOME"] == (home or os.environ["WANDB_CACHE_DIR"])
    monkeypatch.setenv("WANDB_DATA_DIR", "/mine")
    start.find_room(tmp_path)
    assert os.environ["WANDB_DATA_DIR"] == "/mine"


def test_with_a_home_folder_wandb_keeps_its_own(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_CACHE_DIR")
    monkeypatch.setattr(start.Path, "home", lambda: tmp_path)
    start.find_room(tmp_path)
    assert "WANDB_CACHE_DIR" not in os.environ


@pytest.mark.parametrize("sweep", [None, "lr-sweep"])
def test_of_what_an_agent_gives_a_job_of_a_sweep_takes_nothing_and_the_note_has_the_run_s_own_id(
    sweep, opening_of, made, monkeypatch
):
    agent = {"WANDB_RUN_ID": "agentrun", "WANDB_SWEEP_ID": "sw1", "WANDB_RESUME": "allow"}
    for name, value in agent.items():
        monkeypatch.setenv(name, value)
    opening, seen = opening_of(sweep=sweep), {}
    fake = stand_in(monkeypatch, opening)

    def init(**settings):
        seen.update((name, os.environ[name]) for name in agent if name in os.environ)
        fake.run.id = os.environ.get("WANDB_RUN_ID", settings["id"])
        return fake.run

    monkeypatch.setattr(fake, "init", init, raising=False)
    mirror(WandbSink(TrackerConfig()), opening, made, [made.row(0)])
    assert seen == ({} if sweep else agent)
    assert {name: os.environ.get(name) for name in agent} == agent
    note = json.loads((opening.directory / "wandb" / "attempt.json").read_text())
    assert note["id"] == fake.run.id
    assert (note["id"] == "agentrun") is (sweep is None)


def test_online_a_resumed_run_sends_only_what_the_server_lacks(opening_of, made, monkeypatch):
    opening = opening_of()
    fake = stand_in(monkeypatch, opening)
    mirror(WandbSink(TrackerConfig()), opening, made, [made.row(step) for step in range(6)])
    identity = fake.of("init")[0][1]["id"]
    truncate(opening.directory, 3)
    fake = stand_in(monkeypatch, opening, step=6)
    again = opening_of(first_step=3, resumed=True)
    mirror(WandbSink(TrackerConfig()), again, made, [made.row(step) for step in range(3, 9)])
    assert [more["step"] for _, more in fake.of("log")] == [6, 7, 8]
    ((_, init),) = fake.of("init")
    assert (init["id"], init["resume"]) == (identity, "allow")
    assert fake.run.summary["loss"] == {"min": pytest.approx(made.row(8)["loss"])}


@pytest.mark.parametrize("name", ["setup", "login", "init", "define_metric", "log", "alert", "finish"])
def test_whatever_wandb_raises_costs_one_warning(opening_of, made, monkeypatch, name):
    opening, warnings = opening_of(), []
    fake = stand_in(monkeypatch, opening, failing={name: RuntimeError("no\nluck")})
    if name == "define_metric":
        fake.run.define_metric = fake.record(name)
    sink = WandbSink(TrackerConfig(), warn=warnings.append)
    mirror(sink, opening, made, [made.row(step) for step in range(7)])
    assert len(warnings) == 1
    assert "RuntimeError: no luck" in warnings[0]
    assert len(read_rows(opening.directory)) == 7


def test_a_failed_picture_costs_the_pictures_and_not_the_last_row(opening_of, made, monkeypatch):
    opening, warnings = opening_of(), []
    fake = stand_in(monkeypatch, opening)

    def broken(directory):
        raise ValueError("no font")

    mirror(WandbSink(TrackerConfig(), broken, warnings.append), opening, made, [made.row(0)])
    assert [sorted(words[0]) for words, _ in fake.of("log")] == [sorted(coarse(made.row(0)))]
    assert len(warnings) == 1
    assert "no pictures" in warnings[0]


@pytest.mark.parametrize(("status", "code"), [("finished", 0), ("interrupted", 255), ("failed", 1)])
def test_the_exit_code_says_how_the_run_ended(opening_of, made, monkeypatch, status, code):
    opening = opening_of()
    fake = stand_in(monkeypatch, opening)
    mirror(WandbSink(TrackerConfig()), opening, made, [made.row(0)], status=status)
    assert fake.of("finish") == [((), {"exit_code": code})]


def test_a_finish_that_hangs_is_given_up(opening_of, made, monkeypatch):
    opening, warnings = opening_of(), []
    fake = stand_in(monkeypatch, opening)
    fake.run.finish = lambda exit_code: time.sleep(30)
    monkeypatch.setattr(start, "FINISH_TIMEOUT", -4.9)
    sink = WandbSink(TrackerConfig(), warn=warnings.append)
    began = time.monotonic()
    record = mirror(sink, opening, made, [made.row(0)])
    assert time.monotonic() - began < 5
    assert "did not finish" in warnings[0]
    assert record["sync"].startswith("wandb sync")
    assert fake.of("teardown")


def test_a_real_run_has_history_summary_pictures_and_events_in_its_offline_file(small, monkeypatch, tmp_path):
    """One that trains, with all instruments and a NaN in it."""
    fault = {"fault.kind": "nan_activation", "fault.step": 4, "fault.layer": 0}
    settings = {"tracker.mode": "offline", "measure.stream": 1, "measure.update": 2}
    directory = tmp_path / "run"
    summary = run(small(fault | settings), directory, plain=True)
    records = inspect(directory / summary["wandb"]["directory"])
    rows, logged = read_rows(directory), history(records)
    assert [item["step"] for item in logged] == [row["step"] for row in rows] == list(range(6))
    assert logged[4]["loss"] == "NaN" and logged[4]["nonfinite/stream/layer_01"] > 0
    detail = {"grad_norm/layer_01/attn.qkv", "stream/rms/layer_01/attn"}
    assert detail <= rows[0].keys() and not detail & logged[0].keys()
    last = logged[-1]
    files = directory / summary["wandb"]["directory"] / "files"
    for name in ("loss", "grad_norm", "stream_rms", "update_ratio"):
        with Image.open(files / last[f"figures/{name}.path"]) as picture:
            assert picture.size == (1152, 624)
    table = json.loads((files / last["figures/events.path"]).read_text())
    event = dict(zip(table["columns"], table["data"][0], strict=True))
    assert (event["step"], event["kind"], event["layers"]) == (4, "nonfinite", "layer_00")
    known = summary_of(records)
    columns = ("outcome", "first_event_step", "first_event_layer")
    assert [known[name] for name in columns] == ["untrained", 4, "layer_00"]
    assert known["grad_norm/first_to_last"] == rows[-1]["grad_norm/first_to_last"]
    assert math.isfinite(known["loss"]["min"])

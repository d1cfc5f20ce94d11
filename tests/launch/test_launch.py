"""`launch` from words to exit code, with a stand-in for the training."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from normlab.catalogue import groups
from normlab.compose.from_words import compose
from normlab.compose.saved_config import as_plain
from normlab.launch import launch, resume
from normlab.launch.main import FAILED, OK, REFUSED

_TIME = r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-\d{3}"


def left():
    """Everything in the current folder."""
    return sorted(path for path in Path().rglob("*") if path.is_file())


def test_a_run_gets_its_config_and_a_folder_of_its_own(fake):
    assert launch(["placement=post", "warmup=100", "tracker.project=x"]) == OK
    [(config, directory, sweep, plain)] = fake.ran
    assert config == compose(["placement=post", "warmup=100", "tracker.project=x"])
    assert directory.parent == Path("outputs/runs").absolute()
    assert re.fullmatch(_TIME + "-placement-post_warmup-100", directory.name)
    assert (sweep, plain) == (None, False)
    assert yaml.safe_load((directory / ".hydra" / "overrides.yaml").read_text())[0] == "placement=post"
    assert not (directory / "train.log").exists()


def test_the_run_folder_can_be_chosen(fake):
    assert launch(["hydra.run.dir=here/there"]) == OK
    assert fake.ran[0][1] == Path("here/there").absolute()


def test_a_sweep_has_a_folder_a_job_and_one_table(fake, capsys):
    assert launch(["warmup=0,100", "-m", "placement=post"]) == OK
    folders = [directory for _, directory, _, _ in fake.ran]
    sweep = folders[0].parent
    assert [folder.parent for folder in folders] == [sweep] * 2 and sweep.parent == Path(
        "outputs/sweeps"
    ).absolute()
    assert re.fullmatch(_TIME, sweep.name) and [name for _, _, name, _ in fake.ran] == [sweep.name] * 2
    assert [folder.name for folder in folders] == ["warmup0", "warmup100"]
    out, err = capsys.readouterr()
    assert err == ""
    assert f"sweep {sweep.name}: 2 finished" in out and "plateau @ 171" in out
    content = json.loads((sweep / "sweep.json").read_text())
    assert [job["knobs"] for job in content["jobs"]] == [{"warmup": 0}, {"warmup": 100}]


def test_two_commands_in_one_process_do_not_share_a_folder(fake):
    assert launch([]) == launch([]) == OK
    assert len({directory for _, directory, _, _ in fake.ran}) == 2


def test_an_experiment_can_be_a_sweep(fake):
    assert launch(["experiment=warmup_rescues_post", "train.steps=100", "warmup=0"]) == OK
    jobs = [(config.placement.name, config.warmup, config.train.steps) for config, *_ in fake.ran]
    assert jobs == [("post", 0, 100), ("pre", 0, 100)]


_BAD = [
    (["sed=1"], "Did you mean 'seed'?"),
    (["depth=0"], "depth: must be 1 or more"),
    (["norm=null"], "norm=null: an option is a name, not null. There are: layernorm"),
    (["-m", "placement=post", "norm=null,rmsnorm"], "norm=null: an option is a name"),
    (["norm=3"], "norm=3: an option is a name, not 3"),
    (["sweep.name=a/b"], "sweep.name: 'a/b' cannot be a folder's name"),
    (["-m", "sweep.name=..", "seed=1,2"], "sweep.name: '..' cannot be"),
    (["-m", "placement=glob(zz*)"], "there is no job to run: nothing matches placement=glob(zz*)"),
    (["-m", "seed=1,2", "sed=1"], "sed: there is no such setting. Did you mean 'seed'?"),
    (["-m", "seed=3,3"], "error: the same job twice: seed=3\n"),
    (["-m", "seed=3,3.0e0,4", "hydra.sweep.subdir=x"], "two jobs would share the folder"),
    (["sweep.foo=1"], "There are sweep.name, sweep.zip, sweep.rows, sweep.retry, sweep.fail_fast.\n"),
    (["-m", "seed=1,2", "sweep.retry=all"], "error: sweep.retry: 'all' is not one of none, failed"),
    (["-m", "sweep.retry=none,failed"], "error: sweep.retry: is for the whole sweep"),
    (
        ["-m", "optimizer.lr=tag(log,interval(1e-4,1e-1))"],
        "error: optimizer.lr: only Optuna draws from an interval: hydra/sweeper=optuna_tpe; or list values",
    ),
    (["-m", "hydra/launcher=basic,joblib"], "error: hydra/launcher: a sweep has one, got basic,joblib"),
    (["-m", "hydra/launcher=x"], "There are: basic, joblib, ray, submitit_local, submitit_slurm.\n"),
    (
        ["-m", "seed=1,2", "hydra.launcher.n_jobs=2"],
        "error: hydra.launcher.n_jobs: the basic launcher has no such setting; hydra/launcher=joblib has\n",
    ),
    (["-m", "seed=1", "hydra.launcher.njobs=2"], "Did you mean 'hydra.launcher.n_jobs'?"),
    (["-m", "seed=1", "hydra.sweeper.n_trial=2"], "Did you mean 'hydra.sweeper.n_trials'?"),
    (["-m", "seed=1,2", "hydra.sweeper.max_batch_size=0"], "hydra.sweeper.max_batch_size: must be 1 or more"),
    (["hydra.job.nam=x"], "Did you mean 'hydra.job.name'"),
    (["seed=90"], "the text is too short"),
    (["seed=94"], "the text went away"),
    (["hydra.run.dir=/dev/null/x"], "/dev/null is not a folder"),
    (["-cd", "nowhere"], "--config-dir nowhere: there is no such folder"),
    (["--multirum"], "no option --multirum"),
    (["post"], "'post' is not KEY=VALUE"),
]


@pytest.mark.parametrize(("words", "message"), _BAD, ids=[" ".join(words) for words, _ in _BAD])
def test_bad_input_gets_one_message_and_leaves_nothing(fake, capsys, words, message):
    assert launch(words) == REFUSED
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and message in err
    assert err.count("error:") == 1 and "Traceback" not in err
    assert left() == [] and not Path("outputs/sweeps").exists()
    assert not any(Path("outputs").glob("runs/*"))


def test_a_broken_file_is_named_with_its_line(fake, capsys):
    Path("mine/placement").mkdir(parents=True)
    file = Path("mine/placement/broken.yaml").absolute()
    file.write_text("name: x\n  bad: [\n")
    assert launch(["-cd", "mine", "placement=broken"]) == REFUSED
    message = f"error: {file}, line 2: mapping values are not allowed here\n"
    assert capsys.readouterr().err == message


def test_every_bad_job_of_a_sweep_is_shown_and_none_starts(fake, capsys):
    assert launch(["-m", "placement=post,prez", "warmup=400"]) == REFUSED
    err = capsys.readouterr().err
    assert "error: 2 of 2 jobs cannot run, so none was started:" in err
    assert "  warmup: 400 is more than train.steps=300\n    in placement=post warmup=400\n" in err
    assert "Did you mean 'pre'" in err and "in placement=prez warmup=400" in err
    assert fake.ran == fake.checked == [] and left() == []


def test_every_job_of_a_sweep_is_checked_before_the_first(fake, capsys):
    assert launch(["-m", "seed=1,90"]) == REFUSED
    assert [config.seed for config in fake.checked] == [1, 90] and fake.ran == []
    assert "1 of 2 jobs cannot run" in capsys.readouterr().err


def test_a_folder_that_holds_a_run_is_refused(fake, capsys):
    assert launch(["hydra.run.dir=here"]) == OK
    before = {path: path.read_bytes() for path in left()}
    assert launch(["hydra.run.dir=here", "seed=1"]) == REFUSED
    err = capsys.readouterr().err
    assert "here already holds a run (summary.json)" in err and "normlab resume here" in err
    assert {path: path.read_bytes() for path in left()} == before and len(fake.ran) == 1


def test_a_failed_run_is_told_in_one_line_with_its_trace_in_the_log(fake, capsys):
    assert launch(["seed=95", "hydra.run.dir=here"]) == FAILED
    err = capsys.readouterr().err
    assert "error: the run failed: RuntimeError: a fault of ours" in err
    assert "Traceback" not in err
    assert "Traceback" in Path("here/train.log").read_text()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told_in_one_line_without_a_trace(fake, capsys, monkeypatch, code):
    def full(config, directory, **named):
        (directory / "summary.json").write_text("{}")
        raise OSError(code, os.strerror(code), str(directory / "metrics.jsonl"))

    monkeypatch.setattr(fake, "run", full)
    assert launch(["hydra.run.dir=here"]) == FAILED
    why = "a file may not be larger here (ulimit -f)" if code == errno.EFBIG else "the disk is full"
    path = Path("here/metrics.jsonl").absolute()
    assert capsys.readouterr() == ("", f"error: {path} cannot be written: {why}\n")
    assert not Path("here/train.log").exists()


def test_an_error_of_the_disk_before_a_run_is_one_line(fake, capsys, monkeypatch):
    def broken(config, texts=None):
        raise OSError(errno.EIO, os.strerror(errno.EIO), "cache/x")

    monkeypatch.setattr(fake, "check", broken)
    for words in (["seed=1"], ["-m", "seed=1,2"]):
        assert launch(words) == FAILED
        assert capsys.readouterr().err == "error: cache/x cannot be written: Input/output error\n"
    assert left() == []


def test_a_failed_and_a_lost_job_do_not_stop_the_others(fake, capsys):
    assert launch(["-m", "seed=91,93,2", "sweep.name=s"]) == FAILED
    assert [config.seed for config, *_ in fake.ran] == [91, 93, 2]
    assert {sweep for _, _, sweep, _ in fake.ran} == {"s"}
    jobs = json.loads(Path("outputs/sweeps/s/sweep.json").read_text())["jobs"]
    assert [job["status"] for job in jobs] == ["failed", "lost", "finished"]
    assert "No space left" in jobs[0]["error"]
    assert "1 failed, 1 lost, 1 finished" in capsys.readouterr().out


def test_an_interrupt_ends_the_sweep_with_its_table(fake, capsys):
    assert launch(["-m", "seed=92,2", "sweep.name=s"]) == 128 + signal.SIGTERM
    assert [config.seed for config, *_ in fake.ran] == [92]
    out = capsys.readouterr().out
    assert "1 interrupted, 1 not started" in out
    assert json.loads(Path("outputs/sweeps/s/sweep.json").read_text())["jobs"][0]["outcome"] is None
    told = "1 interrupted, 1 not started; the same command goes on:\n"
    assert out.endswith(f"{told}normlab train -m seed=92,2 sweep.name=s\n")


def test_a_signal_between_jobs_ends_the_sweep(fake, capsys):
    ran = fake.run

    def run_then_signal(config, directory, **rest):
        summary = ran(config, directory, **rest)
        os.kill(os.getpid(), signal.SIGTERM)
        return summary

    fake.run = run_then_signal
    assert launch(["-m", "seed=1,2"]) == 128 + signal.SIGTERM
    assert len(fake.ran) == 1
    assert "1 finished, 1 not started" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", [["hydra.run.dir=here"], ["-m", "seed=1,2", "sweep.name=s"]])
def test_an_interrupt_before_the_first_step_leaves_nothing(fake, capsys, words, number):
    def start(config, directory, **rest):
        (directory / "config.yaml").touch()
        (directory / "checkpoints").mkdir()
        os.kill(os.getpid(), number)
        raise AssertionError("the signal came too late")

    fake.run = start
    # What starts tests in the background may have them ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert launch(words) == 128 + number
    assert "interrupted before the first step" in capsys.readouterr().err
    assert left() == [] and not Path("here").exists() and not Path("outputs/sweeps/s").exists()


def test_an_interrupt_leaves_what_was_there_before(fake):
    Path("here/.hydra").mkdir(parents=True)
    mine = [Path("here/notes.txt"), Path("here/train.log"), Path("here/.hydra/mine.yaml")]
    for path in mine:
        path.touch()

    def start(config, directory, **rest):
        raise KeyboardInterrupt

    fake.run = start
    assert launch(["hydra.run.dir=here"]) == 128 + signal.SIGINT
    assert left() == sorted(mine)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_amid_the_import_of_torch_waits_for_its_end(number):
    code = f"""
import os, sys
from importlib.abc import MetaPathFinder
class Finder(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "normlab.run":
            os.kill(os.getpid(), {int(number)})
            import ctypes
            ctypes.pythonapi.PyErr_CheckSignals()
            print("imported", flush=True)
            sys.modules["normlab.run"] = sys
            from importlib.machinery import ModuleSpec
sys.meta_path.insert(0, Finder())
import types, normlab
normlab.__path__ = [*normlab.__path__]
from normlab.launch import launch
sys.exit(launch([]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "imported" in done.stdout
    assert done.returncode == 128 + number, done.stderr
    assert done.stderr == "interrupted before the first step\n"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_folder_that_cannot_be_made_is_refused(fake, capsys):
    assert launch(["hydra.run.dir=/proc/x"]) == REFUSED
    assert capsys.readouterr().err == "error: /proc/x cannot be made: No such file or directory\n"


def test_a_disk_that_is_full_at_the_start_leaves_nothing(fake, capsys):
    def start(config, directory, **rest):
        (directory / "config.yaml").touch()
        raise OSError(28, "No space left on device", str(directory / "config.yaml"))

    fake.run = start
    assert launch(["hydra.run.dir=here"]) == FAILED
    err = capsys.readouterr().err
    assert "here/config.yaml cannot be written: the disk is full" in err and "Traceback" not in err
    assert left() == [] and not Path("here").exists()


def test_full_errors_are_let_through_where_wanted(fake, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ValueError, match="depth"):
        launch(["depth=0"])
    with pytest.raises(OSError, match="No space"):
        launch(["seed=91"])


def test_a_fault_of_ours_in_a_check_is_not_hidden(fake):
    def broken(config, texts=None):
        raise ZeroDivisionError("ours")

    fake.check = broken
    with pytest.raises(ZeroDivisionError):
        launch([])
    assert left() == []


def test_hydra_leaves_no_trace_in_the_process(fake):
    import logging

    before = (sys.argv, os.environ.get("HYDRA_FULL_ERROR"), logging.getLogger().handlers[:], Path.cwd())
    launch(["seed=91"])
    after = (sys.argv, os.environ.get("HYDRA_FULL_ERROR"), logging.getLogger().handlers[:], Path.cwd())
    assert after == before


def test_the_config_can_be_shown(fake, capsys):
    assert launch(["--cfg", "job", "placement=post", "optimizer.lr=1e-3"]) == OK
    shown = yaml.safe_load(capsys.readouterr().out)
    expected = as_plain(compose(["placement=post", "optimizer.lr=1e-3"]))
    assert shown == expected
    assert fake.checked == [] and left() == []


def test_resume_reads_the_config_and_gives_the_exit_code(fake, capsys):
    assert launch(["hydra.run.dir=here", "norm=batchnorm", "norm.momentum=0.3"]) == OK
    assert resume(Path("here"), ["train.steps=600"]) == OK
    config, directory = fake.resumed[0]
    assert config == compose(["norm=batchnorm", "norm.momentum=0.3", "train.steps=600"])
    assert directory == Path("here")
    assert resume(Path("here"), ["seed=92"]) == 128 + signal.SIGINT
    assert resume(Path("here"), ["seed=91"]) == FAILED
    assert capsys.readouterr().err.endswith("here cannot be written: the disk is full\n")


@pytest.mark.parametrize(
    ("folder", "words", "message"),
    [
        ("nowhere", [], "nowhere holds no run: there is no such folder"),
        ("empty", [], "empty holds no run: there is no config.yaml"),
        ("sweep", [], "sweep holds no run: it is a sweep"),
        ("good", ["sed=1"], "Did you mean 'seed'?"),
        ("good", ["train.steps=0"], "train.steps: must be 1 or more"),
    ],
)
def test_what_cannot_be_resumed(fake, capsys, folder, words, message):
    for name in ("empty", "sweep", "good"):
        Path(name).mkdir()
    Path("sweep/sweep.json").touch()
    Path("good/config.yaml").write_text(yaml.safe_dump(groups.defaults()))
    assert resume(Path(folder), words) == REFUSED
    assert message in capsys.readouterr().err
    assert fake.resumed == []


@pytest.mark.parametrize(
    ("words", "code"), [(["seed=1"], 0), (["-m", "seed=1,2"], 0), (["-m", "seed=1,91"], 1), (["depth=x"], 2)]
)
def test_a_screen_that_cannot_be_written_changes_no_exit_code(fake, monkeypatch, words, code):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        monkeypatch.setattr(sys, "stderr", pipe)
        assert launch(words) == code
    assert len(fake.ran) == words.count("-m") + (code < 2)

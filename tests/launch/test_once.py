"""A command asks each thing once: what composes, checks, reads the text and claims a folder is counted."""

import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from normlab.compose.from_words import compose
from normlab.compose.schema import to_run_config
from normlab.data import load_corpus
from normlab.launch import child, launch, resume
from normlab.rundir.writer import check_free
from normlab.training.checks import check_model

TINY = [
    "train.steps=2",
    "depth=1",
    "model.width=8",
    "model.heads=1",
    "model.context=8",
    "train.batch_size=2",
    "data=markov",
    "train.threads=1",
    "tracker.mode=disabled",
    "train.eval_every=2",
]


@contextmanager
def counted(*functions):
    """Calls of each function by its name, whatever module calls it."""
    codes = {each.__code__: each.__name__ for each in functions}
    calls = Counter(dict.fromkeys(codes.values(), 0))

    def note(frame, event, argument):
        if event == "call" and frame.f_code in codes:
            lock = getattr(frame.f_locals.get("self"), "lock_file", "/.lock")
            calls[codes[frame.f_code]] += lock.endswith("/.lock")  # the cache of texts has others

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(before)


@pytest.fixture
def asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    acquire = FileLock._acquire
    composes = ConfigLoaderImpl.load_configuration
    with counted(composes, to_run_config, check_model, load_corpus, check_free, acquire) as calls:
        yield calls


def test_a_run_is_composed_checked_read_and_claimed_once(asked):
    assert launch([*TINY, "hydra.run.dir=run"]) == 0
    assert asked["load_configuration"] == 2  # Hydra learns the command's mode from the first
    assert (asked["to_run_config"], asked["check_model"], asked["load_corpus"]) == (1, 1, 1)
    # The first looks before Hydra makes the folder, the second under the lock.
    assert (asked["check_free"], asked["_acquire"]) == (2, 1)


def test_a_run_that_goes_on_is_checked_read_and_claimed_once(asked):
    assert launch([*TINY, "hydra.run.dir=run"]) == 0
    asked.clear()
    assert resume(Path("run"), ["train.steps=4"]) == 0
    assert (asked["to_run_config"], asked["check_model"], asked["load_corpus"]) == (1, 1, 1)
    assert asked["_acquire"] == 1


def test_a_sweep_checks_each_job_once_before_it_and_reads_a_text_once(asked, monkeypatch):
    monkeypatch.setattr(child, "apart", lambda task: 0)  # what is asked before a job's process starts
    assert launch(["-m", *TINY, "seed=1,2,3", "sweep.name=s"]) == 1
    # The command's own, which Hydra composes to learn its mode and then again, and each job's.
    assert asked["load_configuration"] == 2 + 3
    assert (asked["to_run_config"], asked["check_model"], asked["load_corpus"]) == (3, 3, 1)


def test_a_job_of_a_sweep_is_checked_read_and_claimed_once(asked, tmp_path):
    task = child.Task(config=compose(TINY), directory=tmp_path / "job", sweep="s", plain=True, environment={})
    asked.clear()
    assert child.attempt(task) == 0
    assert asked == {"check_model": 1, "load_corpus": 1, "check_free": 1, "_acquire": 1}


#: What a run without a tracker has no use for: statistics, tables, figures, pages, the library of texts.
UNWANTED = ("scipy", "statsmodels", "pandas", "matplotlib", "PIL", "wandb", "jinja2", "datasets", "pyarrow")


def test_a_run_imports_nothing_that_it_does_not_need(tmp_path):
    code = (
        "import sys; from normlab.launch import launch; code = launch(sys.argv[1:]);"
        f"sys.exit(code or ', '.join(name for name in {UNWANTED} if name in sys.modules) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *TINY, "hydra.run.dir=run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/summary.json").exists()

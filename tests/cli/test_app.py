import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from normlab import __version__
from normlab.catalogue import groups
from normlab.cli import pages
from normlab.cli.app import app, main

_HEAVY = ("torch", "wandb", "datasets", "tokenizers", "matplotlib")


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")

    def invoke(*words):
        return CliRunner().invoke(app, words, prog_name="normlab")

    return invoke


def test_the_main_page_teaches(run):
    for words in ([], ["--help"], ["-h"]):
        done = run(*words)
        assert done.exit_code == 0
        assert max(map(len, done.stdout.splitlines())) <= 80
        assert "normlab train -m placement=post,pre warmup=0,100" in done.stdout
        commands = (
            "train",
            "describe",
            "probe",
            "resume",
            "replay",
            "compare",
            "runs",
            "list",
            "--version",
            "--install-completion",
        )
        for command in commands:
            assert command in done.stdout


def test_the_train_page_teaches(run):
    for words in (["--help"], ["-h"], ["-m", "seed=1", "--help"]):
        done = run("train", *words)
        assert done.exit_code == 0
        assert max(map(len, done.stdout.splitlines())) <= 80
        knobs = ("norm=layernorm", "placement=pre", "activation=gelu", "depth=12", "warmup=0", "seed=0")
        assert all(knob in done.stdout for knob in knobs)
        assert all(f"{group}=" in done.stdout for group in groups.GROUPS)
        assert "normlab list norms" in done.stdout and "--hydra-help" in done.stdout


def test_every_example_on_the_pages_composes():
    import shlex

    from normlab.compose.from_words import compose

    panels = (*pages.main_page().panels, *pages.train_page().panels)
    for line, _ in [line for panel in panels if panel.stacked for line in panel.lines]:
        words = shlex.split(line)
        assert words[0] == "normlab" and words[1] in ("train", "list", "describe")
        if words[1] != "list":
            single = [word.split(",")[0].replace("range(3)", "0") for word in words[2:] if word != "-m"]
            compose(single)


def test_the_sweeps_on_the_train_page_can_be_trained():
    from fnmatch import fnmatchcase

    from normlab.compose.from_words import compose
    from normlab.run import check

    words = [line.strip("'") for line, _ in pages.train_page().panels[3].lines if "glob(" in line]
    assert words
    for group, _, pattern in (word.removesuffix(")").partition("=glob(") for word in words):
        names = [name for name in groups.options(group) if fnmatchcase(name, pattern)]
        assert len(names) > 1
        for name in names:
            check(compose([f"{group}={name}", "data=markov", "train.device=cpu"]))


def test_every_setting_that_the_train_page_names_is_there():
    for line, text in pages.train_page().panels[2].lines:
        group = line.partition("=")[0]
        for key in text.split(", "):
            assert f"{group}.{key}" in groups.known_keys()


def test_other_commands_have_help(run):
    assert "normlab resume outputs/runs/2026-... train.steps=600" in run("resume", "--help").stdout
    helped = [run("sweep", "--help").stdout, run("sweep", "-h").stdout, run("sweep").stdout]
    assert "normlab sweep status outputs/sweeps/mine" in helped[0] and len(set(helped)) == 1
    assert "--json" in run("list", "-h").stdout


def test_version(run):
    assert run("--version").stdout == run("train", "--version").stdout == f"normlab {__version__}\n"


def test_words_that_are_no_command_exit_2(run):
    assert run("trian").exit_code == 2
    assert run("list", "norsm").exit_code == 2
    assert run("resume").exit_code == 2
    done = run("train", "--mutlirun")
    assert done.exit_code == 2 and "Did you mean '--multirun'" in done.stderr


def test_flags_reach_hydra_in_any_order(run):
    done = run("train", "placement=post", "--cfg", "job", "-p", "placement")
    assert done.exit_code == 0 and "norm_post: true" in done.stdout
    assert run("train", "-c", "job", "--package", "placement", "placement=post").stdout == done.stdout
    assert "conf" in run("train", "-i", "searchpath").stdout


def test_a_users_folder_can_be_given(run, tmp_path):
    (tmp_path / "placement").mkdir()
    (tmp_path / "placement" / "mine.yaml").write_text("name: mine\n")
    for flag in (["--config-dir", str(tmp_path)], ["-cd", str(tmp_path)], [f"--config-dir={tmp_path}"]):
        done = run("train", *flag, "placement=mine", "--cfg", "job", "-p", "placement.name")
        assert done.stdout == "mine\n"


def test_two_users_folders_are_refused(run, tmp_path):
    for flag in ("--config-dir", "-cd"):
        done = run("train", flag, str(tmp_path), flag, str(tmp_path), "--cfg", "job")
        assert done.exit_code == 2 and "--config-dir can be given once" in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("words", [["list", "norms", "--json"], ["list"], ["--version"]])
def test_output_that_cannot_be_written_is_told_in_one_line(words):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "normlab", *words], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.stderr == "error: the output cannot be written: No space left on device\n"
    assert done.returncode == 1


def loaded_after(*words):
    """The modules that a command has loaded, in a process of its own."""
    code = f"""
import json, sys
from normlab.cli.app import app, main
try:
    app({list(words)!r}, prog_name="normlab")
except SystemExit as stop:
    print(json.dumps([stop.code or 0, sorted(name for name in sys.modules if "." not in name)]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    return set(modules)


@pytest.mark.parametrize(
    "words", [["--help"], ["train", "--help"], ["describe", "--help"], ["list", "norms"], ["list"]]
)
def test_help_and_lists_load_nothing_heavy(words):
    assert loaded_after(*words).isdisjoint({*_HEAVY, "hydra", "omegaconf"})


def test_showing_a_config_loads_no_torch():
    assert loaded_after("train", "--cfg", "job").isdisjoint(_HEAVY)


def test_completion_loads_no_torch():
    code = (
        "import sys; from normlab.cli.complete import complete;"
        "complete([], 'norm='); complete([], 'hydra/launcher=');"
        f"assert not set(sys.modules) & {set(_HEAVY)!r}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("words", [["list"], ["list", "--json"], ["--help"], ["train", "--cfg", "job"]])
def test_a_reader_that_has_left_is_no_error(words):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "normlab", *words], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert done.stderr == ""


@pytest.fixture
def stuck(small, tmp_path):
    """A run that learns nothing, and is called so after 20 steps."""
    from normlab.run import run as train

    plateau = {"window": 10, "grace": 5, "tolerance": 1.0, "long_window": 20}
    config = small({"train.steps": 20, "optimizer.lr": 1e-7, "divergence.plateau": plateau})
    train(config, tmp_path / "stuck", plain=True)
    return tmp_path / "stuck"


def test_replay_prints_events_beside_the_record(run, stuck):
    done = run("replay", str(stuck))
    assert done.exit_code == 0
    assert "20 rows, steps 0 to 19" in done.stdout
    assert "1 event; beside the record: 1 same" in done.stdout
    assert "outcome: stuck (recorded: stuck)" in done.stdout and "--write" not in done.stdout
    done = run("replay", str(stuck), "divergence.plateau.grace=50")
    assert "divergence.plateau.grace=50 (the run had 5)" in done.stdout
    assert "gone" in done.stdout and "outcome: untrained (recorded: stuck)" in done.stdout
    assert "nothing was written" in done.stdout
    written = run("replay", str(stuck), "divergence.plateau.grace=50", "--write")
    assert "before-replay-1" in written.stdout.replace("\n", "")
    assert json.loads((stuck / "summary.json").read_text())["outcome"] == "untrained"
    assert (stuck / "events.jsonl").read_bytes() == b""


def test_replay_as_json(run, stuck):
    done = run("replay", "--json", str(stuck), "divergence.plateau.grace=50")
    record = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(name))
    assert record["thresholds"] == {"divergence.plateau.grace": {"was": 5, "is": 50}}
    assert [(event["mark"], event["kind"]) for event in record["events"]] == [("gone", "plateau")]
    assert (record["rows"], record["outcome"], record["recorded_outcome"]) == (20, "untrained", "stuck")
    assert record["written"] is None


def test_replay_refuses_in_one_line(run, stuck, tmp_path):
    for words, text in (
        ([str(tmp_path / "none")], "there is no such folder"),
        ([str(stuck), "spike.z=3"], "Did you mean 'divergence.spike.z'?"),
        ([str(stuck), "divergence.spike.z=-3"], "must be a finite number above 0"),
    ):
        done = run("replay", *words)
        assert done.exit_code == 2 and done.stdout == ""
        assert done.stderr.startswith("error: ") and text in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compar", "x"], "there is no command compar. Did you mean 'compare'? See normlab --help"),
        (["sweep", "statu"], "there is no command statu. Did you mean 'status'? See normlab sweep --help"),
        (["compare", "--margn", "1"], "there is no option --margn. Did you mean '--margin'"),
        (["train", "--config_dir", "x"], "there is no option --config_dir. Did you mean '--config-dir' or"),
        (["compare", "--margin"], "Option '--margin' requires an argument"),
        (["show"], "Missing argument 'RUN_DIR'"),
    ],
)
def test_words_that_no_command_takes_are_answered_in_one_line(monkeypatch, capsys, words, said):
    monkeypatch.setattr(sys, "argv", ["normlab", *words])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    assert end.value.code == 2 and out == ""
    assert err.startswith(f"error: {said}") and len(err.splitlines()) == 1 and "--help" in err

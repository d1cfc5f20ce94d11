"""`normlab describe` as it is typed."""

import json
import os
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from normlab import __version__
from normlab.catalogue import groups
from normlab.cli.app import app
from normlab.cli.complete import complete
from normlab.cli.pages import describe_page

SMALL = ["model.width=16", "model.heads=2", "depth=2"]


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")

    def invoke(*words):
        return CliRunner().invoke(app, ["describe", *words], prog_name="normlab")

    return invoke


def test_one_config_is_described(run):
    done = run("placement=deepnorm", "depth=24")
    assert done.exit_code == 0 and done.stderr == ""
    assert "x' = N(2.632 * x + A(x))" in done.stdout and "deepnorm, layernorm, gelu: depth 24" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_page_on_configs_shows_what_is_printed(run):
    readme = (groups.conf_dir() / "README.md").read_text()
    block = readme.partition("says, among other things:\n\n```text\n")[2].partition("```")[0]
    printed = [line.rstrip() for line in run("placement=deepnorm", "depth=24").stdout.splitlines()]
    assert len(block.splitlines()) > 20
    assert [line for line in block.splitlines() if line not in printed] == []


def test_two_are_compared(run):
    done = run("preset=gpt2", *SMALL, "--against", "placement=post", " ".join(SMALL), "--json")
    assert done.exit_code == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["this"]["knobs"]["placement"] == "pre"
    other = record["against"]["knobs"]
    assert (other["placement"], other["depth"], other["width"]) == ("post", 2, 16)
    names = [pair["name"] for pair in record["differs"]["settings"]]
    assert "init.std" in names and "depth" not in names


def test_against_may_come_first(run):
    record = json.loads(run("--json", "--against", "depth=2", *SMALL[:2]).stdout)
    assert record["this"]["knobs"]["depth"] == 12 and record["against"]["knobs"]["width"] == 16


def test_the_vocabulary_can_be_given(run):
    record = json.loads(run(*SMALL, "--vocab", "1000", "--json").stdout)
    assert record["vocabulary"]["tokens"] == 1000 and record["parameters"]["embedding"] == 16 * 1000


def test_a_users_own_placement_has_its_equation(run, tmp_path):
    (tmp_path / "placement").mkdir()
    (tmp_path / "placement" / "halved.yaml").write_text(
        "name: halved\nnorm_in: true\nfinal_norm: true\nbranch_scale: {value: '(2*depth)**-0.5'}\n"
    )
    for words in (
        ["--config-dir", str(tmp_path), "placement=halved"],
        ["placement=halved", "-cd", str(tmp_path)],
    ):
        done = run(*words, *SMALL)
        assert "x' = x + 0.5 * A(N(x))" in done.stdout, done.stderr
    assert "no published equation" in done.stdout


@pytest.mark.parametrize("words", [["placment=post"], ["norm.eps=-1"]])
def test_what_train_refuses_is_refused_in_the_same_words(words, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*words)
    train = CliRunner().invoke(app, ["train", *words], prog_name="normlab")
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", train.stderr)
    assert train.exit_code == 2 and train.stderr.startswith("error: ")


def test_a_bad_word_of_the_other_config_is_refused_too(run):
    done = run("depth=2", "--against", "placment=post")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: placment: there is no such setting. Did you mean 'placement'")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["placement=post", "--against"], "--against needs the other config"),
        (["--jsn"], "Did you mean '--json'"),
        (["placement"], "'placement' is not KEY=VALUE"),
        (["--config-dir", "/nowhere", "depth=2"], "--config-dir /nowhere: there is no such folder"),
        (["norm=groupnorm_token", "norm.groups=5"], "norm.groups: 5 does not divide"),
        (["data.tokenizer=bites"], "data.tokenizer: 'bites' is not one of"),
        (["init.gains=gpt3"], "init.gains: 'gpt3' is not one of placement, none, gpt2"),
        (["--vocab", "0"], "--vocab needs a number of tokens"),
    ],
)
def test_bad_words_exit_2_and_print_nothing(words, problem, run):
    done = run(*words)
    assert done.exit_code == 2 and done.stdout == "" and problem in done.stderr
    assert re.fullmatch(r"error: .*\n", done.stderr)


def test_the_help_page_teaches(run):
    for words in (["--help"], ["depth=2", "-h"], ["depth=2", "--against", "--help"]):
        done = run(*words)
        assert done.exit_code == 0 and max(map(len, done.stdout.splitlines())) <= 80
        for word in ("--against WORDS", "--json", "--vocab N", "--config-dir DIR", "normlab describe"):
            assert word in done.stdout
    assert run("depth=2", "--version").stdout == f"normlab {__version__}\n"


def test_every_example_on_its_page_can_be_described():
    import shlex

    from normlab.compose.from_words import compose
    from normlab.describe.words import parse

    for line, _ in describe_page().panels[0].lines:
        command, what, *words = shlex.split(line)
        assert (command, what) == ("normlab", "describe")
        request = parse(words)
        for side in (request.overrides, request.against):
            assert side is None or compose(side)


def test_no_text_is_read_and_nothing_is_left(run, tmp_path, monkeypatch):
    """No loader, tracker or plot is imported, and the current folder stays empty."""
    code = (
        "import sys; from normlab.describe import print_description; print_description(['data=wikitext-2']);"
        "found = {'datasets', 'wandb', 'matplotlib', 'tokenizers', 'typer'} & sys.modules.keys();"
        "sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_words_after_against_are_completed_by_themselves():
    words = ["optimizer=sgd", "--against", "norm=batchnorm"]
    assert complete(words, "norm.m") == ["norm.momentum=", "norm.momentum=0.1"]
    assert complete(words, "optimizer.mom") == []
    assert complete(["norm=batchnorm", "--against=seed=1"], "norm.m") == []

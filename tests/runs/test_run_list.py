import json
import os

import pytest
from typer.testing import CliRunner

from normlab.cli.app import app


@pytest.fixture
def listed(monkeypatch):
    """`listed(folder, "outcome=stuck")`: names of the runs in the order of the list."""

    def names(*words):
        done = CliRunner().invoke(app, ["runs", *map(str, words), "--json"], prog_name="normlab")
        assert done.exit_code == 0, done.stderr
        return [run["run"].rpartition("/")[2] for run in json.loads(done.stdout)]

    return names


@pytest.fixture
def folder(tmp_path, write):
    """Three runs, the first one the newest."""
    event = {"kind": "plateau", "step": 41}
    stuck = {"outcome": "stuck", "first_event": event}
    paths = [
        write(tmp_path / "a", 3.1, placement="post", warmup=0, summary=stuck),
        write(tmp_path / "b", 2.5, placement="pre", optimizer__lr=1e-3),
        write(tmp_path / "c", 2.5, placement="sandwich", summary={"status": "running", "outcome": None}),
    ]
    for age, path in enumerate(paths):
        for file in path.iterdir():
            os.utime(file, (1_700_000_000 - 3600 * age,) * 2)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], "abc"),
        (["outcome=stuck"], "a"),
        (["outcome=stuck,running"], "ac"),
        (["status=finished", "placement=p*"], "ab"),
        (["optimizer.lr=1e-3"], "b"),
        (["placement=deepnorm"], ""),
    ],
)
def test_runs_are_listed_newest_first_and_chosen_by_words(folder, listed, words, names):
    assert listed(folder, *words) == list(names)


def test_the_page_has_figures_and_a_path_to_copy(folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = CliRunner().invoke(app, ["runs", str(folder)], prog_name="normlab")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["changed", "outcome", "steps", "final", "val", "first", "event"]
    assert lines[1].split()[2:] == ["stuck", "30", "3.100", "plateau", "@", "41"]
    assert lines[2].strip() == str(folder / "a")
    assert "running" in lines[5]


def test_none_is_said(folder):
    done = CliRunner().invoke(app, ["runs", str(folder), "placement=deepnorm"], prog_name="normlab")
    assert (done.exit_code, done.stdout) == (0, "none of 3 runs is placement=deepnorm\n")


@pytest.mark.parametrize("word", ["outcome=", "placement=pre,", "=pre", "pre=,"])
def test_a_word_without_a_value_is_refused(folder, word):
    done = CliRunner().invoke(app, ["runs", str(folder), word], prog_name="normlab")
    assert done.exit_code == 2 and done.stdout == "" and done.stderr.startswith(f"error: {word}: ")


def test_outputs_is_where_they_are_looked_for(folder, listed, monkeypatch, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "outputs").symlink_to(folder)
    monkeypatch.chdir(tmp_path / "x")
    assert listed("outcome=stuck") == ["a"]

"""`normlab probe` from the command line."""

import json

import pytest
from typer.testing import CliRunner

from normlab.cli import pages
from normlab.cli.app import app
from normlab.cli.complete import probe_words
from normlab.probe.settings import WORDS

QUICK = ["depth=5,6", "seeds=2", "model.width=16", "model.heads=2", "model.context=8", "train.batch_size=2"]


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.chdir(tmp_path)

    def invoke(*words):
        return CliRunner().invoke(app, ["probe", *words], prog_name="normlab")

    return invoke


def test_json_is_all_that_is_printed_and_the_folder_is_named_by_time_and_placements(run, tmp_path):
    done = run("placement=post,pre", *QUICK, "--json")
    assert done.exit_code == 0
    record = json.loads(done.stdout)
    assert {row["placement"] for row in record["rows"]} == {"post", "pre"} and len(record["rows"]) == 8
    (folder,) = (tmp_path / "outputs" / "probes").iterdir()
    assert folder.name.endswith("-post-pre") and json.loads((folder / "probe.json").read_text()) == record


def test_tables_are_printed_and_a_folder_can_be_chosen(run, tmp_path):
    done = run(*QUICK[1:], "depth=3", "placement=keel", "-o", str(tmp_path / "mine"))
    assert done.exit_code == 0 and "noise_amplification" in done.stdout
    assert "one depth: a slope needs two or more" in " ".join(done.stdout.split())
    assert (tmp_path / "mine" / "probe.png").exists() and not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["depht=4"], "error: depht: there is no such setting. Did you mean 'depth'?"),
        (["seeds=0"], "error: seeds: must be 1 or more, got 0"),
        (["norm=batchnorm", "depth=2"], "error: norm: batchnorm lets predictions see the future"),
        (["depth"], "error: 'depth' is not KEY=VALUE"),
        (["--config-dir", "nowhere"], "there is no such folder"),
        (["-m", "depth=2"], "No such option"),
        (["data=text", "data.path=none.txt", "depth=2"], "none.txt"),
    ],
)
def test_bad_input_exits_2_with_one_message_and_writes_nothing(run, tmp_path, words, message):
    done = run(*words)
    assert done.exit_code == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == "" and not list(tmp_path.iterdir())


def test_the_page_teaches_its_words(run):
    done = run("--help")
    assert done.exit_code == 0 and max(map(len, done.stdout.splitlines())) <= 80
    assert all(f"{word}=" in done.stdout for word in WORDS) and "--json" in done.stdout
    assert "probe" in [line.split()[0] for line, _ in pages.main_page().panels[1].lines]


def test_its_words_are_completed():
    assert probe_words("se") == ["seeds="] and probe_words("tokens=t") == ["tokens=text"]
    assert probe_words("seeds=4") == [] and probe_words("zzz") == []

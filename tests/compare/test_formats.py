"""Each form of a comparison, read back."""

import csv
import io
import json
import re

import pytest
from typer.testing import CliRunner

from normlab.cli.app import app

HOSTILE = "a|b_$%&#{x}~^<i>*`\x1b[31m\\[q]\nz"


@pytest.fixture
def run(monkeypatch):
    """`run("compare", folder, "--json")` at 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], prog_name="normlab")


@pytest.fixture
def hostile(tmp_path, write):
    """A sweep whose text's path is full of what other notations take for their own."""
    for seed in range(2):
        write(tmp_path / f"a{seed}", 2.5, seed=seed, model__positions=HOSTILE)
        write(tmp_path / f"b{seed}", 2.6 + seed / 100, seed=seed)
    return tmp_path


def strict(text):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_json(sweep, run):
    done = run("compare", sweep, "--json", "--target", "1.0")
    found = strict(done.stdout)
    assert done.exit_code == 0 and done.stderr == ""
    names = ["loss", "outcomes", "training", "differences", "settings", "runs"]
    assert [name for name in names if found[name]] == names
    assert found["training"][0]["tokens_to_target"]["value"] == "Infinity"
    assert len(found["runs"]) == 15


def test_csv_has_a_line_a_run(sweep, run, losses):
    lines = list(csv.DictReader(io.StringIO(run("compare", sweep, "--csv").stdout)))
    assert len(lines) == 15
    read = [float(line["val/final"]) for line in lines if line["placement"] == "post"]
    assert read == list(losses["post"])


def test_csv_of_a_table_has_an_estimates_parts(sweep, run):
    lines = list(csv.DictReader(io.StringIO(run("compare", sweep, "--csv", "--table", "loss").stdout)))
    assert [line["placement"] for line in lines] == ["pre", "post", "deepnorm"]
    low, value, high = (float(lines[0][f"val/final{part}"]) for part in (".low", "", ".high"))
    assert low < value < high and lines[0]["val/final.n"] == "5"


def test_markdown(sweep, run):
    text = run("compare", sweep, "--markdown").stdout
    tables = [part.splitlines() for part in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)]
    assert len(tables) == text.count("### ") == 6
    for lines in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    cells = [cell.strip() for cell in tables[0][2].strip("|").split("|")]
    assert cells[:3] == ["pre", "5", "2.510 ± 0.020"]


def test_latex(sweep, run):
    text = run("compare", sweep, "--latex").stdout
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 6
    for form, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert rows and {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(form) - 1}
    assert r"pre & 5 & 2.510 $\pm$ 0.020 &" in text


def test_hostile_words_stay_data(hostile, run):
    groups = strict(run("compare", hostile, "--json").stdout)["loss"]
    assert HOSTILE in [group["model.positions"] for group in groups]
    lines = list(csv.DictReader(io.StringIO(run("compare", hostile, "--csv").stdout)))
    assert HOSTILE in {line["model.positions"] for line in lines} and len(lines) == 4
    markdown = run("compare", hostile, "--markdown", "--table", "loss").stdout
    assert r"a\|b\_$%\&\#{x}\~^\<i\>\*\`?\[31m\\\[q\]?z" in markdown
    latex = run("compare", hostile, "--latex", "--table", "loss").stdout
    assert r"a\textbar{}b\_\$\%\&\#\{x\}\textasciitilde{}\textasciicircum{}$<$i$>$*`?{[}31m" in latex
    page = run("compare", hostile, "--all").stdout
    assert "\x1b" not in page and "<i>" in page


@pytest.mark.parametrize("words", [[], ["--target", "5"]])
@pytest.mark.parametrize("knobs", range(1, 7))
def test_the_page_fits_80_columns(tmp_path, write, run, knobs, words):
    for seed in range(2):
        for n in range(2):
            changes = {
                "placement": ["sandwich", "deepnorm"][n],
                "warmup": [100, 1000][n],
                "depth": [12, 24][n],
                "optimizer__lr": [2.5e-3, 1e-2][n],
                "norm": ["layernorm", "rmsnorm"][n],
                "activation": ["gelu", "swiglu"][n],
            }
            event = {"kind": "massive_activation", "step": 1234, "layers": ["layer_11"]}
            more = {"outcome": "nonfinite", "first_event": event}
            kept = dict(list(changes.items())[:knobs])
            write(tmp_path / f"{n}-{seed}", "NaN", seed=seed, summary=more, **kept)
    done = run("compare", tmp_path, *words)
    assert done.exit_code == 0 and max(map(len, done.stdout.splitlines())) <= 80
    assert "5.500" in done.stdout and "2 nonfinite" in done.stdout


def test_what_does_not_fit_is_named_and_all_shows_it(sweep, run):
    short, whole = run("compare", sweep).stdout, run("compare", sweep, "--all").stdout
    assert "final train" in re.search(r"not shown: (.*)", short)[1]
    assert "not shown" not in whole and "final train" in whole and str(sweep / "pre-0") in whole
    # The legend says what the columns are that are there, and of no other.
    assert "not shown: d_z" in short and "d_z: mean over" not in short and "p: no difference" in short
    assert "d_z: mean over" in whole


def test_a_capped_mean_is_starred(tmp_path, write, run):
    for seed, loss in enumerate((2.5, "NaN")):
        write(tmp_path / f"{seed}", loss, seed=seed, summary={"outcome": "stable" if seed else "nonfinite"})
    text = run("compare", tmp_path).stdout
    assert re.search(r"4\.000 ± [\d.]+\*", text) and "Wortsman" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compare"], "which runs?"),
        (["compare", "nowhere"], "there is no such folder"),
        (["compare", "SWEEP", "--json", "--csv"], "--json and --csv: choose one"),
        (["compare", "SWEEP", "--table", "lose"], "there are loss, outcomes"),
        (["compare", "SWEEP", "--metric", "x"], "--metric x: is not one of"),
        (["runs", "nowhere"], "there is no such folder"),
        (["runs", "SWEEP", "outcoem=stable"], "Did you mean 'outcome'"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(sweep, run, words, said):
    done = run(*[sweep if word == "SWEEP" else word for word in words])
    assert done.exit_code == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and said in done.stderr


def test_the_pages_teach(run):
    done = run("compare", "--help")
    assert done.exit_code == 0 and max(map(len, done.stdout.splitlines())) <= 80
    for flag in (
        "--baseline",
        "--metric",
        "--margin",
        "--target",
        "--csv",
        "--latex",
        "--markdown",
        "--force",
    ):
        assert flag in done.stdout
    assert "outcome=stuck" in run("runs", "--help").stdout


def test_a_setting_of_many_entries_is_shown_by_its_beginning(write, tmp_path):
    write(tmp_path / "a", model__positions="x," * 15_000)
    write(tmp_path / "b")
    done = CliRunner().invoke(app, ["compare", str(tmp_path), "--all"], prog_name="normlab")
    assert done.exit_code == 0 and "x,x,x" in done.stdout and len(done.stdout) < 15_000


def test_the_folder_of_a_run_is_shown_whole_however_long(write, tmp_path):
    path = write(tmp_path / ("x" * 120))
    done = CliRunner().invoke(app, ["compare", str(path), "--all"], prog_name="normlab")
    assert str(path) in done.stdout

"""`normlab plot` as it is typed."""

import json
import math

import pytest
from typer.testing import CliRunner

from normlab.cli.app import app
from normlab.measure.families import FAMILIES
from normlab.plot.kinds import KINDS

PLACES = ("embedding", "layer_00", "layer_01", "final_norm", "head")


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.chdir(tmp_path)

    def invoke(*words):
        return CliRunner().invoke(app, [*map(str, words)], prog_name="normlab")

    return invoke


@pytest.fixture
def measured(write):
    """`measured(directory, ...)`: as `write`, with gradients, stream and updates by layer."""

    def make(directory, loss=2.5, **changes):
        write(directory, loss, **changes)
        rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
        for row in rows:
            row |= {f"grad_norm/{place}": 0.1 for place in PLACES}
            row |= {f"stream/rms/layer_{layer:02d}": 1.0 for layer in (0, 1)}
            row |= {f"stream/variance/layer_{layer:02d}": 1.0 for layer in (0, 1)}
            row |= {f"update/ratio/{place}": 1e-3 for place in PLACES}
        (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return directory

    return make


@pytest.fixture
def lab(tmp_path, measured):
    """Two placements at two rates with two seeds."""
    for placement in ("pre", "post"):
        for rate in (1e-3, 1e-2):
            for seed in (0, 1):
                directory = tmp_path / "lab" / f"{placement}-{rate}-{seed}"
                measured(directory, seed=seed, placement=placement, optimizer__lr=rate)
    return tmp_path / "lab"


def test_without_a_kind_every_figure_that_fits_is_made(run, lab):
    done = run("plot", lab)
    assert done.exit_code == 0, done.output
    heats = ["heat-grad_norm", "heat-stream_rms", "heat-update_ratio"]
    names = ["loss", "profile", "growth", *heats, "outcome", "sensitivity"]
    assert [line.rpartition("/")[2] for line in done.stdout.split()] == [f"{name}.png" for name in names]
    made = {path.stem for path in (lab / "figures").iterdir()}
    assert made == set(names)
    assert "not for these: probe" in done.stderr
    # The figures are no runs: the same again, and the comparison, see what they saw.
    assert run("plot", lab).stdout == done.stdout
    assert run("compare", lab).exit_code == 0


def test_one_kind_into_one_file_and_several_formats_into_a_folder(run, lab, tmp_path):
    done = run("plot", lab, "loss", "-o", tmp_path / "paper" / "curves.pdf")
    assert done.exit_code == 0 and (tmp_path / "paper" / "curves.pdf").read_bytes().startswith(b"%PDF")
    done = run("plot", lab, "outcome", "loss", "--format", "svg,png", "-o", tmp_path / "out")
    assert done.exit_code == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"outcome.svg", "outcome.png", "loss.svg", "loss.png"}


def test_several_paths_are_drawn_together_under_outputs(run, lab, tmp_path):
    done = run("plot", lab / "pre-0.001-0", lab / "post-0.001-0", "loss")
    assert done.stdout.strip() == "outputs/figures/loss.png"
    svg = run("plot", lab / "pre-0.001-0", lab / "post-0.001-0", "loss", "--format", "svg")
    assert svg.exit_code == 0 and (tmp_path / "outputs" / "figures" / "loss.svg").is_file()


def refused(done):
    assert done.exit_code == 2 and done.stdout == "", done.output
    return " ".join(done.stderr.split())


def test_bad_words_are_refused_with_what_to_type(run, lab):
    assert "which runs?" in refused(run("plot"))
    assert "which runs?" in refused(run("plot", "loss"))
    assert "'loss'" in refused(run("plot", lab, "lss"))
    assert "there is no such folder" in refused(run("plot", lab / "nothing"))
    assert "'png'" in refused(run("plot", lab, "--format", "pn"))
    assert "whole numbers" in refused(run("plot", lab, "profile", "--steps", "a"))
    assert "steps count from 0" in refused(run("plot", lab, "profile", "--steps=-3"))
    assert "the last step is 29" in refused(run("plot", lab, "profile", "--steps", "5000"))
    assert "'stream/rms'" in refused(run("plot", lab, "growth", "--metric", "stream/rm"))
    assert "what differs: placement, optimizer.lr" in refused(run("plot", lab, "outcome", "--over", "depth"))
    assert "'range'" in refused(run("plot", lab, "--band", "rang"))
    assert "normlab probe makes one" in refused(run("plot", lab, "probe"))
    assert not (lab / "figures").exists()


def test_a_folder_without_runs_is_refused(run, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no run" in refused(run("plot", tmp_path / "empty"))
    (tmp_path / "file.txt").write_text("x")
    assert "is a file" in refused(run("plot", tmp_path / "file.txt", "loss"))


def test_nothing_is_written_where_a_file_is_in_the_way(run, lab):
    (lab / "figures").mkdir()
    (lab / "figures" / "outcome.png").write_text("my notes")
    assert "is no PNG image" in refused(run("plot", lab))
    assert [path.name for path in (lab / "figures").iterdir()] == ["outcome.png"]
    assert (lab / "figures" / "outcome.png").read_text() == "my notes"


def test_a_metric_that_is_missing_is_named_with_what_would_measure_it(run, write, tmp_path):
    write(tmp_path / "bare")
    for kind, setting in (("profile", "measure.grad_norm=1"), ("growth", "measure.stream=20")):
        assert f"{setting} would have measured it" in refused(run("plot", tmp_path / "bare", kind))
    why = refused(run("plot", tmp_path / "bare", "heat", "--metric", "attention/entropy"))
    assert "no run has attention/entropy by layer: measure.attention=20" in why
    assert run("plot", tmp_path / "bare").stdout.split() == [f"{tmp_path}/bare/figures/loss.png"]


def test_every_family_names_a_setting_that_there_is():
    import dataclasses

    from normlab.config import MeasureConfig

    known = {field.name for field in dataclasses.fields(MeasureConfig)}
    for family in FAMILIES.values():
        key, _, value = family.measure.partition("=")
        assert key.removeprefix("measure.") in known
        MeasureConfig(**{key.removeprefix("measure."): int(value) if value.isdigit() else value})


def test_runs_cut_short_are_drawn_as_far_as_they_go(run, measured, tmp_path):
    measured(tmp_path / "lab" / "whole", depth=4)
    cut = measured(tmp_path / "lab" / "cut", depth=8, summary={"status": "running"})
    rows = (cut / "metrics.jsonl").read_bytes()
    (cut / "metrics.jsonl").write_bytes(rows[: len(rows) // 2])
    (measured(tmp_path / "lab" / "torn") / "summary.json").write_text("{")
    lost = measured(tmp_path / "lab" / "lost")
    (lost / "config.yaml").unlink()
    empty = measured(tmp_path / "lab" / "empty")
    (empty / "metrics.jsonl").write_text("")
    done = run("plot", tmp_path / "lab", "loss", "profile", "heat", "outcome")
    assert done.exit_code == 0, done.output
    words = " ".join(done.stderr.split())
    assert "running; drawn as far as it goes" in words and "2 runs without rows or config" in words
    assert run("plot", lost, "loss").exit_code == 0
    assert "no run has a logged step yet" in refused(run("plot", empty, "loss"))


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity", 1e308, -1e308])
def test_a_run_that_diverged_is_drawn(run, measured, tmp_path, bad):
    directory = measured(tmp_path / "lab" / "bad", "NaN", summary={"outcome": "nonfinite"})
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    for row in rows[9:]:
        row |= {key: bad for key in row if key.partition("/")[0] in ("loss", "grad_norm", "stream", "update")}
    rows[8] |= {"loss": 1e30, "grad_norm/layer_00": 1e38}
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run("plot", directory).exit_code == 0
    measured(tmp_path / "lab" / "good", placement="post")
    assert run("plot", tmp_path / "lab").exit_code == 0


def test_a_run_of_a_single_step_is_drawn(run, measured, tmp_path):
    done = run("plot", measured(tmp_path / "one", steps=1, train__steps=1))
    assert done.exit_code == 0 and len(done.stdout.split()) == 6


def test_names_that_mean_something_elsewhere_are_taken_literally(run, measured, tmp_path):
    directory = measured(tmp_path / "[red]$x_{$[bold]", data__path="$a^$[/red]")
    measured(tmp_path / "[red]$x_{$[bold]" / "..$y$" / "b", data__path="_b%s{}")
    for path in (directory, tmp_path):
        done = run("plot", path, "-o", tmp_path / "out")
        assert done.exit_code == 0, done.output
    done = run("plot", directory, "loss")
    assert done.stdout.strip() == f"{directory}/figures/loss.png"


def test_losses_on_different_texts_are_not_drawn_together_unless_forced(run, measured, tmp_path):
    measured(tmp_path / "lab" / "a", depth=4)
    measured(tmp_path / "lab" / "b", depth=8, summary={"floors": {"uniform": 9.0, "unigram": 7.0}})
    assert "different texts" in refused(run("plot", tmp_path / "lab", "loss"))
    assert "different texts" in refused(run("plot", tmp_path / "lab", "sensitivity", "--over", "depth"))
    assert run("plot", tmp_path / "lab", "outcome").exit_code == 0
    assert run("plot", tmp_path / "lab", "loss", "--force").exit_code == 0


def test_many_variants_go_into_panels_and_onto_pages(run, measured, tmp_path):
    for depth in (2, 3, 4, 5, 6):
        for warmup in (0, 1, 2):
            measured(tmp_path / "lab" / f"{depth}-{warmup}", depth=depth, warmup=warmup)
    done = run("plot", tmp_path / "lab", "loss", "profile")
    assert [line.rpartition("/")[2] for line in done.stdout.split()] == [
        "loss.png",
        "profile-1.png",
        "profile-2.png",
    ]


def test_a_kind_s_folder_can_be_meant(run, measured, tmp_path):
    measured(tmp_path / "loss")
    assert run("plot", "./loss", "loss").stdout.strip() == "loss/figures/loss.png"


def test_the_help_page_teaches(run):
    done = run("plot", "--help")
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert all(kind in done.stdout for kind in KINDS)
    assert "--steps 1,10,100" in done.stdout and "normlab plot outputs/sweeps/mine" in done.stdout


def test_infinite_floors_are_no_floors(run, measured, tmp_path):
    directory = measured(tmp_path / "one", summary={"floors": {"uniform": 1e999, "unigram": math.nan}})
    assert run("plot", directory, "loss").exit_code == 0


def test_a_place_that_cannot_be_written_is_one_line_and_exit_code_1(run, lab, tmp_path):
    (tmp_path / "notes").write_text("mine")
    done = run("plot", lab, "loss", "-o", tmp_path / "notes" / "loss.png")
    assert done.exit_code == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and str(tmp_path / "notes") in done.stderr.replace("\n", "")


def test_rows_without_a_loss_have_no_loss_curve(run, measured, tmp_path):
    directory = measured(tmp_path / "one")
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    lines = [json.dumps({key: row[key] for key in row if key != "loss"}) for row in rows]
    (directory / "metrics.jsonl").write_text("\n".join(lines))
    assert "no row has a loss" in refused(run("plot", directory, "loss"))
    assert "profile.png" in run("plot", directory).stdout


def test_steps_are_chosen_and_named(run, lab, tmp_path):
    done = run("plot", lab, "profile", "--steps", "3,17", "--format", "svg", "--title", "")
    assert done.exit_code == 0
    picture = (lab / "figures" / "profile.svg").read_text()
    # matplotlib writes each text as a comment above its outlines.
    assert "<!-- step 3 -->" in picture and "<!-- step 17 -->" in picture
    assert "<!-- step 0 -->" not in picture and "lab -->" not in picture


def test_a_probe_and_a_run_in_one_folder_are_both_drawn(run, measured, tmp_path):
    measured(tmp_path / "lab" / "run")
    rows = [{"placement": "pre", "depth": d, "seed": 0, "grad_last_ffn": 1.0 / d} for d in (2, 4)]
    slope = {"placement": "pre", "quantity": "grad_last_ffn", "against": "depth", "mean": -1.0, "ci": None}
    (tmp_path / "lab" / "probe").mkdir()
    (tmp_path / "lab" / "probe" / "probe.json").write_text(json.dumps({"rows": rows, "slopes": [slope]}))
    made = {line.rpartition("/")[2] for line in run("plot", tmp_path / "lab").stdout.split()}
    assert {"loss.png", "probe.png", "slopes.png"} <= made
    assert run("plot", tmp_path / "lab" / "probe").stdout.split() == [
        f"{tmp_path}/lab/probe/figures/{name}.png" for name in ("probe", "slopes")
    ]


def test_a_run_whose_config_cannot_be_read_is_drawn_and_that_is_said(run, measured, tmp_path):
    path = measured(tmp_path / "a")
    (path / "config.yaml").write_text("a: &x [1]\nb: *x\n")
    done = run("plot", path, "loss", "-o", "x.png")
    assert done.exit_code == 0 and (tmp_path / "x.png").exists()
    assert "note: a: config.yaml cannot be read: it holds, in line 2, an alias (*)" in done.output

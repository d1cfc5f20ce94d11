"""`normlab show` as it is read, at 80 columns and other widths."""

import json
import math

import numpy as np
import pytest
from typer.testing import CliRunner

from normlab.cli.app import app
from normlab.figures.columns import Series
from normlab.runs.loss_plot import Room, loss_plot, stretches

FLOORS = {"uniform": 5.5, "unigram": 3.1, "bigram": 2.4}
PLACES = ("embedding", "layer_00", "layer_01", "final_norm", "head")
EVENT = {
    "step": 12,
    "kind": "spike",
    "metric": "loss",
    "layers": ["layer_01", "head"],
    "message": "the loss jumped to 9.1",
    "end": 14,
    "recovered": True,
}


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.chdir(tmp_path)

    def invoke(*words):
        return CliRunner().invoke(app, ["show", *map(str, words)], prog_name="normlab")

    return invoke


@pytest.fixture
def measured(tmp_path, write):
    """A run with gradients by layer in every step and the stream in every tenth."""

    def make(name="one", rows=(), events=(EVENT,), **changes):
        directory = write(tmp_path / name, **changes)
        lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
        for row in lines:
            row |= {f"grad_norm/{place}": 10.0 ** -(row["step"] // 10) for place in PLACES}
            if row["step"] % 10 == 0:
                row |= {f"stream/rms/layer_{layer:02d}": 1.0 + layer for layer in (0, 1)}
        for step, changed in dict(rows).items():
            lines[step] |= changed
        (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
        (directory / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
        return directory

    return make


def test_a_run_is_shown_in_eighty_columns_without_colours(run, measured):
    directory = measured(placement="post", rows={29: {"val/loss": 2.5}})
    done = run(directory)
    assert done.exit_code == 0, done.output
    path, *lines = done.stdout.splitlines()
    assert path == str(directory)  # whole, to be copied
    assert max(map(len, lines)) <= 80 and "\x1b" not in done.stdout
    text = "\n".join(line.rstrip() for line in lines)
    assert "stable after 30 of 30 steps" in text and "placement=post" in text
    assert "validation loss 2.500: 0.60 nat below the unigram entropy (3.10)" in text
    assert "6.000 to 2.500 nats a token" in text
    assert all(f" {name}" in text for name in ("ln V 5.50", "unigram 3.10", "bigram 2.40"))
    steps = [line.split() for line in lines if line.startswith("step ")]
    assert steps == [["step", "0", "step", "14", "step", "29"], ["step", "0", "step", "10", "step", "20"]]
    assert "bars from 1e-2 to 1e0" in text.replace("1e1", "1e0")
    assert "  12  spike in layer_01, head, until 14" in text
    assert "      the loss jumped to 9.1" in text


def test_the_width_can_be_said(run, measured):
    directory = measured()
    wide, narrow = (run(directory, "--width", width).stdout.splitlines()[1:] for width in (118, 56))
    assert 100 < max(map(len, wide)) <= 118 and max(map(len, narrow)) <= 56
    assert "50 columns are the least" in run(directory, "--width", 9).stderr


def test_bars_are_on_one_scale_and_events_mark_their_layer(run, measured):
    lines = run(measured()).stdout.splitlines()
    (head,) = [line for line in lines if line.startswith(" head ")]
    sizes = [part.count("█") for part in head.replace("1.00", "|").replace("0.100", "|").split("|")[:2]]
    assert sizes[0] > sizes[1] > 0
    assert [line[:9] for line in lines if line.startswith("▸")] == ["▸layer_01"] * 2


def test_a_spike_of_one_step_in_five_thousand_is_seen():
    steps = np.arange(5000.0)
    losses = np.full(5000, 3.0)
    losses[1234] = 9.0
    loss = Series(steps, losses)
    spans = stretches(loss, 100)
    assert [number for number, span in enumerate(spans) if span[1] == 9.0] == [24]
    assert spans[24] == (3.0, 9.0) and spans[23] == (3.0, 3.0)
    lines = [line.plain for line in loss_plot(loss, FLOORS, [], Room(80, 12))]
    column = 8 + 1234 * (80 - 8 - len(" unigram 3.10")) // 5000
    # A stroke through the whole height, and nothing above the curve beside it.
    assert all(line[column] not in " ─" for line in lines[:9])
    assert lines[4][column - 3] in " ─" and lines[4][column + 3] in " ─"


def test_a_curve_goes_straight_between_logged_steps_but_not_over_what_is_not_finite():
    loss = Series(np.array([0.0, 4, 5, 8, 9]), np.array([0.0, 8, math.nan, 1, 1]))
    spans = stretches(loss, 10)
    assert spans[:5] == [(0, 0), (0, 2), (2, 4), (4, 6), (6, 8)]
    assert spans[5:8] == [None] * 3 and spans[8:] == [(1, 1), (1, 1)]


def test_events_are_marked_below_their_step(run, measured):
    lines = [line.rstrip() for line in run(measured()).stdout.splitlines()]
    (marks,) = [line for line in lines if line.strip() == "^"]
    across = 80 - 8 - len(" unigram 3.10")
    assert marks.index("^") == 8 + 12 * across // 30


def test_what_is_not_finite_is_shown_as_such(run, measured):
    bad = dict.fromkeys(("loss", *(f"grad_norm/{place}" for place in PLACES)), "NaN")
    rows = dict.fromkeys(range(20, 30), bad) | {19: {"loss": 1e9}}
    done = run(measured(rows=rows, summary={"outcome": "nonfinite"}))
    assert done.exit_code == 0, done.output
    assert "!!!!" in done.stdout and "log scale" in done.stdout and "to NaN nats" in done.stdout
    (layer,) = [line for line in done.stdout.splitlines() if line.startswith(" layer_00") and "NaN" in line]
    assert layer.rstrip().endswith("NaN")
    for loss in ("NaN", "Infinity"):
        whole = measured(loss, rows={step: {"loss": loss} for step in range(30)})
        assert run(whole).exit_code == 0


def test_a_run_of_one_step_without_measurements_is_shown(run, write, tmp_path):
    directory = write(tmp_path / "bare", steps=1)
    done = run(directory)
    assert done.exit_code == 0
    assert "Gradient norm was not measured; measure.grad_norm=1 does" in done.stdout
    assert "No events" in done.stdout


def test_runs_cut_short_show_what_there_is(run, measured):
    directory = measured(summary={"status": "running", "outcome": None})
    rows = (directory / "metrics.jsonl").read_bytes()
    (directory / "metrics.jsonl").write_bytes(rows[: len(rows) // 2])
    whole = rows[: len(rows) // 2].count(b"\n")
    assert 0 < whole < 30 and f"running after {whole} of 30 steps" in run(directory).stdout
    (directory / "summary.json").write_text("{")
    (directory / "config.yaml").unlink()
    done = run(directory)
    assert done.exit_code == 0 and "damaged" in done.stdout and "note: " in done.stdout
    (directory / "metrics.jsonl").write_text("")
    assert "no step is on record" in run(directory).stdout


def test_another_folder_is_refused(run, sweep, tmp_path):
    (tmp_path / "empty").mkdir()
    for path, why in (
        (tmp_path / "nothing", "no such folder"),
        (tmp_path / "empty", "holds no run"),
        (sweep, "holds 15 runs; show one, such as"),
    ):
        done = run(path)
        assert done.exit_code == 2 and why in " ".join(done.stderr.split())


def test_names_and_messages_are_taken_literally(run, measured):
    event = EVENT | {"kind": "[red]spike", "message": "[bold]x[/nope] \x1b[31m", "layers": ["[i]"]}
    done = run(measured("[red]a$b$", events=[event], data__path="[/blue]\x1b[0m"))
    assert done.exit_code == 0, done.output
    assert "[red]spike in [i]" in done.stdout and "[bold]x[/nope] ?[31m" in done.stdout
    assert "[/blue]" in done.stdout and "\x1b" not in done.stdout


def test_many_events_are_counted(run, measured):
    events = [EVENT | {"step": step % 30, "metric": f"m{step}"} for step in range(40)]
    assert "and 10 more in events.jsonl" in run(measured(events=events)).stdout

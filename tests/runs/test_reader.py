import json
import math
import subprocess
import sys

import pytest

import normlab
from normlab.errors import ConfigError, RunDirectoryError, UserError
from normlab.runs import reader


def test_a_run_is_its_config_summary_events_and_rows(tmp_path, write):
    path = write(tmp_path / "a", 2.25, seed=3, placement="post", optimizer__lr=1e-2)
    (path / "events.jsonl").write_text(json.dumps({"step": 4, "kind": "spike", "metric": "loss"}) + "\n")
    [run] = normlab.load(path)
    assert (run.path, run.status, run.notes, run.finished) == (path, "finished", (), True)
    assert run.config["placement"]["name"] == "post" and run.config["optimizer"]["lr"] == 1e-2
    assert run.summary["val/final"] == 2.25
    assert [event["step"] for event in run.events] == [4]
    assert list(run.rows["tokens"]) == [1000 * (step + 1) for step in range(30)]


def test_the_frame_of_many_runs_says_which_run_a_row_is_of(sweep):
    found = normlab.load(sweep)
    assert len(found) == 15 and found.knobs == ["placement", "seed"]
    assert list(found.rows.columns[:3]) == ["run", "placement", "seed"]
    assert len(found.rows) == 15 * 30
    last = found.rows[found.rows["step"] == 29].groupby("placement")["loss"].mean()
    assert last["post"] == pytest.approx(2.814)
    table = found.summaries.set_index(["placement", "seed"])
    assert table.loc[("pre", 2), "val/final"] == 2.49 and table.loc[("pre", 2), "floors.unigram"] == 3.1


def test_metrics_that_a_step_lacks_are_nan_and_names_stay_words(tmp_path, write):
    path = write(tmp_path / "a")
    lines = [{"step": 0, "loss": 6.0}, {"step": 1, "loss": "NaN", "nonfinite/site": "layer_01"}]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    frame = normlab.load(path).rows
    assert math.isnan(frame["loss"][1]) and frame["nonfinite/site"][1] == "layer_01"


def test_a_sweep_comes_in_the_order_of_its_table_and_everything_once(sweep, write):
    write(sweep / "later", seed=9)
    names = [run.path.name for run in normlab.load(sweep, sweep / "pre-0", sweep.parent)]
    assert names[:6] == ["pre-0", "pre-1", "pre-2", "pre-3", "pre-4", "post-0"]
    assert names[-1] == "later" and len(names) == 16


def test_runs_are_found_at_any_depth_but_not_in_runs_nor_in_hidden_folders(tmp_path, write):
    write(tmp_path / "x" / "y" / "a")
    write(tmp_path / "x" / "y" / "a" / "before-replay-1")
    write(tmp_path / ".trash" / "b")
    write(tmp_path / "wandb" / "c")
    assert [path.name for path in reader.find(tmp_path)] == ["a"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"jobs": 3}', '{"jobs": [{"dir": 3}]}'])
def test_a_damaged_table_of_a_sweep_hides_no_run(sweep, content):
    (sweep / "sweep.json").write_text(content)
    assert len(normlab.load(sweep)) == 15


@pytest.mark.parametrize(
    ("file", "content", "status", "said"),
    [
        ("summary.json", "{", "damaged", "is not JSON"),
        ("summary.json", "[]", "damaged", "does not hold a JSON object"),
        ("summary.json", None, "damaged", "there is no summary.json"),
        ("config.yaml", "a: [", "finished", "config.yaml cannot be read"),
        ("config.yaml", "- 1", "finished", "config.yaml is not the config of a run"),
        ("config.yaml", "placement: post", "finished", "config.yaml is not the config of a run: placement"),
        ("config.yaml", "norm: {name: [1]}", "finished", "config.yaml is not the config of a run: norm"),
        ("config.yaml", None, "finished", "config.yaml is not there"),
        ("events.jsonl", "{}\n", "finished", "events.jsonl: line 1 is not an event"),
        ("events.jsonl", None, "finished", "events.jsonl: No such file"),
    ],
)
def test_damage_is_said_and_the_rest_is_read(tmp_path, write, file, content, status, said):
    path = write(tmp_path / "a")
    (path / file).unlink() if content is None else (path / file).write_text(content)
    [run] = normlab.load(path)
    assert run.status == status and said in " ".join(run.notes)
    assert run.finished is (file == "events.jsonl")
    assert len(run.rows) == 30


def test_a_run_without_rows_has_an_empty_frame(tmp_path, write):
    path = write(tmp_path / "a")
    (path / "metrics.jsonl").unlink()
    assert normlab.load(path)[0].read_rows() == [] and normlab.load(path).rows.empty


def test_what_holds_no_run_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for path, said in [("no", "there is no such folder"), ("file", "is a file"), (".", "holds no run")]:
        with pytest.raises(RunDirectoryError, match=said):
            normlab.load(tmp_path / path)


def test_importing_normlab_imports_nothing_of_it():
    code = "import sys, normlab; sys.exit(len([name for name in sys.modules if name.startswith('normlab.')]))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_from_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["data=markov", "data.length=8192", "depth=1", "model.width=16", "model.heads=2", "train.steps=3"]
    words += ["model.context=8", "train.batch_size=4", "train.threads=1", "tracker.mode=disabled", "seed=5"]
    run = normlab.train(words)
    assert run.path.parent.as_posix() == "outputs/runs" and "seed-5" in run.path.name
    assert (run.status, len(run.rows), run.config["seed"]) == ("finished", 3, 5)
    again = normlab.train(words, tmp_path / "again")
    assert again.path == tmp_path / "again" and list(again.rows["loss"]) == list(run.rows["loss"])
    with pytest.raises(UserError, match="already holds a run"):
        normlab.train(words, tmp_path / "again")
    with pytest.raises(ConfigError, match="depht"):
        normlab.train(["depht=3"])


def test_the_ends_of_a_run_are_its_rows_without_the_middle(tmp_path, write):
    path = write(tmp_path / "a")
    [run] = normlab.load(path)
    rows = run.read_rows()
    assert run.read_ends(5) == [rows[0], *rows[-5:]] and run.read_ends(100) == rows
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 30, "lo')
    [run] = normlab.load(path)
    assert run.read_ends(5) == [rows[0], *rows[-4:]]

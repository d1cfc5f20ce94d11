"""Runs read back from wandb: a real offline file, and a stand-in for the API, since no server is at hand."""

import dataclasses
import json
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import normlab
from normlab.cli.app import app
from normlab.config import TrackerConfig
from normlab.errors import UserError
from normlab.run import run
from normlab.runs import wandb_runs
from normlab.sinks.wandb.budget import coarse


@pytest.fixture
def offline(small, tmp_path):
    """A run that wandb has offline, in its directory."""
    run(dataclasses.replace(small(), tracker=TrackerConfig(mode="offline")), tmp_path / "real")
    return tmp_path / "real"


def test_an_offline_folder_is_the_run_that_it_mirrors(offline, tmp_path):
    [folder] = (offline / "wandb").glob("offline-run-*")
    (tmp_path / "out").mkdir()
    [path] = wandb_runs.local(folder, tmp_path / "out")
    [ours], [read] = normlab.load(offline), normlab.load(path)
    assert read.notes == () and read.finished and read.place == str(folder)
    assert read.config == json.loads(json.dumps(ours.config))
    for key in ("outcome", "val/final", "loss/best", "floors", "batch_order", "first_event", "steps"):
        assert read.summary[key] == ours.summary[key]
    # wandb has no details whose whole is in the row.
    assert sorted(read.rows) == sorted(coarse(dict.fromkeys(ours.rows, 0.0)))
    assert list(read.rows["loss"]) == list(ours.rows["loss"])
    assert list(read.rows["grad_norm/first_to_last"]) == list(ours.rows["grad_norm/first_to_last"])


def test_a_run_directory_is_read_as_itself(offline, tmp_path):
    assert wandb_runs.local(offline, tmp_path) == [offline]
    assert wandb_runs.local(tmp_path / "no", tmp_path) == [tmp_path / "no"]


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "offline-run-1").mkdir()
    (tmp_path / "offline-run-1" / "run-1.wandb").write_bytes(b"nothing")
    with pytest.raises(UserError, match="wandb cannot read it"):
        wandb_runs.local(tmp_path / "offline-run-1", tmp_path)


@pytest.fixture
def api(monkeypatch, sweep):
    """wandb as far as `fetch` uses it, with the runs of `sweep`; collects what it was asked for."""
    asked = []
    path = sweep / "post-0" / "summary.json"
    event = {"kind": "spike", "step": 7, "layers": ["layer_01", "layer_00"]}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"first_event": event}))

    def remote(local):
        flat = {key: value for key, value in local.summary.items() if not isinstance(value, dict)}
        flat |= {f"floors/{key}": value for key, value in local.summary["floors"].items()}
        for key, value in (local.summary["first_event"] or {}).items():
            flat[f"first_event/{key}"] = ", ".join(value) if isinstance(value, list) else value
        rows = [
            {"_step": row["step"], "figures/loss": {"_type": "image"}, **row} for row in local.read_rows()
        ]
        return SimpleNamespace(
            id="x1" + local.path.name,
            name="a/../b",
            config=local.config | {"_wandb": {}},
            summary=flat,
            scan_history=lambda: iter(rows),
        )

    def runs(path, filters):
        asked.append((path, filters))
        if path == "me/gone":
            raise ValueError("Could not find project")
        return [] if filters == {"group": "none"} else map(remote, normlab.load(sweep))

    fake = SimpleNamespace(
        login=lambda **_: True, Api=lambda: SimpleNamespace(runs=runs), errors=SimpleNamespace(Error=OSError)
    )
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return SimpleNamespace(fake=fake, asked=asked)


def compared(*words):
    return CliRunner().invoke(app, ["compare", *map(str, words), "--json"], prog_name="normlab")


def test_a_projects_runs_compare_as_their_directories_do(api, sweep):
    done = compared("--wandb", "me/normlab/mine")
    assert done.exit_code == 0, done.stderr
    assert api.asked == [("me/normlab", {"group": "mine"})]
    ours, theirs = json.loads(compared(sweep).stdout), json.loads(done.stdout)
    by = lambda rows: {row["placement"]: row for row in rows}  # noqa: E731
    for sheet in ("loss", "outcomes", "training"):
        assert by(theirs[sheet]) == by(ours[sheet])
    assert theirs["runs"][0]["path"].startswith("me/normlab/mine/x1")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("normlab", "is not ENTITY/PROJECT"),
        ("me//x", "is not ENTITY/PROJECT"),
        ("me/gone", "Could not find project"),
        ("me/normlab/none", "there is no run"),
    ],
)
def test_what_wandb_does_not_have_is_refused(api, address, said):
    done = compared("--wandb", address)
    assert done.exit_code == 2 and said in done.stderr and done.stdout == ""


def test_without_a_key_nothing_is_asked(api):
    api.fake.login = lambda **_: False
    done = compared("--wandb", "me/normlab")
    assert done.exit_code == 2 and "wandb login" in done.stderr and api.asked == []

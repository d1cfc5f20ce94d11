"""The view of runs for wandb: what it shows, and that it reaches wandb's own objects whole.

No server is at hand, so what is compared is what would be sent.
"""

import json
import sys

import pytest
from typer.testing import CliRunner

import normlab
from normlab.cli.app import app
from normlab.errors import UserError
from normlab.runs import wandb_workspace
from normlab.runs.wandb_panels import view_of
from normlab.runs.wandb_workspace import WandbProject

spaces = pytest.importorskip("wandb_workspaces.workspaces", reason="needs normlab[wandb-workspace]")


def create(*words):
    done = CliRunner().invoke(app, ["workspace", "create", *map(str, words)])
    return done.exit_code, done.output


def panels(spec):
    return [
        panel for section in spec["section"]["panelBankConfig"]["sections"] for panel in section["panels"]
    ]


@pytest.fixture
def spec(sweep):
    code, output = create(sweep, "--json", "--entity", "us")
    assert code == 0
    return json.loads(output)


def test_runs_are_grouped_by_what_was_swept_and_filtered_to_their_sweep(sweep, spec):
    assert (spec["entity"], spec["project"]) == ("us", "normlab")
    [runs] = spec["spec"]["section"]["runSets"]
    knobs = view_of(normlab.load(sweep)).knobs
    assert "placement.name" in knobs and "seed" not in knobs
    dotted = [each["name"].replace(".value", "") for each in runs["grouping"]]
    assert dotted == list(knobs) and {each["section"] for each in runs["grouping"]} == {"config"}
    assert {"config:placement.value.name", "summary:outcome", "summary:first_event/step"} <= set(
        runs["runFeed"]["columnPinned"]
    )


def test_losses_have_the_floors_of_the_text_as_lines(sweep, spec):
    floors = normlab.load(sweep)[0].summary["floors"]
    [loss] = [panel for panel in panels(spec["spec"]) if panel["config"].get("metrics") == ["loss"]]
    assert (loss["viewType"], loss["config"]["xAxis"]) == ("Run History Line Plot", "step")
    levels = [float(each.rpartition("+ ")[2]) for each in loss["config"]["expressions"]]
    assert levels == pytest.approx([floors[name] for name in ("uniform", "unigram", "bigram")], rel=1e-5)


def test_families_by_layer_are_there_where_they_were_measured(sweep):
    def patterns():
        shown = [panel for section in view_of(normlab.load(sweep)).sections for panel in section.panels]
        return [panel.pattern for panel in shown if panel.pattern]

    assert patterns() == []
    measured = {"step": 0, "loss": 5.0, "grad_norm/layer_00": 1.0, "stream/rms/layer_00": 1.0}
    (sweep / "post-0" / "metrics.jsonl").write_text(json.dumps(measured) + "\n")
    assert patterns() == [r"^grad_norm/layer_\d+$", r"^stream/rms/layer_\d+$"]


def test_every_metric_of_the_view_is_one_that_runs_have(sweep):
    runs = normlab.load(sweep)
    rows = {key for run in runs for row in run.read_rows() for key in row}
    lines = [p for s in view_of(runs).sections for p in s.panels if p.kind == "lines" and p.metrics]
    assert {metric for panel in lines for metric in panel.metrics} <= rows | {
        "val/loss",
        "grad_norm/global",
        "lr",
    }


def test_runs_on_different_texts_have_no_floors(sweep):
    path = sweep / "post-0" / "summary.json"
    summary = json.loads(path.read_text())
    path.write_text(json.dumps(summary | {"floors": {"uniform": 1.0}}))
    loss = view_of(normlab.load(sweep)).sections[0].panels[0]
    assert loss.levels == {}


def test_a_report_has_the_words_then_a_grid_of_the_same_runs_a_section(sweep, monkeypatch):
    from wandb_workspaces.reports.v2 import interface

    monkeypatch.setattr(interface, "_get_api", lambda: None)
    monkeypatch.setattr(interface.Runset, "_to_model", lambda self: None, raising=False)
    view = view_of(normlab.load(sweep))
    made = wandb_workspace.report(view, "us", "normlab", ["Post-LN got stuck."])
    kinds = [type(block).__name__ for block in made.blocks]
    assert kinds == ["P", *["H2", "PanelGrid"] * len(view.sections)]
    assert made.blocks[0].text == "Post-LN got stuck."
    grids = [block for block in made.blocks if type(block).__name__ == "PanelGrid"]
    assert [len(grid.panels) for grid in grids] == [len(section.panels) for section in view.sections]
    assert grids[0].runsets[0].groupby == [f"config.{key}" for key in view.knobs]


def test_report_to_wandb_begins_with_question_and_answer(sweep, monkeypatch):
    from wandb_workspaces.reports import v2

    made = []
    monkeypatch.setattr(wandb_workspace, "has_key", lambda: True)
    monkeypatch.setattr(v2.Report, "save", lambda self, draft: made.append((self, draft)))
    monkeypatch.setattr(v2.Report, "url", "https://server/report")
    done = CliRunner().invoke(app, ["report", str(sweep), "--to-wandb", "--entity", "us"])
    assert (done.exit_code, done.output) == (0, "https://server/report\n")
    [(report, draft)] = made
    assert draft and (report.entity, report.project) == ("us", "normlab")
    told = [block.text for block in report.blocks if type(block).__name__ == "P"]
    assert told[0].startswith("What difference") and any(text.startswith("Outcomes") for text in told)


def test_what_a_server_says_no_to_is_one_error(sweep, monkeypatch):
    monkeypatch.setattr(wandb_workspace, "has_key", lambda: True)

    def refuse(self, **how):
        raise RuntimeError("no such entity")

    monkeypatch.setattr(spaces.Workspace, "save", refuse)
    code, output = create(sweep, "--entity", "nobody")
    assert code == 2 and "wandb did not take it" in output and "no such entity" in output


def test_bad_input(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr(wandb_workspace, "has_key", lambda: False)
    assert create(sweep) == (2, "error: wandb has no API key; wandb login sets one\n")
    assert create(tmp_path / "none")[0] == 2
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    code, output = create(sweep, "--json")
    assert code == 2 and "pip install 'normlab[wandb-workspace]'" in output


def test_runs_of_several_projects_need_a_project(sweep):
    path = sweep / "post-0" / "config.yaml"
    path.write_text(path.read_text().replace('"project": "normlab"', '"project": "other"'))
    with pytest.raises(UserError, match="several projects, normlab, other"):
        wandb_workspace.spec(normlab.load(sweep), WandbProject())
    assert wandb_workspace.spec(normlab.load(sweep), WandbProject(project="mine"))["project"] == "mine"

"""`normlab sync`, with wandb itself offline, and with a stand-in that keeps runs as its server does."""

import os
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from normlab.cli.app import app
from normlab.run import resume, run
from normlab.rundir.writer import hold, read_rows, read_summary
from normlab.runs import wandb_runs
from normlab.sinks.wandb.start import RunStarter


class Server:
    """wandb online, as far as normlab uses it: runs by project and id, each with its rows and its summary."""

    Settings = SimpleNamespace
    Table = Image = staticmethod(lambda *words, **more: "a picture")

    def __init__(self):
        self.runs, self.key, self.down, self.breaks_at = {}, True, False, None

    def __getattr__(self, name):
        return lambda *words, **more: None

    def login(self, **more):
        return self.key

    def init(self, *, id, project, dir, **more):
        if self.down:
            raise ConnectionError("no server")
        kept = self.runs.setdefault((project, id), {"rows": [], "summary": {}, **more})

        def log(row, step, commit):
            if step == self.breaks_at:
                raise ConnectionError("the line is dead")
            assert not kept["rows"] or step > kept["rows"][-1]["step"], "the server drops such a row"
            kept["rows"].append(row)

        return SimpleNamespace(
            id=id,
            dir=str(dir / "wandb" / f"run-{id}" / "files"),
            url=f"https://server/{id}",
            step=kept["rows"][-1]["step"] + 1 if kept["rows"] else 0,
            summary=kept["summary"],
            log=log,
            alert=lambda **more: pytest.fail("an old event is no alert"),
            finish=lambda exit_code: kept.update(exit_code=exit_code),
            define_metric=lambda *words, **more: None,
        )


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(RunStarter, "unreachable", False)
    fake = Server()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


@pytest.fixture
def trained(small, tmp_path):
    """A run that wandb knows nothing of, with an event."""
    run(small({"fault.kind": "nan_gradient", "fault.step": 3}), tmp_path / "run", plain=True)
    return tmp_path / "run"


def sync(*words):
    done = CliRunner().invoke(app, ["sync", *map(str, words)])
    return done.exit_code, done.output


def test_a_run_is_sent_whole_and_once(server, trained):
    code, told = sync(trained)
    assert code == 0 and "6 rows at https://server/" in told
    [(project, identity)] = server.runs
    [kept] = server.runs.values()
    assert project == "normlab"
    rows = read_rows(trained)
    assert [(row["step"], row["loss"]) for row in kept["rows"]] == [
        (row["step"], row["loss"]) for row in rows
    ]
    assert kept["config"]["placement"]["name"] == "pre" and kept["exit_code"] == 0
    assert kept["summary"]["outcome"] == "untrained" and kept["summary"]["first_event/step"] == 3
    assert kept["rows"][-1]["figures/events"] == "a picture"
    assert read_summary(trained)["wandb"]["url"] == f"https://server/{identity}"
    before = repr(server.runs)
    code, told = sync(trained)
    assert code == 0 and f"nothing new at https://server/{identity}" in told
    assert repr(server.runs) == before


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_a_note_that_is_no_file_is_replaced_and_not_written_through(server, trained, kind, tmp_path):
    note, other = trained / "wandb/attempt.json", tmp_path / "other"
    other.write_text("another's")
    note.parent.mkdir(exist_ok=True)
    os.mkfifo(note) if kind == "pipe" else note.symlink_to(other)
    assert sync(trained)[0] == 0 and other.read_text() == "another's"
    assert note.is_file() and not note.is_symlink()


def test_of_a_run_that_went_on_only_the_new_rows_are_sent(server, small, tmp_path):
    where = tmp_path / "run"
    run(small(), where, plain=True)
    sync(where)
    config = small({"train.steps": 9})
    resume(config, where, plain=True)
    code, told = sync(where)
    assert code == 0 and "3 rows" in told
    [kept] = server.runs.values()
    assert [row["step"] for row in kept["rows"]] == list(range(9))


def test_what_a_dead_line_kept_back_is_sent_the_next_time(server, trained):
    server.breaks_at = 4
    code, told = sync(trained)
    assert code == 1 and "not sent" in told and "the line is dead" in told
    assert read_summary(trained)["wandb"]["mode"] == "disabled"
    server.breaks_at = None
    code, told = sync(trained)
    assert code == 0 and "2 rows" in told
    [kept] = server.runs.values()
    assert [row["step"] for row in kept["rows"]] == list(range(6))


def test_an_offline_folder_that_wandb_sync_uploaded_is_the_run_that_goes_on(server, trained):
    folder = trained / "wandb" / "offline-run-20261125_101112-abcd1234"
    folder.mkdir(parents=True)
    (folder / "run-abcd1234.wandb.synced").touch()
    server.runs["normlab", "abcd1234"] = {"rows": [{"step": 0}, {"step": 1}], "summary": {}}
    code, told = sync(trained)
    assert code == 0 and "4 rows" in told
    assert list(server.runs) == [("normlab", "abcd1234")]


def test_another_project_is_another_place(server, trained):
    sync(trained)
    code, told = sync(trained, "--project", "mine", "--entity", "us")
    assert code == 0 and "6 rows" in told
    assert {project for project, _ in server.runs} == {"normlab", "mine"}
    assert server.runs["mine", next(id for _, id in server.runs)]["entity"] == "us"


def test_without_a_server_nothing_is_written_and_nothing_else_is_tried(server, small, trained, tmp_path):
    server.down = True
    run(small(), tmp_path / "second", plain=True)
    files = sorted(path.name for path in trained.rglob("*"))
    code, told = sync(tmp_path)
    assert code == 1 and "no server" in told
    assert sorted(path.name for path in trained.rglob("*") if path.name != "wandb") == files
    assert told.count("not sent") == 1


def test_bad_input(server, trained, tmp_path):
    (tmp_path / "empty").mkdir()
    code, told = sync(tmp_path / "empty")
    assert code == 2 and "holds no run" in told
    with hold(trained):
        pass
    server.key = False
    code, told = sync(trained)
    assert code == 2 and "wandb login" in told and "--offline" in told
    server.key = True
    (trained / "config.yaml").write_text("[]")
    code, told = sync(trained)
    assert code == 1 and "config.yaml is not the config of a run" in told


def test_offline_it_makes_one_folder_that_holds_the_run(trained, tmp_path):
    code, told = sync(trained, "--offline")
    [folder] = trained.glob("wandb/offline-run-*")
    assert code == 0 and "6 rows; to upload: wandb sync " in told and folder.name in told
    assert "nothing new" in sync(trained, "--offline")[1]
    (tmp_path / "out").mkdir()
    [path] = wandb_runs.local(folder, tmp_path / "out")
    assert [row["loss"] for row in read_rows(path)][:3] == [row["loss"] for row in read_rows(trained)][:3]
    assert len(read_rows(path)) == 6

"""Whether a run is the one that a config describes, where normlab has changed since it was started."""

import dataclasses

import pytest

from normlab.catalogue.datasets import TextData
from normlab.catalogue.naming import flat
from normlab.compose.saved_config import load_config
from normlab.errors import RunDirectoryError
from normlab.launch import launch
from normlab.run import resume, run
from normlab.rundir.resuming import differences, located


def recorded(config):
    """The settings of a run by dotted key, as its directory holds them."""
    return dict(flat(dataclasses.asdict(config)))


@pytest.mark.parametrize("placement", ["pre", "b2t", "siamese", "prores"])
def test_a_run_is_the_one_that_its_own_config_describes(placement, small):
    config = small(placement=placement)
    assert differences(config, recorded(config)) == []


def test_a_setting_that_came_later_was_at_its_default(small):
    """`pre` has the default in both, and `admin` now has another: the run of before was another model."""
    for placement, different in (("pre", []), ("admin", [("placement.unit_embedding", False, True)])):
        config = small(placement=placement)
        before = {key: value for key, value in recorded(config).items() if "unit_embedding" not in key}
        assert differences(config, before) == different


def test_gains_and_constants_that_a_placement_got_or_lost_are_differences(small):
    bare, scaled = small(placement="post"), small({"placement.gains": {"attn.v": "0.5"}}, placement="post")
    key = "placement.gains.attn.v"
    assert differences(scaled, recorded(bare)) == [(key, "nothing", "0.5")]
    assert differences(bare, recorded(scaled)) == [(key, "0.5", "nothing")]


def of_text(config, **settings):
    return dataclasses.replace(config, data=TextData(name="text", source="text", **settings))


def test_paths_are_taken_from_where_the_command_began(small, tmp_path):
    folder = tmp_path / "[x]"
    folder.mkdir()
    for typed, expected in {
        "a.txt": f"{folder}/a.txt",
        "/b/c.txt": "/b/c.txt",
        "~/d.txt": "~/d.txt",
        "in/**/*.txt": f"{tmp_path}/[[]x]/in/**/*.txt",
    }.items():
        assert located(of_text(small(), path=typed), folder).data.path == expected
    own = located(of_text(small(), path="a.txt", tokenizer="own/t.json"), folder)
    assert own.data.tokenizer == f"{folder}/own/t.json"
    assert located(small(), folder) == small()


def test_a_path_as_it_was_typed_is_the_same_path(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = of_text(small(), path="a.txt", tokenizer="t.json")
    assert differences(located(before, tmp_path), recorded(before)) == []
    assert differences(of_text(small(), path="elsewhere/a.txt", tokenizer="x.json"), recorded(before)) == []
    for settings, key in (
        ({"tokenizer": "byte"}, "data.tokenizer"),
        ({"text_column": "x"}, "data.text_column"),
    ):
        now = of_text(small(), **{"path": "a.txt", "tokenizer": "t.json"} | settings)
        assert [each[0] for each in differences(now, recorded(before))] == [key]


def test_a_run_goes_on_from_anywhere_and_with_its_text_elsewhere(small, tmp_path, monkeypatch):
    began, later, directory = tmp_path / "began", tmp_path / "later", tmp_path / "run"
    began.mkdir()
    later.mkdir()
    (began / "text.txt").write_text("the same text " * 60)
    monkeypatch.chdir(began)
    config = of_text(small({"train.steps": 2}), path="text.txt", tokenizer="byte")
    run(config, directory)
    monkeypatch.chdir(later)
    first = load_config(directory / "config.yaml")
    assert first.data.path == str(began / "text.txt")
    assert resume(load_config(directory / "config.yaml", ["train.steps=3"]), directory)["steps"] == 3
    (began / "text.txt").rename(later / "moved.txt")
    moved = load_config(directory / "config.yaml", ["train.steps=4", "data.path=moved.txt"])
    assert resume(moved, directory)["steps"] == 4
    assert load_config(directory / "config.yaml").data.path == str(later / "moved.txt")
    (later / "other.txt").write_text("another text! " * 60)
    other = load_config(directory / "config.yaml", ["train.steps=5", "data.path=other.txt"])
    with pytest.raises(RunDirectoryError, match="the text is not the one that this run was trained on"):
        resume(other, directory)


def test_with_a_folder_of_its_own_a_run_finds_its_text_from_where_the_command_began(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the same text " * 60)
    words = ["depth=1", "model.width=8", "model.heads=1", "model.context=8", "train.batch_size=2"]
    words += [
        "train.steps=1",
        "train.eval_batches=1",
        "train.threads=1",
        "tracker.mode=disabled",
        "data=text",
    ]
    assert launch([*words, "data.path=text.txt", "hydra.job.chdir=true", "hydra.run.dir=run"]) == 0
    assert load_config(tmp_path / "run" / "config.yaml").data.path == str(tmp_path / "text.txt")

import json

import pytest

from normlab import config
from normlab.catalogue import groups
from normlab.catalogue.norms import NORMS
from normlab.cli import listing
from normlab.errors import UserError


def as_json(capsys, what):
    listing.print_list(what, as_json=True)
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("what", listing.TABLES)
def test_every_table_is_a_json_list_of_named_objects(what, capsys):
    entries = as_json(capsys, what)
    assert entries and all(set(entry) == set(entries[0]) for entry in entries)
    assert all(entry["name"] and entry["meaning"] for entry in entries)
    assert len({entry["name"] for entry in entries}) == len(entries)
    assert sum(entry["default"] for entry in entries) <= 1


@pytest.mark.parametrize("what", listing.TABLES)
def test_every_table_fits_80_columns(what, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    listing.print_list(what, as_json=False)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    words = "".join(out.split())
    for entry in as_json(capsys, what):
        for text in (entry["name"], entry["meaning"], entry["equation"], entry["source"]):
            if len(text) < 55:
                assert text in out
            assert all(word in words for word in text.split())


def test_rows_are_told_as_the_table_has_them(capsys):
    entries = {entry["name"]: entry for entry in as_json(capsys, "norms")}
    assert list(entries) == list(NORMS)
    row = NORMS["rmsnorm"]
    assert entries["rmsnorm"] == {
        "name": "rmsnorm",
        "meaning": row.meaning,
        "equation": row.equation,
        "source": row.source,
        "default": False,
        **row.facts,
    }
    assert row.facts["eps"] == "1e-05, inside" and row.facts["parameters"] == "g=1 (D)"
    assert entries["layernorm"]["default"]


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("positions", config.POSITIONS),
        ("activations", tuple(groups.GROUPS["activation"].rows)),
        ("tokenizers", ("byte", "char", "bpe")),
        ("detectors", ("nonfinite", "spike", "explosion", "plateau", "vanishing")),
        ("gains", ("gpt2",)),
    ],
)
def test_lists_name_what_can_be_chosen(what, names, capsys):
    assert set(names) <= {entry["name"] for entry in as_json(capsys, what)}


def test_files_are_listed_with_their_first_comment(capsys):
    entries = {entry["name"]: entry for entry in as_json(capsys, "experiments")}
    assert entries["warmup_rescues_post"]["meaning"].startswith("Does learning-rate warm-up rescue")
    datasets = {entry["name"]: entry for entry in as_json(capsys, "datasets")}
    assert datasets["tinyshakespeare"]["source"].startswith("huggingface.co/datasets/")
    assert set(datasets) == set(groups.options("data"))


def test_without_a_name_the_tables_are_listed(capsys):
    listing.print_list(None, as_json=True)
    overview = {entry["name"]: entry["count"] for entry in json.loads(capsys.readouterr().out)}
    assert list(overview) == list(listing.TABLES) and overview["norms"] == len(NORMS)
    listing.print_list(None, as_json=False)
    assert "placement=NAME" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "table"), [("norm", "norms"), ("data", "datasets"), ("dataset", "datasets")]
)
def test_a_group_is_as_good_as_its_table(word, table, capsys):
    assert as_json(capsys, word) == as_json(capsys, table)


def test_an_unknown_table_gets_the_nearest():
    with pytest.raises(UserError, match=r"no table 'placments'\. Did you mean 'placements'"):
        listing.print_list("placments", as_json=False)


def test_the_question_of_a_study_is_told_to_its_end(capsys):
    for entry in as_json(capsys, "experiments"):
        assert (
            entry["meaning"].count("(") == entry["meaning"].count(")") and "normlab" not in entry["meaning"]
        )
        assert "?" in entry["meaning"]
    [norms] = [entry for entry in as_json(capsys, "experiments") if entry["name"] == "norm_types"]
    assert norms["meaning"].endswith("Zhu et al. 2025, DyT, arXiv 2503.10622)")

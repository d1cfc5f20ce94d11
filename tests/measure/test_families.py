"""Every metric that has a place is of a family in the table, and on the page that says what is logged."""

from pathlib import Path

import pytest

from normlab.catalogue import groups
from normlab.config import MEASURED
from normlab.data import load_corpus
from normlab.measure.families import FAMILIES, depth, place
from normlab.training.build import build
from normlab.training.loop import train

PAGE = Path(__file__).parents[2] / "outputs" / "README.md"
#: Counts of what is not finite: they say where, and are no curves.
COUNTS = "nonfinite/"


class Rows:
    def __init__(self):
        self.found = []

    def row(self, row):
        self.found.append(row)

    def events(self, events):
        pass

    def checkpoint(self, job):
        pass


@pytest.mark.parametrize(
    "rows",
    [
        {"placement": "residual_dual"},
        {"norm": "dyt", "optimizer": "sgd"},
        {"norm": "batchnorm", "activation": "relu"},
    ],
)
def test_what_is_measured_by_place_is_in_the_table(small, rows):
    every_step = {f"measure.{name}": 1 for name in MEASURED}
    config = small(every_step | {"norm.allow_leaky": True, "measure.ablation": "end"}, **rows)
    job, seen = build(config, load_corpus(config.data, config.model.context)), Rows()
    train(job, seen, lambda: False)
    keys = {key for row in seen.found for key in row}
    families = {where.family for key in keys if not key.startswith(COUNTS) and (where := place(key))}
    assert len(families) > 15 and families <= FAMILIES.keys()


def test_the_page_says_what_each_family_is():
    text = PAGE.read_text(encoding="utf-8")
    kinds = [key for key in FAMILIES if f"`{key}" not in text and f"`/{key.rpartition('/')[2]}" not in text]
    assert kinds == []


def test_places_come_from_the_input_to_the_output():
    places = ["head", "layer_10", "final_norm", "layer_02", "embedding"]
    assert sorted(places, key=depth) == ["embedding", "layer_02", "layer_10", "final_norm", "head"]
    assert place("grad_norm/layer_03") == ("grad_norm", "layer_03")
    assert place("grad_norm/global") is None and place("grad_norm/layer_03/attn.qkv") is None


def test_the_setting_that_has_a_family_measured_is_one():
    known = groups.known_keys()
    assert all(family.measure.partition("=")[0] in known for family in FAMILIES.values())

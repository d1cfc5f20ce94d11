"""What is taken for a row of a run."""

import pytest

from normlab.rundir.shapes import is_row

ROW = {"step": 3, "loss": 2.5, "lr": 1e-3, "nonfinite/site": "layer_00/ffn.in", "of a later version": 1.0}


def test_a_row_has_a_step_numbers_and_few_words():
    assert is_row(ROW)


@pytest.mark.parametrize(
    "broken", [{"loss": "2.5"}, {"val/loss": "x"}, {"grad_norm/global": "big"}, {"lr": None}, {"step": -1}]
)
def test_a_row_with_a_value_of_another_type_is_none(broken):
    assert not is_row(ROW | broken)

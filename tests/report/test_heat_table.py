import math

import numpy as np
import pytest

from normlab.report.heat_table import COLUMNS, heat, thin
from normlab.report.metrics import ordered, place, series


def test_a_spike_of_one_step_in_five_thousand_is_in_the_map():
    values = np.ones((3, 5000))
    values[1, 3217] = 400.0
    starts, thinned, each = thin(np.arange(5000.0), values)
    assert (each, thinned.shape) == (25, (3, 200))
    assert np.argwhere(thinned == 400.0).tolist() == [[1, 3217 // 25]]
    assert starts[3217 // 25] == 3200


def test_where_small_is_alarming_the_least_is_shown():
    values = np.ones((1, 1000))
    values[0, 501] = 1e-6
    assert thin(np.arange(1000.0), values, falls=True)[1].min() == 1e-6
    assert thin(np.arange(1000.0), values)[1].min() == 1.0


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("falls", [True, False])
def test_a_column_with_a_value_that_is_not_finite_is_not_finite(broken, falls):
    values = np.ones((1, 1000))
    values[0, 777] = broken
    thinned = thin(np.arange(1000.0), values, falls=falls)[1]
    assert np.flatnonzero(np.isnan(thinned[0])).tolist() == [777 // 5]


@pytest.mark.parametrize("count", [1, 2, 199, 200, 201, 399, 401, 1000])
def test_columns_are_few_and_none_is_lost(count):
    starts, thinned, each = thin(np.arange(float(count)), np.arange(float(count))[None])
    assert thinned.shape[1] <= COLUMNS and thinned.max() == count - 1
    assert starts.tolist() == list(range(0, count, each))
    assert each == 1 or count > COLUMNS


def test_a_map_has_the_steps_that_all_places_have():
    rows = [{"step": step, "grad_norm/layer_00": 1.0} for step in range(10)]
    for row in rows[::5]:
        row |= {"grad_norm/layer_01": 2.0, "grad_norm/head": 3.0}
    found = heat(series(rows), "grad_norm")
    assert found.places == ["layer_00", "layer_01", "head"]
    assert found.edges.tolist() == [0, 5, 10]
    assert found.values.tolist() == [[1, 1], [2, 2], [3, 3]]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"step": 0, "loss": 1.0}],
        [{"step": 0, "grad_norm/layer_00": 1.0}],
        [{"step": 0, "grad_norm/layer_00": 1.0}, {"step": 1, "grad_norm/layer_01": 1.0}],
    ],
)
def test_without_two_places_measured_together_there_is_no_map(rows):
    assert heat(series(rows), "grad_norm") is None


def test_places_go_from_the_input_to_the_output():
    names = ["head", "layer_10", "final_norm", "layer_2", "embedding"]
    found = ordered(f"grad_norm/{name}" for name in names)
    assert [place(name).name for name in found] == ["embedding", "layer_2", "layer_10", "final_norm", "head"]


def test_what_matters_comes_first():
    found = ordered(["zeta", "grad_norm/layer_00", "lr", "loss", "stream/rms/layer_00", "alpha"])
    assert found == ["loss", "lr", "zeta", "alpha", "grad_norm/layer_00", "stream/rms/layer_00"]


def test_detail_times_and_words_are_no_series():
    row = {"step": 3, "tokens": 9, "loss": 2.0, "time/seconds": 1.0, "nonfinite/loss": 0.0}
    row |= {"nonfinite/site": "layer_00", "grad_norm/layer_00/attn.qkv": 1.0, "grad_norm/layer_00": 2.0}
    assert series([row]) == {"loss": ([3], [2.0]), "grad_norm/layer_00": ([3], [2.0])}

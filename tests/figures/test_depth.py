"""Profiles against layer: which steps they take, and what is drawn of them."""

import math

import numpy as np
import pytest

from normlab.figures import image
from normlab.figures.columns import columns, table
from normlab.figures.depth import nearest_steps, profile, profiles, usual_steps
from normlab.measure.families import FAMILIES

FAMILY = FAMILIES["grad_norm"]


def tables(*seeds):
    """One table a seed, of rows {step: value of layer_00}; layer_01 has ten times that."""
    made = []
    for seed in seeds:
        rows = [
            {"step": step, "loss": 1.0, "grad_norm/layer_00": value, "grad_norm/layer_01": 10 * value}
            | {"grad_norm/embedding": 1.0, "grad_norm/head": 2.0}
            for step, value in seed.items()
        ]
        made.append(table(columns(rows, ["grad_norm"]), "grad_norm"))
    return made


@pytest.mark.parametrize(
    ("last", "steps"),
    [(0, [0]), (5, [0, 5]), (11, [0, 11]), (149, [0, 10, 100, 149]), (1200, [0, 10, 100, 1200])],
)
def test_the_usual_steps_are_the_ends_and_powers_of_ten(last, steps):
    assert usual_steps(range(last + 1)) == (steps if last else [0, 0])
    found = profile("", tables(dict.fromkeys(range(last + 1), 1.0)))
    assert [line.step for line in found.lines] == steps


def test_a_step_that_was_not_measured_is_the_nearest_one_and_none_beyond_the_end():
    measured = range(0, 160, 20)
    assert nearest_steps(measured, [1, 9, 11, 100, 150, 160, 5000]) == [0, 20, 100, 140]
    assert nearest_steps(measured, [5000]) == [] == nearest_steps([], [1])


def test_a_line_is_the_median_of_the_seeds_with_their_range():
    found = profile("", tables({0: 1.0, 5: 2.0}, {0: 3.0, 5: 8.0}, {0: 4.0}), [0, 5])
    first, last = found.lines
    assert found.places == ["embedding", "layer_00", "layer_01", "head"]
    np.testing.assert_allclose(first.median, [1, 3, 30, 2])
    np.testing.assert_allclose([first.low[1], first.high[1]], [1, 4])
    np.testing.assert_allclose(last.median, [1, 5, 50, 2])  # of the two that came so far


def test_layers_are_a_line_and_the_ends_stand_apart():
    figure = profiles([profile("post", tables({0: 0.5, 7: 0.25}))], FAMILY, "title")
    (axes,) = figure.axes
    lines = [line.get_xydata().tolist() for line in axes.lines if line.get_linestyle() == "-"]
    assert lines == [[[0, 0.5], [1, 5.0]], [[0, 0.25], [1, 2.5]]]
    ends = [line.get_xydata().tolist() for line in axes.lines if line.get_linestyle() == "None"]
    assert [[x for x, _ in points] for points in ends] == [[-1, 2], [-1, 2]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["emb", "0", "1", "head"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("layer", "gradient norm (L2)")
    assert axes.get_yscale() == "log"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["step 0", "step 7"]
    markers = {line.get_marker() for line in axes.lines if line.get_linestyle() == "-"}
    assert len(markers) == 2  # told apart in grey too


@pytest.mark.parametrize(("value", "word", "marker"), [(math.nan, "not finite", "x"), (0.0, "zero", "o")])
def test_what_a_log_axis_cannot_show_is_a_sign_at_its_edge(value, word, marker):
    figure = profiles([profile("", tables({0: 1.0, 3: value}))], FAMILY)
    image(figure)
    assert word in [text.get_text() for text in figure.legends[0].get_texts()]
    signs = [line for line in figure.axes[0].lines if line.get_marker() == marker]
    assert any(line.get_xdata().tolist() == [0, 1] for line in signs)


def test_a_run_that_is_nowhere_finite_is_drawn_all_the_same():
    image(profiles([profile("", tables({0: math.nan}))], FAMILY))
    image(profiles([profile("", tables({0: math.inf, 1: 0.0}))], FAMILY))


@pytest.mark.parametrize("depth", [1, 2, 12, 48, 99])
@pytest.mark.parametrize("panels", [1, 6])
def test_labels_of_deep_models_do_not_overlap(overlaps, depth, panels):
    places = ["embedding", *(f"layer_{layer:02d}" for layer in range(depth)), "final_norm", "head"]
    rows = [{"step": 0, "loss": 1.0} | {f"grad_norm/{place}": 1.0 for place in places}]
    each = profile("post warmup=100", [table(columns(rows, ["grad_norm"]), "grad_norm")])
    figure = profiles([each] * panels, FAMILY)
    labels = figure.axes[0].get_xticklabels()
    assert {"emb", "0", "norm", "head"} <= {label.get_text() for label in labels}
    assert not overlaps(figure, labels)


def test_linear_families_keep_values_below_zero():
    rows = [{"step": 0, "loss": 1.0, "update/cosine/layer_00": -0.5, "update/cosine/layer_01": 0.5}]
    each = profile("", [table(columns(rows, ["update/cosine"]), "update/cosine")])
    axes = profiles([each], FAMILIES["update/cosine"]).axes[0]
    assert axes.get_yscale() == "linear" and axes.get_ylim()[0] < -0.5

"""Heat maps, checked in the pixels and artists they are made of."""

import math

import numpy as np
import pytest

from normlab.figures import image, pictures
from normlab.figures.columns import columns
from normlab.figures.heat import heat, heat_maps
from normlab.figures.style import WIDTH
from normlab.measure.families import FAMILIES, USUAL
from normlab.rundir.opening import Opening
from normlab.rundir.writer import RunDirectory

FLOORS = {"uniform": 5.545, "unigram": 3.147, "bigram": 2.31}
SITES = ("embedding", "layer_00", "layer_01", "final_norm", "head")
EVENT = {"step": 40, "kind": "spike", "metric": "loss", "layers": [], "message": ""}


def heat_map(rows, key="grad_norm", events=()):
    family = FAMILIES[key]
    return heat_maps([heat("one", columns(rows, [key]), family, events)], family, "title")


def mesh_of(figure):
    """(values, edges) of the heat map: [sites, columns] as drawn, and the steps between which."""
    (mesh,) = figure.axes[0].collections
    return mesh.get_array(), mesh.get_coordinates()[0, :, 0]


def test_the_heat_map_has_every_layer_and_step(rows_of):
    figure = heat_map(rows_of(60), events=[EVENT])
    values, edges = mesh_of(figure)
    assert values.shape == (5, 60)
    np.testing.assert_allclose(values[:, 7], [0.01, 0.02, 0.03, 0.04, 0.05])
    np.testing.assert_array_equal(edges, range(61))
    axes = figure.axes[0]
    names = ["embedding", "0", "1", "final norm", "head"]
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "layer")
    assert figure.axes[1].get_ylabel() == "gradient norm (L2), log scale"
    assert "spike 40" in [text.get_text() for text in axes.texts]


def test_a_spike_of_one_step_among_twenty_thousand_is_seen(rows_of, count_pixels):
    rows = rows_of(20_000)
    quiet = image(heat_map(rows))
    rows[12_345]["grad_norm/layer_01"] = 100.0
    figure = heat_map(rows)
    values, edges = mesh_of(figure)
    assert values.shape[1] <= 900
    (column,) = np.flatnonzero(values[2] == 100.0)
    assert edges[column] <= 12_345 < edges[column + 1]
    assert (edges[0], edges[-1]) == (0, 20_000)
    yellow = "#fde737"  # the top of cividis
    loud = image(figure)
    assert count_pixels(loud, yellow) > 30  # a column of one layer's height and more than no pixel wide
    assert np.asarray(quiet).shape == np.asarray(loud).shape


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_has_its_own_colour_and_legend(rows_of, count_pixels, bad):
    rows = rows_of(50)
    clean = image(heat_map(rows))
    for row in rows[30:]:
        row |= {"loss": bad, "grad_norm/layer_00": bad}
    figure = heat_map(rows)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["not finite"]
    assert count_pixels(image(figure), "#D55E00") - count_pixels(clean, "#D55E00") > 5000


def test_zero_is_not_the_smallest_norm(rows_of, count_pixels):
    rows = rows_of(50)
    clean = image(heat_map(rows))
    for row in rows:
        row["grad_norm/embedding"] = 0.0
    figure = heat_map(rows)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["zero"]
    assert count_pixels(image(figure), "#000000", 0) - count_pixels(clean, "#000000", 0) > 5000
    assert figure.axes[0].collections[0].norm.vmin == pytest.approx(0.02)


@pytest.mark.parametrize("steps", [1, 2])
def test_short_runs_have_maps_too(rows_of, steps):
    assert image(heat_map(rows_of(steps))).width == WIDTH * 160
    image(heat_map(rows_of(steps, **{f"grad_norm/{site}": math.nan for site in SITES})))


def test_rows_that_are_not_every_step_lie_where_they_belong(rows_of):
    _, edges = mesh_of(heat_map([row for row in rows_of(100) if row["step"] % 10 == 0]))
    np.testing.assert_array_equal(edges, range(0, 101, 10))


def test_what_is_measured_every_so_often_has_columns_of_that_length_and_no_holes(rows_of):
    """Stream and update every 20th step, in rows of every step; the update stops at step 40."""
    rows = rows_of(100)
    for row in rows[::20]:
        row |= {f"stream/rms/layer_{layer:02d}": 1.0 + layer + row["step"] for layer in range(2)}
        row["stream/rms/layer_01/attn"] = 9.0
        row |= {"update/ratio/layer_00": 0.25} if row["step"] <= 40 else {}
    values, edges = mesh_of(heat_map(rows, "stream/rms"))
    np.testing.assert_array_equal(edges, [0, 20, 40, 60, 80, 100])
    np.testing.assert_array_equal(values, [[1, 21, 41, 61, 81], [2, 22, 42, 62, 82]])
    assert not np.ma.is_masked(values)
    values, edges = mesh_of(heat_map(rows, "update/ratio"))
    np.testing.assert_array_equal(edges, [0, 20, 40, 60])
    # All maps of a run have the run's axis, and the last column ends with it.
    assert {heat_map(rows, key).axes[0].get_xlim() for key in USUAL} == {(0, 100)}
    assert mesh_of(heat_map(rows[:2], "stream/rms"))[1].tolist() == [0, 2]


def test_an_event_is_a_dot_in_the_layer_where_it_began(rows_of):
    known = EVENT | {"layers": ["layer_01", "head"]}
    elsewhere = EVENT | {"layers": ["nowhere"]}
    late = known | {"step": 4000}
    axes = heat_map(rows_of(60), events=[known, elsewhere, EVENT, late]).axes[0]
    dots = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "o"]
    assert dots == [[[40, SITES.index("layer_01")]]]
    assert axes.get_xlim() == (0, 60)


@pytest.mark.parametrize("depth", [1, 12, 30, 31, 48, 96, 99])
def test_deep_models_have_labels_that_do_not_overlap(overlaps, depth):
    places = ["embedding", *(f"layer_{layer:02d}" for layer in range(depth)), "final_norm", "head"]
    rows = [{"step": 0, "loss": 1.0} | {f"grad_norm/{place}": 1.0 for place in places}]
    family = FAMILIES["grad_norm"]
    each = heat("one", columns(rows, ["grad_norm"]), family)
    for count in (1, 6):
        figure = heat_maps([each] * count, family)
        labels = figure.axes[0].get_yticklabels()
        assert {"embedding", "head"} <= {label.get_text() for label in labels}
        assert not overlaps(figure, labels)
        assert len(labels) >= min(depth, 5) + 2


def test_several_maps_share_one_scale_of_colours(rows_of):
    family = FAMILIES["grad_norm"]
    low, high = (columns(rows_of(9, **{"grad_norm/layer_00": value}), ["grad_norm"]) for value in (1e-6, 1e3))
    figure = heat_maps([heat("a", low, family), heat("b", high, family)], family)
    norms = [axes.collections[0].norm for axes in figure.axes[:2]]
    assert [(norm.vmin, norm.vmax) for norm in norms] == [(1e-6, 1e3)] * 2
    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == ["a", "b"]


def test_models_of_different_places_have_their_own_labels(rows_of, overlaps):
    family = FAMILIES["grad_norm"]
    rows = rows_of(200)
    short = [{key: value for key, value in row.items() if "final_norm" not in key} for row in rows]
    maps = [heat(name, columns(each, ["grad_norm"]), family) for name, each in (("a", rows), ("b", short))]
    figure = heat_maps(maps * 3, family)
    names = [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes[:2]]
    assert names == [["embedding", "0", "1", "final norm", "head"], ["embedding", "0", "1", "head"]]
    assert all(axes.get_ylim()[1] == len(each) - 0.5 for axes, each in zip(figure.axes, names, strict=False))
    assert not overlaps(figure, figure.axes[0].get_xticklabels())


def test_a_family_with_values_below_zero_has_a_linear_scale():
    rows = [{"step": 0, "loss": 1.0, "update/cosine/layer_00": -0.5, "update/cosine/layer_01": 0.5}]
    figure = heat_map(rows, "update/cosine")
    norm = figure.axes[0].collections[0].norm
    assert (type(norm).__name__, norm.vmin, norm.vmax) == ("Normalize", -0.5, 0.5)
    assert mesh_of(figure)[0].tolist() == [[-0.5], [0.5]]


def test_pictures_of_a_run_directory(tmp_path, rows_of):
    sink = RunDirectory({})
    sink.open(
        Opening(
            directory=tmp_path / "run",
            config={},
            name="",
            sweep=None,
            floors=FLOORS,
            parameters=1,
            first_step=0,
        )
    )
    assert pictures(tmp_path / "run") == {}
    for row in rows_of(5):
        sink.row(row | {"stream/rms/layer_00": 1.0})
    sink.event(EVENT)
    sink.close({"status": "finished", "floors": FLOORS})
    made = pictures(tmp_path / "run")
    assert sorted(made) == ["figures/grad_norm", "figures/loss", "figures/stream_rms"]
    assert {picture.mode for picture in made.values()} == {"RGB"}

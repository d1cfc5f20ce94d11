"""The figures, checked in the pixels and artists they are made of."""

import math

import numpy as np
import pytest

from normlab.analysis.figures import HEAT_MAPS, heat_map, image, loss_curve, pictures
from normlab.sinks.base import Opening
from normlab.sinks.run_directory import RunDirectory

FLOORS = {"uniform": 5.545, "unigram": 3.147, "bigram": 2.31}
GRADIENT = HEAT_MAPS["grad_norm"]
SITES = ("embedding", "layer_00", "layer_01", "final_norm", "head")
EVENT = {"step": 40, "kind": "spike", "metric": "loss", "layers": [], "message": ""}


def rows_of(steps, **more):
    rows = []
    for step in range(steps):
        row = {"step": step, "loss": 5.5 - step / steps, "grad_norm/global": 9.0}
        row |= {f"grad_norm/{site}": 0.01 * (number + 1) for number, site in enumerate(SITES)}
        row["grad_norm/layer_00/attn.qkv"] = 0.5
        rows.append(row | more)
    return rows


def mesh_of(figure):
    """(values, edges) of the heat map: [sites, columns] as drawn, and the steps between which."""
    (mesh,) = figure.axes[0].collections
    return mesh.get_array(), mesh.get_coordinates()[0, :, 0]


def colours(picture, colour, tolerance=12):
    """How many pixels are about of this colour."""
    wanted = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)])
    return int((np.abs(np.asarray(picture).astype(int) - wanted).max(axis=2) <= tolerance).sum())


def test_the_loss_is_drawn_as_it_is_with_floors_and_events():
    rows = rows_of(100)
    rows[-1]["val/loss"] = 4.7
    figure = loss_curve(rows, FLOORS, [EVENT], title="placement=post")
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_array_equal(lines["training loss"].get_ydata(), [row["loss"] for row in rows])
    np.testing.assert_array_equal(lines["validation loss"].get_xydata(), [[99, 4.7]])
    levels = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert levels == list(FLOORS.values())
    words = [text.get_text() for text in axes.texts]
    assert words == ["ln V 5.545", "unigram 3.147", "bigram 2.310", "spike 40"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "loss (nats per token)")
    assert axes.get_yscale() == "linear"
    assert "placement=post" in axes.get_title(loc="left")


def test_the_heat_map_has_every_layer_and_step():
    rows = rows_of(60)
    figure = heat_map(rows, GRADIENT, [EVENT])
    values, edges = mesh_of(figure)
    assert values.shape == (5, 60)
    np.testing.assert_allclose(values[:, 7], [0.01, 0.02, 0.03, 0.04, 0.05])
    np.testing.assert_array_equal(edges, range(61))
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(SITES)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "layer")
    assert "log" in figure.axes[1].get_ylabel()
    assert "spike 40" in [text.get_text() for text in axes.texts]


def test_a_spike_of_one_step_among_twenty_thousand_is_seen():
    rows = rows_of(20_000)
    quiet = image(heat_map(rows, GRADIENT))
    rows[12_345]["grad_norm/layer_01"] = 100.0
    figure = heat_map(rows, GRADIENT)
    values, edges = mesh_of(figure)
    assert values.shape[1] <= 900
    (column,) = np.flatnonzero(values[2] == 100.0)
    assert edges[column] <= 12_345 < edges[column + 1]
    assert (edges[0], edges[-1]) == (0, 20_000)
    yellow = "#fde737"  # the top of cividis
    loud = image(figure)
    assert colours(loud, yellow) > 30  # a column of one layer's height and more than no pixel wide
    assert np.asarray(quiet).shape == np.asarray(loud).shape
    rows[12_345]["loss"] = 50.0
    curve = np.asarray(image(loss_curve(rows, FLOORS))).astype(int)
    blue = np.abs(curve - [0x00, 0x72, 0xB2]).max(axis=2) < 60
    # The spike's own column is blue nearly from top to bottom.
    assert blue.sum(axis=0).max() > 0.5 * curve.shape[0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_has_its_own_colour_and_legend(bad):
    rows = rows_of(50)
    clean = image(heat_map(rows, GRADIENT))
    for row in rows[30:]:
        row |= {"loss": bad, "grad_norm/layer_00": bad}
    figure = heat_map(rows, GRADIENT)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["not finite"]
    assert colours(image(figure), "#D55E00") - colours(clean, "#D55E00") > 5000
    curve = loss_curve(rows, FLOORS)
    (crosses,) = [line for line in curve.axes[0].lines if line.get_label() == "loss not finite"]
    np.testing.assert_array_equal(crosses.get_xdata(), range(30, 50))
    image(curve)


def test_zero_is_not_the_smallest_norm():
    rows = rows_of(50)
    clean = image(heat_map(rows, GRADIENT))
    for row in rows:
        row["grad_norm/embedding"] = 0.0
    figure = heat_map(rows, GRADIENT)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["zero"]
    assert colours(image(figure), "#000000", 0) - colours(clean, "#000000", 0) > 5000
    assert figure.axes[0].collections[0].norm.vmin == pytest.approx(0.02)


def test_an_explosion_leaves_the_floors_readable():
    rows = rows_of(50)
    rows[-1]["loss"] = 1e6
    axes = loss_curve(rows, FLOORS).axes[0]
    assert axes.get_yscale() == "log"
    low, high = axes.get_ylim()
    assert low < 2.31 < 1e6 < high


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("loss", [1.0, math.nan])
def test_short_runs_have_figures_too(steps, loss):
    rows = rows_of(steps, loss=loss)
    for figure in (loss_curve(rows, FLOORS), loss_curve(rows), heat_map(rows, GRADIENT)):
        assert image(figure).size == (1170, 624)
    image(heat_map([{"step": 0, "loss": 1.0}], GRADIENT))
    image(heat_map(rows_of(3, **{f"grad_norm/{site}": math.nan for site in SITES}), GRADIENT))


def test_rows_that_are_not_every_step_lie_where_they_belong():
    _, edges = mesh_of(heat_map([row for row in rows_of(100) if row["step"] % 10 == 0], GRADIENT))
    np.testing.assert_array_equal(edges, range(0, 101, 10))


def test_a_title_is_taken_literally():
    image(loss_curve(rows_of(3), title=r"$\frac{ x_ $ ^ \n"))


def test_what_is_measured_every_so_often_has_columns_of_that_length_and_no_holes():
    """Stream and update every 20th step, in rows of every step; the update stops at step 40."""
    rows = rows_of(100)
    for row in rows[::20]:
        row |= {f"stream/rms/layer_{layer:02d}": 1.0 + layer + row["step"] for layer in range(2)}
        row["stream/rms/layer_01/attn"] = 9.0
        row |= {"update/ratio/layer_00": 0.25} if row["step"] <= 40 else {}
    figure = heat_map(rows, HEAT_MAPS["stream_rms"])
    values, edges = mesh_of(figure)
    np.testing.assert_array_equal(edges, [0, 20, 40, 60, 80, 100])
    np.testing.assert_array_equal(values, [[1, 21, 41, 61, 81], [2, 22, 42, 62, 82]])
    assert not np.ma.is_masked(values)
    values, edges = mesh_of(heat_map(rows, HEAT_MAPS["update_ratio"]))
    np.testing.assert_array_equal(edges, [0, 20, 40, 60])
    # All maps of a run have the run's axis, and the last column ends with it.
    assert {heat_map(rows, what).axes[0].get_xlim() for what in HEAT_MAPS.values()} == {(0, 100)}
    assert mesh_of(heat_map(rows[:2], HEAT_MAPS["stream_rms"]))[1].tolist() == [0, 2]


def test_an_event_is_a_dot_in_the_layer_where_it_began():
    known = EVENT | {"layers": ["layer_01", "head"]}
    elsewhere = EVENT | {"layers": ["nowhere"]}
    late = known | {"step": 4000}
    axes = heat_map(rows_of(60), GRADIENT, [known, elsewhere, EVENT, late]).axes[0]
    dots = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "o"]
    assert dots == [[[40, SITES.index("layer_01")]]]
    assert axes.get_xlim() == (0, 60)


@pytest.mark.parametrize("depth", [1, 12, 30, 31, 48, 96, 99])
def test_deep_models_have_labels_that_do_not_overlap(depth):
    rows = [{"step": 0, "loss": 1.0} | {f"grad_norm/layer_{layer:02d}": 1.0 for layer in range(depth)}]
    axes = heat_map(rows, GRADIENT).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert (labels[0], labels[-1]) == ("layer_00", f"layer_{depth - 1:02d}")
    # A label of 7 points is as high as a line where there are some 35 of them.
    assert min(np.diff(axes.get_yticks()), default=depth) >= depth / 35


def test_pictures_of_a_run_directory(tmp_path):
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

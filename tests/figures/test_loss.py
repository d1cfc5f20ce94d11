"""Loss curves, checked in the pixels and artists they are made of."""

import math

import numpy as np
import pytest
from scipy import stats

from normlab.figures import image
from normlab.figures.columns import columns
from normlab.figures.loss import Bundle, Facet, band, curve, loss_curves

FLOORS = {"uniform": 5.545, "unigram": 3.147, "bigram": 2.31}
EVENT = {"step": 40, "kind": "spike", "metric": "loss", "layers": [], "message": ""}


def run(losses, events=()):
    return curve(columns([{"step": step, "loss": loss} for step, loss in enumerate(losses)]), events)


def alone(rows, floors=None, events=(), title=""):
    return loss_curves([Facet("", [Bundle("run", [curve(columns(rows), events)])])], floors or {}, title)


def lines_of(axes, colour="#0072B2"):
    return [line for line in axes.lines if line.get_color() == colour]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_loss_is_drawn_as_it_is_with_floors_and_events(rows_of):
    rows = rows_of(100)
    rows[-1]["val/loss"] = 4.7
    figure = alone(rows, FLOORS, [EVENT], title="placement=post")
    (axes,) = figure.axes
    np.testing.assert_array_equal(lines_of(axes)[0].get_ydata(), [row["loss"] for row in rows])
    np.testing.assert_array_equal(lines_of(axes, "#E69F00")[0].get_xydata(), [[99, 4.7]])
    levels = {line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"} - {4.7}
    assert levels == set(FLOORS.values())
    words = {text.get_text() for text in axes.texts}
    assert words == {"ln V 5.545", "unigram 3.147", "bigram 2.310", "spike 40"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "loss (nats per token)")
    assert axes.get_yscale() == "linear"
    assert figure.get_suptitle() == "placement=post"
    assert legend(figure) == ["training loss", "validation loss"]


def test_very_many_events_are_two_rows_of_marks(rows_of):
    events = [{**EVENT, "step": step % 100, "kind": f"kind{step}"} for step in range(5000)]
    (axes,) = alone(rows_of(100), FLOORS, events).axes
    marks = [line for line in axes.lines if line.get_marker() in ("v", "^")]
    assert [line.get_xdata().tolist() for line in marks] == [list(range(100))] * 2


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_spike_of_one_step_in_five_thousand_is_seen(seeds):
    rng = np.random.default_rng(0)
    losses = 3 + 0.05 * rng.standard_normal((seeds, 5000))
    losses[-1, 3210] = 8.0
    curves = [run(each) for each in losses.tolist()]
    figure = loss_curves([Facet("", [Bundle("post", curves)])], FLOORS)
    pixels = np.asarray(image(figure)).astype(int)
    background = (pixels.min(axis=2) > 250).mean(axis=0)
    (axes,) = figure.axes
    column = int(axes.transData.transform((3210, 5.0))[0])
    # Anything but white from the curve to the top; neighbours 20 pixels off are white there.
    top, bottom = (
        pixels.shape[0] - int(axes.transData.transform((3210, height))[1]) for height in (7.8, 5.8)
    )
    stretch = pixels[top:bottom, column - 3 : column + 4].min(axis=(1, 2))
    assert (stretch < 230).all()
    assert (pixels[top:bottom, column + 20] > 250).all()
    assert background.max() > 0.5


def test_seeds_are_a_mean_with_their_range_or_a_student_interval():
    losses = [[5.0, 4.0, 3.0], [5.2, 4.4, 2.0], [4.8, 4.8, 4.0]]
    curves = [run(each) for each in losses]
    found = band(curves)
    np.testing.assert_allclose(found.mean, [5.0, 4.4, 3.0])
    np.testing.assert_allclose(found.low, [4.8, 4.0, 2.0])
    np.testing.assert_allclose(found.high, [5.2, 4.8, 4.0])
    half = stats.t.ppf(0.975, 2) * np.std([3.0, 2.0, 4.0], ddof=1) / math.sqrt(3)
    assert band(curves, "ci").high[-1] == pytest.approx(3.0 + half)
    for kind, words in (("range", "range of the seeds"), ("ci", "95 % interval")):
        figure = loss_curves([Facet("", [Bundle("post", curves)])], FLOORS, kind=kind)
        assert legend(figure)[0] == "post (n=3)" and legend(figure)[1].startswith(words)
        (shade,) = figure.axes[0].collections
        heights = shade.get_paths()[0].vertices[:, 1]
        assert heights.max() == pytest.approx(band(curves, kind).high.max())


def test_the_mean_ends_where_a_seed_does_and_the_others_go_on_by_themselves():
    curves = [run([5.0, 4.0, 3.0, 2.0]), run([5.0, 4.0]), run([5.0, 4.0, math.nan, math.nan])]
    np.testing.assert_array_equal(band(curves).steps, [0, 1])
    # Nor does the mean come back once a seed was lost.
    np.testing.assert_array_equal(band([run([5.0, 4.0, 3.0]), run([5.0, math.nan, 3.0])]).steps, [0])
    axes = loss_curves([Facet("", [Bundle("post", curves)])], FLOORS).axes[0]
    rest = [line.get_xydata().tolist() for line in lines_of(axes)]
    assert [[1, 4], [2, 3], [3, 2]] in rest
    (cross,) = [line for line in axes.lines if line.get_marker() == "x"]
    np.testing.assert_array_equal(cross.get_xdata(), [2, 3])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_a_cross(rows_of, bad):
    rows = rows_of(50)
    for row in rows[30:]:
        row["loss"] = bad
    figure = alone(rows, FLOORS)
    (cross,) = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    np.testing.assert_array_equal(cross.get_xdata(), range(30, 50))
    assert "loss not finite" in legend(figure)
    image(figure)


def test_an_explosion_leaves_the_floors_readable(rows_of):
    rows = rows_of(50)
    rows[-1]["loss"] = 1e6
    axes = alone(rows, FLOORS).axes[0]
    assert axes.get_yscale() == "log"
    low, high = axes.get_ylim()
    assert low < 2.31 < 1e6 < high


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("loss", [1.0, 0.0, math.nan])
def test_short_runs_have_curves_too(rows_of, steps, loss):
    rows = rows_of(steps, loss=loss)
    for figure in (alone(rows, FLOORS), alone(rows)):
        assert image(figure).size == (1152, 624)
    if loss == 1.0 and steps == 1:
        assert lines_of(alone(rows).axes[0])[0].get_marker() == "o"  # a line of one point is not seen


@pytest.mark.parametrize("words", [r"$\frac{ x_ $ ^ \n", "a$b", "$$", "[red]x[/red]", "_under", "\x1b[31m\n"])
def test_names_are_taken_literally(rows_of, words):
    bundles = [Bundle(words, [run([3.0, 2.0])]), Bundle("other", [run([3.0, 1.0])])]
    figure = loss_curves([Facet(words, bundles), Facet("b", bundles)], FLOORS, title=words)
    image(figure)
    shown = [figure.get_suptitle(), figure.axes[0].get_title(loc="left"), legend(figure)[0]]
    for text in shown:
        letters = text.replace(r"\$", "$").strip()
        assert letters == "".join(letter if letter.isprintable() else "?" for letter in words)
    assert len(legend(figure)) == 2


def test_events_close_together_are_marked_and_not_named_over_each_other(rows_of, overlaps):
    events = [EVENT | {"step": step, "kind": "slow_divergence"} for step in (3, 5, 40, 41, 60, 96, 99)]
    figure = alone(rows_of(100), FLOORS, events)
    names = [text for text in figure.axes[0].texts if "slow" in text.get_text()]
    assert len(names) >= 3 and not overlaps(figure, names)
    [marks] = [line.get_xdata().tolist() for line in figure.axes[0].lines if line.get_marker() == "v"]
    assert marks == [3, 5, 40, 41, 60, 96, 99]
    figure.canvas.draw()
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in names)


def test_floors_close_together_have_names_that_do_not_overlap(rows_of, overlaps):
    figure = alone(rows_of(20), {"unigram": 3.1, "bigram": 2.31, "entropy_rate": 2.305, "uniform": 5.5})
    names = [text for text in figure.axes[0].texts if text.get_text()[0] in "lube"]
    assert len(names) == 4 and not overlaps(figure, names)
    floors = {"unigram": 3.148, "bigram": 2.414, "uniform": 5.5}
    bundles = [Bundle(f"lr={number}", [run([5.0, 900.0])] * 2) for number in range(5)]
    for count in (2, 3, 6):
        figure = loss_curves([Facet("a", bundles)] * count, floors)
        names = [text for axes in figure.axes for text in axes.texts if text.get_text()[0] in "lub"]
        assert names and not overlaps(figure, names)


def test_of_several_runs_the_first_event_of_each_is_marked():
    late, early = EVENT | {"step": 3}, EVENT | {"step": 1}
    curves = [run([5.0, 4.0, 3.0, 2.0], [late, early]), run([5.0, 4.0, 3.0, 2.0], [late]), run([5.0, 4.0])]
    figure = loss_curves([Facet("", [Bundle("post", curves)])], FLOORS)
    marks = [line.get_xdata().tolist() for line in figure.axes[0].lines if line.get_marker() == "v"]
    assert marks == [[1, 3]]
    assert "first event of a run" in legend(figure)

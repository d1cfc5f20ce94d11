"""Outcome maps: which cells there are, and what they say."""

import itertools

import pytest

from normlab.compare.matching import replicates
from normlab.errors import UserError
from normlab.figures import image
from normlab.plot.material import UnfitError
from normlab.plot.outcome import COLOURS, knobs, maps, outcome_maps
from normlab.runs.reader import load


@pytest.fixture
def grouping(tmp_path, write):
    """Post and pre by three rates and two warm-ups, two seeds; post is stuck at high rates at once."""
    for placement in ("post", "pre"):
        for rate in (1e-3, 3e-3, 1e-2):
            for warmup in (0, 100):
                for seed in (0, 1):
                    stuck = placement == "post" and rate > 1e-3 and not warmup and (seed or rate > 5e-3)
                    write(
                        tmp_path / f"{placement}-{rate}-{warmup}-{seed}",
                        3.0 if stuck else 2.0,
                        seed=seed,
                        placement=placement,
                        warmup=warmup,
                        optimizer__lr=rate,
                        train__steps=200,
                        summary={"outcome": "stuck" if stuck else "stable"},
                    )
    return replicates(load(tmp_path))


def test_the_two_most_varied_knobs_are_taken(grouping):
    assert knobs(grouping) == ["optimizer.lr", "placement"]
    assert knobs(grouping, ["warmup", "placement"]) == ["warmup", "placement"]
    assert knobs(grouping, ["warmup"]) == ["warmup", "optimizer.lr"]
    with pytest.raises(UserError, match=r"--over depht: .*what differs: placement, warmup, optimizer.lr"):
        knobs(grouping, ["depht"])
    with pytest.raises(UserError, match="two knobs"):
        knobs(grouping, ["warmup", "placement", "optimizer.lr"])


def test_cells_count_outcomes_and_the_rest_are_panels(grouping):
    without, with_ = maps(grouping, ["optimizer.lr", "placement"])
    assert (without.label, with_.label) == ("warmup=0", "warmup=100")
    assert (without.across, without.up) == (["0.001", "0.003", "0.01"], ["post", "pre"])
    cells = {place: (dict(cell.outcomes), cell.loss) for place, cell in without.cells.items()}
    assert cells["0.001", "post"] == ({"stable": 2}, 2.0)
    assert cells["0.003", "post"] == ({"stable": 1, "stuck": 1}, 2.5)
    assert cells["0.01", "post"] == ({"stuck": 2}, 3.0)
    assert all(cell.outcomes == {"stable": 2} for cell in with_.cells.values())


def test_a_cell_is_divided_among_its_outcomes_and_names_them(grouping):
    chosen = ["optimizer.lr", "placement"]
    figure = outcome_maps(maps(grouping, chosen)[:1], chosen, "title")
    (axes,) = figure.axes
    boxes = [(patch.get_x(), patch.get_width(), patch.get_facecolor()) for patch in axes.patches]
    mixed = sorted(box for box in boxes if 0.5 < box[0] < 1.5 and box[1] < 0.5)
    assert [round(width, 2) for _, width, _ in mixed] == [0.46, 0.46]
    words = {text.get_text() for text in axes.texts}
    assert {"2 stable\n2.000", "1 stable\n1 stuck\n2.500", "2 stuck\n3.000"} == words
    assert [label.get_text() for label in axes.get_yticklabels()] == ["post", "pre"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("optimizer.lr", "placement")
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["stable", "stuck", "number: mean final validation loss, nats"]


def test_outcomes_are_told_apart_in_grey():
    def grey(colour):
        red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    levels = sorted(map(grey, COLOURS.values()))
    assert min(high - low for low, high in itertools.pairwise(levels)) > 0.05
    # The bad ones are far from the good one.
    assert grey(COLOURS["stable"]) - grey(COLOURS["exploded"]) > 0.4


def test_a_knob_may_be_a_list_and_there_may_be_one(tmp_path, write):
    for number, betas in enumerate(([0.9, 0.95], [0.9, 0.999])):
        write(tmp_path / str(number), 2.0, optimizer__betas=betas)
    found = replicates(load(tmp_path))
    chosen = knobs(found)
    (only,) = maps(found, chosen)
    assert chosen == ["optimizer.betas"] and only.across == ["[0.9,0.95]", "[0.9,0.999]"]
    image(outcome_maps([only], chosen))


def test_runs_that_did_not_finish_are_there_by_their_status(tmp_path, write):
    write(tmp_path / "a", 2.0, depth=4)
    write(tmp_path / "b", 2.0, depth=8, summary={"status": "interrupted", "val/final": None})
    write(tmp_path / "c", "NaN", depth=9, summary={"outcome": "nonfinite"})
    found = replicates(load(tmp_path))
    (only,) = maps(found, ["depth"])
    assert {place: dict(cell.outcomes) for place, cell in only.cells.items()} == {
        ("4", ""): {"stable": 1},
        ("8", ""): {"interrupted": 1},
        ("9", ""): {"nonfinite": 1},
    }
    assert [cell.loss for cell in only.cells.values()] == [2.0, None, None]
    image(outcome_maps([only], ["depth"]))


def test_replicates_alone_have_no_map(tmp_path, write):
    for seed in range(2):
        write(tmp_path / str(seed), 2.0, seed=seed)
    with pytest.raises(UnfitError, match="differ in a knob"):
        knobs(replicates(load(tmp_path)))


def test_hostile_values_are_drawn_as_they_are(tmp_path, write):
    for number, name in enumerate(("$x^2$", "[red]$")):
        write(tmp_path / str(number), 2.0, model__logit_scale=name)
    found = replicates(load(tmp_path))
    chosen = knobs(found)
    figure = outcome_maps(maps(found, chosen), chosen)
    image(figure)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == [r"\$x^2\$", r"[red]\$"]

"""The sheets of critical rates and of their slope against depth."""

import math

import numpy as np
import pytest

import normlab
from normlab.compare.axes import at_best_rate, lr_sensitivity
from normlab.compare.compare import compare
from normlab.compare.critical import critical, scaling
from normlab.compare.quantities import measure
from normlab.sweep.bisection import Variant

DEPTHS = [4.0, 8.0, 16.0, 48.0]


def variant(edge, factor=1.3, seeds=3, **knobs):
    """Tried on a grid, and stable below `edge`."""
    grid = [1e-4 * factor**step for step in range(60)]
    return Variant(
        knobs=knobs,
        outcomes={rate: dict.fromkeys(range(seeds), "stable" if rate < edge else "stuck") for rate in grid},
    )


def test_a_power_law_is_found_within_its_interval():
    for power in (-1.0, -0.5, 0.25):
        law = [variant(0.01 * depth**power, placement="pre", depth=int(depth)) for depth in DEPTHS]
        [row] = scaling(law).rows
        assert row["slope"].low <= power <= row["slope"].high
        assert row["slope"].value == pytest.approx(power, abs=0.1)


def test_no_slope_where_a_rate_is_not_enclosed():
    law = [variant(0.01, depth=4), variant(1e9, depth=8), variant(1e-9, depth=16)]
    sheet = scaling(law)
    assert sheet.rows[0]["slope"] is None and sheet.texts()[0][-2:] == ["-", "-"]
    assert any("at depth 8, 16" in note for note in sheet.notes)


def seeds(*words):
    return dict(enumerate(words))


def test_the_border_is_told_with_what_was_seen_at_it_and_beyond():
    tried = {
        0.1: seeds("stable", "spiked", "stable"),
        0.2: seeds("stuck", "stuck", "stable"),
        0.4: seeds("stable", "stable", "stable"),
        0.8: seeds("nonfinite", "nonfinite", "stuck"),
    }
    sheet = critical([Variant(knobs={"placement": "post"}, outcomes=tried)])
    texts = dict(zip([column.name for column in sheet.columns], sheet.texts()[0], strict=True))
    assert texts["fails"] == "0.8" and sheet.rows[0]["critical"].trains == 0.4
    assert texts["outcomes"] == "2 nonfinite, 1 stuck"
    assert 0.2 < sheet.rows[0]["critical"].value < 0.8
    assert sheet.notes == ["placement=post: not monotone: it fails at 0.2, and trains again at 0.4"]


def test_rates_too_low_to_learn_at_are_told_and_left_out():
    slow = {1e-4: seeds("untrained"), 1e-3: seeds("stable"), 1e-2: seeds("nonfinite")}
    sheet = critical([Variant(knobs={}, outcomes=slow)])
    assert sheet.rows[0]["critical"].value == pytest.approx(math.sqrt(1e-3 * 1e-2), rel=0.01)
    assert "all runs: 0.0001 too low to learn in so few steps: left out of the fit" in sheet.notes
    never = critical([Variant(knobs={}, outcomes={1e-4: seeds("untrained"), 1e-2: seeds("stuck")})])
    assert never.texts()[0][:2] == ["none trains", "[-, -]"]
    assert any("no rate tried trains, and none breaks: give more train.steps" in note for note in never.notes)
    broken = critical([Variant(knobs={}, outcomes={1e-4: seeds("nonfinite")})])
    assert broken.texts()[0][0] == "< 0.0001"
    assert not any("train.steps" in note for note in broken.notes)


def test_one_seed_is_told_to_know_nothing_of_others():
    notes = critical([variant(0.01, seeds=1)]).notes
    assert notes == ["all runs: one seed: its interval does not hold how far seeds differ"]
    assert critical([variant(0.01, seeds=3)]).notes == []


def test_the_best_rate_of_a_seed_is_chosen_by_the_others():
    curves = [{1.0: 2.0, 2.0: 1.0, 3.0: 3.0}, {1.0: 1.5, 2.0: 1.75, 3.0: 2.0}, {1.0: 2.0, 2.0: 1.5, 3.0: 2.5}]
    # Without the first the means are 1.75, 1.625, 2.25; without the second 2, 1.25, 2.75; then 1.75, 1.375.
    assert at_best_rate(curves) == [1.0, 1.75, 1.5]
    assert lr_sensitivity(curves) == pytest.approx([1.0, 0.0, 0.5])
    assert at_best_rate(curves[:1]) == [1.0] and at_best_rate([]) == []


def test_noise_alone_makes_no_variant_sensitive():
    rng = np.random.default_rng(0)
    found, flattered = [], []
    for _ in range(300):
        losses = 2.0 + 0.1 * rng.normal(size=(3, 5))
        curves = [dict(enumerate(row.tolist())) for row in losses]
        found += lr_sensitivity(curves)
        flattered += [float(row.mean() - row.min()) for row in losses]
    assert sum(found) / len(found) == pytest.approx(0.0, abs=0.01)
    assert sum(flattered) / len(flattered) > 0.1  # what subtracting each seed's own minimum gives


def test_a_search_that_could_not_go_on_says_so():
    sheet = critical(
        [Variant(knobs={}, outcomes={0.1: seeds("stable")}, stopped="at 0.2, 1 of 2 runs: lost")]
    )
    assert sheet.notes[0] == "all runs: not at its end, at 0.2, 1 of 2 runs: lost"
    assert sheet.texts()[0][0] == "≥ 0.1"


def test_a_comparison_of_a_grid_has_the_slope_too(tmp_path, write):
    for depth, top in ((4, 4), (8, 3), (16, 2)):
        for place in range(6):
            outcome = {"outcome": "stable" if place <= top else "exploded"}
            write(tmp_path / f"{depth}-{place}", depth=depth, optimizer__lr=1e-3 * 2**place, summary=outcome)
    sheets = {sheet.name: sheet for sheet in compare(normlab.load(tmp_path)).sheets}
    [row] = sheets["critical_depth"].records()
    assert row["slope"]["value"] == pytest.approx(-1) and row["depths"] == [4, 8, 16]
    assert row["slope"]["low"] < -1 < row["slope"]["high"]


def test_a_run_that_learns_no_more_than_frequencies_has_not_trained(tmp_path, write):
    write(tmp_path / "a", 2.5, optimizer__lr=1e-3)
    write(tmp_path / "b", 9.5, optimizer__lr=1e-1)  # stable by its events; it began at 6
    write(tmp_path / "c", 3.2, optimizer__lr=1e-2)  # and the text's unigram entropy is 3.1
    sheets = {sheet.name: sheet for sheet in compare(normlab.load(tmp_path)).sheets}
    found = sheets["sensitivity"].records()[0]["critical"]
    assert (found["trains"], found["fails"]) == (1e-3, 1e-2)
    assert [figures.word for figures in map(measure, normlab.load(tmp_path))] == [
        "stable",
        "untrained",
        "untrained",
    ]

"""Comparisons of runs whose losses are known."""

import json
import math

import pytest
from scipy import stats

from normlab.compare.compare import compare
from normlab.compare.study import CompareOptions, Study
from normlab.compare.tables import learnt_nothing
from normlab.errors import UserError
from normlab.runs.reader import load


@pytest.fixture
def compared():
    """`compared(folder, baseline=["placement=pre"])`: the sheets' records and the notes, by name."""
    return lambda *paths, **wanted: compare(load(*paths), CompareOptions(**wanted)).record()


def by(rows, key):
    return {row[key]: row for row in rows}


def test_losses_are_means_with_intervals_over_seeds(sweep, losses, compared):
    found = by(compared(sweep)["loss"], "placement")
    assert list(found) == ["pre", "post", "deepnorm"]
    low, high = stats.t.interval(0.95, 4, 2.51, stats.sem(losses["pre"]))
    pre = found["pre"]["val/final"]
    assert pre == {
        "value": pytest.approx(2.51),
        "low": pytest.approx(low),
        "high": pytest.approx(high),
        "n": 5,
        "capped": 0,
    }
    assert found["pre"]["excess/unigram"]["value"] == pytest.approx(2.51 - 3.1)
    assert found["pre"]["excess/bigram"]["value"] == pytest.approx(2.51 - 2.4)


def test_differences_are_paired_tested_and_corrected(sweep, losses, compared):
    found = compared(sweep, baseline=["placement=pre"])["differences"]
    tests = [stats.ttest_rel(losses[name], losses["pre"]) for name in ("post", "deepnorm")]
    smaller, larger = sorted(test.pvalue for test in tests)
    assert [row["placement"] for row in found] == ["post", "deepnorm"]
    assert [row["p"] for row in found] == pytest.approx([test.pvalue for test in tests])
    # Holm of two: the smaller doubled, the larger as it is.
    assert [row["p_holm"] for row in found] == pytest.approx([2 * smaller, larger])
    assert found[0]["difference"] == pytest.approx(0.304) and found[0]["pairs"] == 5
    gaps = [this - that for this, that in zip(losses["post"], losses["pre"], strict=True)]
    interval = stats.ttest_1samp(gaps, 0).confidence_interval()
    assert (found[0]["interval"]["low"], found[0]["interval"]["high"]) == pytest.approx(interval)
    # Five pairs cannot be too few to flip: 2 / 2^5 = .062.
    assert found[0]["p_flip"] is None
    assert [row["verdict"] for row in found] == ["higher", "equal"]


def test_the_margin_decides_on_parity(sweep, compared):
    verdicts = [compared(sweep, margin=margin)["differences"][1]["verdict"] for margin in (0.02, 0.0005)]
    assert verdicts == ["equal", "open"]
    with pytest.raises(UserError, match="--margin: must be a finite number above 0"):
        CompareOptions(margin=0)


def test_the_tokens_to_a_loss_need_that_loss():
    with pytest.raises(UserError, match=r"--metric tokens_to_target: it needs .* --target 2\.5"):
        CompareOptions(metric="tokens_to_target")


def test_a_baseline_of_one_knob_is_taken_at_the_same_values_of_the_others(tmp_path, write, compared):
    for warmup, gap in ((0, 0.3), (100, 0.1)):
        for seed in range(3):
            write(
                tmp_path / f"pre{warmup}{seed}", 2.5 + 0.01 * seed - warmup / 1000, seed=seed, warmup=warmup
            )
            loss = 2.5 + 0.011 * seed - warmup / 1000 + gap
            write(tmp_path / f"post{warmup}{seed}", loss, seed=seed, warmup=warmup, placement="post")
    found = compared(tmp_path, baseline=["placement=pre"])["differences"]
    assert [(row["placement"], row["warmup"]) for row in found] == [("post", 0), ("post", 100)]
    assert [row["difference"] for row in found] == pytest.approx([0.301, 0.101])
    whole = compared(tmp_path, baseline=["placement=pre", "warmup=1e2"])["differences"]
    assert len(whole) == 3 and whole[0]["difference"] == pytest.approx(0.401)


@pytest.fixture
def against(tmp_path, write):
    """`against({"placement": "post", ...}, ...)`: the sheet of differences of runs with these settings."""

    def sheet(*variants, **wanted):
        for number, knobs in enumerate(variants):
            write(tmp_path / str(number), 2.5 + number / 100, **knobs)
        sheets = {sheet.name: sheet for sheet in compare(load(tmp_path), CompareOptions(**wanted)).sheets}
        return sheets["differences"]

    return sheet


def test_without_a_baseline_all_other_knobs_are_matched(against):
    # post comes first, and each placement at two rates: neither is measured against another rate.
    rates = ({"optimizer__lr": rate} for rate in (1e-3, 1e-2))
    variants = [{"placement": name, **rate} for rate in rates for name in ("post", "pre", "keel")]
    sheet = against(*variants)
    assert sheet.title.startswith("Against placement=pre:")
    assert [(row["placement"], row["optimizer.lr"]) for row in sheet.rows] == [
        ("post", 1e-3),
        ("post", 1e-2),
        ("keel", 1e-3),
        ("keel", 1e-2),
    ]
    assert [row["difference"] for row in sheet.rows] == pytest.approx([-0.01, -0.01, 0.01, 0.01])
    assert any("--baseline KEY=VALUE measures optimizer.lr instead" in note for note in sheet.notes)


@pytest.mark.parametrize(
    ("variants", "title"),
    [
        # Of numbers the lowest, and the rate last.
        ([{"optimizer__lr": r, "warmup": w} for r in (1e-3, 1e-2) for w in (100, 0)], "warmup=0"),
        ([{"optimizer__lr": 1e-2}, {"optimizer__lr": 1e-3}], "optimizer.lr=0.001"),
        # normlab's default is not among them: the first.
        ([{"norm": "rmsnorm"}, {"norm": "dyt"}], "norm=rmsnorm"),
        # No two norms share a placement: what can be matched is the warm-up.
        (
            [
                {"norm": norm, "placement": place, "warmup": warmup}
                for norm, place in (("layernorm", "pre"), ("rmsnorm", "post"))
                for warmup in (0, 100)
            ],
            "warmup=0",
        ),
    ],
)
def test_the_baseline_is_one_knob_that_others_can_be_matched_on(against, variants, title):
    sheet = against(*variants)
    assert sheet.title.startswith(f"Against {title}:") and all(row["pairs"].value for row in sheet.rows)


def test_a_group_without_a_counterpart_says_which_is_missing(against):
    sheet = against({"placement": "pre"}, {"placement": "post"}, {"placement": "post", "warmup": 100})
    assert [row["verdict"] for row in sheet.rows] == [
        "1 pair, not tested",
        "no run with placement=pre warmup=100",
    ]


def test_two_knobs_at_once_are_not_tested_unless_asked_for(against):
    variants = {"placement": "pre"}, {"placement": "post", "warmup": 100}
    sheet = against(*variants)
    assert [row["verdict"] for row in sheet.rows] == ["no run with placement=pre warmup=100"]
    assert any("no two groups differ in one setting alone" in note for note in sheet.notes)


def test_two_knobs_at_once_that_are_asked_for_are_said_to_be_two(against):
    variants = {"placement": "pre"}, {"placement": "post", "warmup": 100}
    sheet = against(*variants, baseline=["placement=pre", "warmup=0"])
    assert sheet.rows[0]["difference"] == pytest.approx(0.01)
    assert any("several settings at once (placement, warmup)" in note for note in sheet.notes)


def test_runs_of_other_batches_are_no_pairs(sweep, write, compared):
    for seed in range(5):
        write(sweep / f"peri-{seed}", 2.6, seed=seed, placement="peri", summary={"batch_order": "another"})
    write(sweep / "sandwich", 2.6, seed=77, placement="sandwich")
    found = by(compared(sweep)["differences"], "placement")
    assert (found["peri"]["pairs"], found["peri"]["difference"], found["peri"]["p"]) == (0, None, None)
    assert found["peri"]["verdict"] == "5 of 5 seeds saw other batches"
    assert found["sandwich"]["verdict"] == "no seed in common"
    # Holm counts the tests that there were.
    assert found["deepnorm"]["p_holm"] == found["deepnorm"]["p"]


def test_runs_without_a_record_of_their_batches_are_no_pairs(tmp_path, write, compared):
    for name in ("pre", "post"):
        write(tmp_path / name, placement=name, summary={"batch_order": None})
    assert compared(tmp_path)["differences"][0]["pairs"] == 0


def test_some_unmatched_seeds_are_left_out_and_said(sweep, compared):
    path = sweep / "post-3" / "summary.json"
    path.write_text(path.read_text().replace("seed-3", "another"))
    found = compared(sweep)
    assert found["differences"][0]["pairs"] == 4
    sheets = {sheet.name: sheet for sheet in compare(load(sweep)).sheets}
    assert "1 of 5 seeds saw other batches: left out" in sheets["differences"].notes


@pytest.mark.parametrize(
    ("loss", "summary", "steps"),
    [
        ("NaN", {"outcome": "nonfinite"}, 30),
        ("Infinity", {"outcome": "nonfinite"}, 30),
        (7.25, {"outcome": "exploded"}, 30),
        # The last evaluation was before it stopped.
        (2.5, {"outcome": "nonfinite", "steps": 12}, 12),
    ],
)
@pytest.mark.parametrize("start", [5.2, 6.0, math.nan])
def test_a_diverged_run_counts_with_ln_v_wherever_its_loss_began(
    tmp_path, write, compared, loss, summary, steps, start
):
    write(tmp_path / "a", loss, summary=summary, steps=steps, start=start)
    write(tmp_path / "b", 2.0, seed=1)
    found = compared(tmp_path)
    assert found["loss"][0]["val/final"]["value"] == pytest.approx((5.5 + 2.0) / 2)
    assert (found["loss"][0]["val/final"]["n"], found["loss"][0]["val/final"]["capped"]) == (2, 1)
    assert any("Wortsman" in note for note in found["notes"])
    assert found["outcomes"][0]["diverged"] == 0.5


def test_what_a_run_reached_before_it_stopped_was_reached(tmp_path, write, compared):
    write(tmp_path / "a", 2.5, summary={"outcome": "nonfinite", "steps": 12}, steps=12)
    assert compared(tmp_path)["loss"][0]["val/best"]["value"] == 2.5


def test_outcomes_are_counted_and_tested(tmp_path, write, compared):
    event = {"kind": "plateau", "layers": ["layer_00", "layer_01"]}
    for seed in range(5):
        write(tmp_path / f"pre{seed}", 2.5, seed=seed)
        more = {"outcome": "stuck" if seed else "spiked", "first_event": event | {"step": 10 * seed}}
        loss = 3.1 if seed else 2.9
        write(tmp_path / f"post{seed}", loss, seed=seed, placement="post", summary=more)
    found = by(compared(tmp_path, baseline=["placement=pre"])["outcomes"], "placement")
    assert found["post"]["outcomes"] == {"stuck": 4, "spiked": 1}
    assert found["post"]["diverged"] == 0.8
    # 4 of 5 against none of 5: 2 * C(5,4) C(5,0) / C(10,4).
    assert found["post"]["p"] == pytest.approx(2 * 5 / 210)
    assert found["pre"]["p"] is None and found["pre"]["first_event"] is None
    first = {"kind": "plateau", "step": 20, "layer": "layer_00", "runs": 5, "of": 5}
    assert found["post"]["first_event"] == first


def test_few_runs_cannot_make_a_small_p_and_that_is_said(tmp_path, write):
    def note(*placements):
        for name in placements:
            for seed in range(3):
                write(tmp_path / f"{name}{seed}", seed=seed, placement=name)
        return {sheet.name: sheet for sheet in compare(load(tmp_path)).sheets}["outcomes"].notes

    assert note("pre", "post") == ["3 against 3 runs: p Fisher cannot fall below 0.1, whatever happens"]
    assert note("peri") == ["3 against 3 runs in 2 tests: p Fisher cannot fall below 0.2, whatever happens"]


def test_tokens_to_a_target_and_the_gradient_ratio(tmp_path, write, compared):
    # The mean of 20 losses on the line from 6 to 3.1 in 30 steps: 6 - 0.1 (t - 9.5) <= 4.505 at t = 25.
    for seed, ratio in enumerate((2.0, 3.0, 7.0)):
        write(tmp_path / f"a{seed}", 3.1, seed=seed, ratio=ratio)
    found = compared(tmp_path, target=4.505)["training"][0]
    assert found["tokens_to_target"]["value"] == 26_000
    assert (found["first_to_last/start"]["value"], found["first_to_last/end"]["value"]) == (1, 3)
    assert compared(tmp_path, target=3.0)["training"][0]["tokens_to_target"]["value"] == math.inf


def test_one_seed_says_nothing_of_spread(tmp_path, write, compared):
    write(tmp_path / "a", 2.5)
    write(tmp_path / "b", 2.4, placement="post")
    found = compared(tmp_path)
    assert any("nothing can be concluded about spread" in note for note in found["notes"])
    assert found["loss"][0]["val/final"]["low"] is None
    [row] = found["differences"]
    assert (row["pairs"], row["p"], row["p_holm"], row["verdict"]) == (1, None, None, "1 pair, not tested")


def test_one_run_is_described_and_has_nothing_to_be_compared_with(tmp_path, write, compared):
    found = compared(write(tmp_path / "a"))
    assert "differences" not in found and found["knobs"] == []
    assert any("nothing differs" in note for note in found["notes"])


def test_runs_that_did_not_end_are_left_out_and_said(sweep, write, compared):
    write(sweep / "x", 9.0, seed=5, summary={"status": "running", "outcome": None})
    write(sweep / "y", 9.0, seed=6, summary={"status": "failed", "error": "OSError"})
    found = compared(sweep)
    assert found["loss"][0]["n"] == 5
    assert "left out: 1 running, 1 failed (x, y)" in found["notes"]


def test_a_config_that_cannot_be_read_is_left_out_and_said_why(sweep, write, compared):
    path = write(sweep / "x", 9.0, seed=5)
    (path / "config.yaml").write_text("a: &x [1]\nb: *x\n")
    notes = compared(sweep)["notes"]
    assert "left out: 1 without a config (x)" in notes
    why = (
        "x: config.yaml cannot be read: it holds, in line 2, an alias (*), which stands for what is elsewhere"
    )
    assert any(note.startswith(why) for note in notes)
    with pytest.raises(UserError, match=r"left out: 1 without a config \(x\); x: config.yaml cannot be read"):
        compared(path)


def test_nothing_finished_is_refused(tmp_path, write, compared):
    write(tmp_path / "x", summary={"status": "running"})
    with pytest.raises(UserError, match=r"no finished run to compare: left out: 1 running \(x\)"):
        compared(tmp_path)


def test_the_same_run_twice_is_one(sweep, write, compared):
    write(sweep / "again", 2.51, seed=0)
    found = compared(sweep)
    assert found["loss"][0]["n"] == 5 and found["loss"][0]["val/final"]["value"] > 2.51
    assert any("repeats again (same settings, same seed)" in note for note in found["notes"])


def test_machine_and_instruments_make_no_groups(tmp_path, write, compared):
    write(tmp_path / "a", seed=0, train__threads=1)
    write(tmp_path / "b", seed=1, train__threads=2, measure="full", train__device="cpu")
    assert compared(tmp_path)["knobs"] == []


def test_different_texts_are_refused_unless_forced(sweep, write, compared):
    write(sweep / "other", 1.9, seed=9, summary={"floors": {"uniform": 4.2, "unigram": 3.3, "bigram": 2.5}})
    with pytest.raises(UserError, match=r"(?s)different texts.*other: [^\n]*uniform 4\.2.*--force"):
        compared(sweep)
    assert any("the texts differ" in note for note in compared(sweep, force=True)["notes"])


def test_different_numbers_of_steps_are_said(tmp_path, write, compared):
    write(tmp_path / "a")
    write(tmp_path / "b", train__steps=60, steps=60)
    assert any("different numbers of steps" in note for note in compared(tmp_path)["notes"])


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"baseline": ["placment=pre"]}, "placment does not differ .* Did you mean 'placement'"),
        ({"baseline": ["placement=per"]}, "placement is pre, post, deepnorm. Did you mean 'pre'"),
        ({"baseline": ["pre"]}, "is not KEY=VALUE"),
        ({"metric": "val/finl"}, "Did you mean 'val/final'"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(sweep, compared, wanted, said):
    with pytest.raises(UserError, match=said):
        compared(sweep, **wanted)


def test_settings_that_differ_are_said_with_whose_they_are(sweep, compared):
    found = by(compared(sweep)["settings"], "setting")
    assert "seed" not in found and "norm.name" not in found
    post = {"value": "false", "of": ["post", "deepnorm"]}
    assert found["placement.norm_in"]["values"] == [{"value": "true", "of": ["pre"]}, post]


@pytest.fixture
def rates(tmp_path, write):
    """Final losses of two placements over three rates; post gets stuck at the highest, once blows up."""
    table = {"pre": (2.8, 2.5, 2.6), "post": (2.9, 2.7, "NaN")}
    for placement, curve in table.items():
        for seed in range(2):
            for rate, loss in zip((1e-3, 1e-2, 1e-1), curve, strict=True):
                more = {"outcome": "nonfinite"} if loss == "NaN" else {}
                shifted = loss if loss == "NaN" else loss + 0.1 * seed
                directory = tmp_path / f"{placement}-{rate}-{seed}"
                write(directory, shifted, seed=seed, placement=placement, optimizer__lr=rate, summary=more)
    return tmp_path


def test_sensitivity_to_the_rate_is_wortsmans(rates, compared):
    found = by(compared(rates)["sensitivity"], "placement")
    assert found["pre"]["sensitivity"]["value"] == pytest.approx((0.3 + 0 + 0.1) / 3)
    # What is not finite counts as ln V, 5.5: for seed 0, then for seed 1.
    expected = [((2.9 - 2.7) + 0 + (5.5 - 2.7 - shift)) / 3 for shift in (0, 0.1)]
    assert found["post"]["sensitivity"]["value"] == pytest.approx(sum(expected) / 2)
    assert found["post"]["sensitivity"]["n"] == 2
    assert (found["pre"]["best_rate"], found["pre"]["best_loss"]["value"]) == (1e-2, pytest.approx(2.55))
    borders = {name: (row["critical"]["trains"], row["critical"]["fails"]) for name, row in found.items()}
    assert borders == {"pre": (1e-1, None), "post": (1e-2, 1e-1)}


def test_a_seed_that_lacks_a_rate_is_left_out_of_the_sensitivity(rates, write, compared):
    write(rates / "more", 2.4, seed=7, placement="pre", optimizer__lr=1e-2)
    assert by(compared(rates)["sensitivity"], "placement")["pre"]["n"] == 2
    sheets = {sheet.name: sheet for sheet in compare(load(rates)).sheets}
    assert sheets["sensitivity"].notes == [
        "placement=pre: 1 seeds did not run at every rate and are left out of S"
    ]


def test_a_rate_means_another_thing_to_another_optimizer(rates, write):
    write(rates / "more", 2.4, optimizer="sgd")
    sheets = {sheet.name: sheet for sheet in compare(load(rates)).sheets}
    assert any("optimizers differ" in note for note in sheets["sensitivity"].notes)
    [alone] = [row for row in sheets["sensitivity"].rows if row["optimizer"] == "sgd"]
    assert alone["sensitivity"] is None


def test_slopes_against_depth(tmp_path, write, compared):
    for depth in (4, 8, 16):
        for seed in range(3):
            loss = 3.0 - 0.05 * math.log2(depth) + 0.01 * seed
            write(tmp_path / f"{depth}-{seed}", loss, seed=seed, depth=depth, ratio=depth**0.5)
    [row] = compared(tmp_path)["depth"]
    assert row["loss"]["value"] == pytest.approx(-0.05) and row["loss"]["n"] == 3
    assert row["start"]["value"] == pytest.approx(0) and row["end"]["value"] == pytest.approx(0.5)
    assert row["critical"]["trains"] == 16 and row["critical"]["fails"] is None and row["loss"]["capped"] == 0
    write(tmp_path / "nan", "NaN", seed=0, depth=32, summary={"outcome": "nonfinite"})
    [row] = compared(tmp_path)["depth"]
    assert row["critical"]["trains"] == 16 and row["critical"]["fails"] and row["loss"]["capped"] == 1


def test_a_leaky_norms_caveat_is_passed_on(tmp_path, write, compared):
    write(tmp_path / "a", summary={"val/caveat": "optimistic with norm=batchnorm: it sees later tokens"})
    assert any("optimistic with norm=batchnorm" in note for note in compared(tmp_path)["notes"])


def test_a_record_is_plain_json(sweep, compared):
    assert json.loads(json.dumps(compared(sweep)))["knobs"] == ["placement"]


def test_runs_that_end_above_the_unigram_entropy_are_told_of_though_none_is_called_stuck(tmp_path, write):
    for seed in range(2):
        write(tmp_path / f"low-{seed}", 2.5, seed=seed)
        write(tmp_path / f"high-{seed}", 3.3 if seed else 2.9, seed=seed, placement="post")
    study = Study(load(tmp_path), CompareOptions())
    [told] = learnt_nothing(study)
    assert told.startswith("placement=post: 1 of 2 ended less than 0.1 nat below the unigram entropy")


def test_floors_in_another_order_are_the_same_text(tmp_path, write, compared):
    write(tmp_path / "a", seed=0)
    write(tmp_path / "b", seed=1, summary={"floors": {"bigram": 2.4, "unigram": 3.1, "uniform": 5.5}})
    assert not any("texts differ" in note for note in compared(tmp_path)["notes"])


def test_where_the_same_text_lies_is_no_knob(tmp_path, write, compared):
    for place in ("/home/a/text.txt", "/scratch/b/text.txt"):
        for seed in range(3):
            placement = "pre" if place.startswith("/home") else "post"
            write(
                tmp_path / f"{placement}-{seed}",
                2.5,
                seed=seed,
                placement=placement,
                data="text",
                data__path=place,
            )
    assert compared(tmp_path)["knobs"] == ["placement"]
    write(tmp_path / "other", 2.5, data="text", data__path="/c.txt", summary={"floors": {"uniform": 4.2}})
    with pytest.raises(UserError, match="different texts"):
        compared(tmp_path)

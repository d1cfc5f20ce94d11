"""What a comparison says where runs diverged: the rates and the losses each by its own test."""

import numpy as np
import pytest

from normlab import statistics
from normlab.catalogue import groups
from normlab.compare.compare import compare
from normlab.compare.study import CompareOptions
from normlab.compare.verdict import PairEvidence, correct, divergence, verdict
from normlab.runs.reader import Run, load

FLOORS = {"uniform": 5.5, "unigram": 3.1, "bigram": 2.4}
STEPS = 30
#: Differences over seven seeds, far from 0 in units of their spread.
GAPS = (-0.10, -0.12, -0.09, -0.11, -0.13, -0.10, -0.11)


def differences(runs, **wanted):
    """The first row of the sheet of differences, and the sheet."""
    found = compare(runs, CompareOptions(baseline=["placement=pre"], **wanted))
    [sheet] = [sheet for sheet in found.sheets if sheet.name == "differences"]
    return sheet.rows[0], sheet


@pytest.fixture
def pairs(tmp_path):
    """`pairs(post, pre)`: the row of differences of final losses by seed; None is a run that blew up."""

    def run(placement, seed, loss):
        summary = {"outcome": "stable" if loss else "nonfinite", "steps": STEPS if loss else 3}
        summary |= {"status": "finished", "floors": FLOORS, "batch_order": f"seed-{seed}"}
        summary |= {"val/final": loss or "NaN", "spike_score/6sigma_128": 0.0}
        config = groups.defaults() | {"placement": groups.values("placement")[placement], "seed": seed}
        config["train"] = config["train"] | {"steps": STEPS}
        path = tmp_path / f"{placement}-{seed}"
        return Run(path=path, status="finished", config=config, summary=summary, events=[])

    def row(post, pre, **wanted):
        sides = (("post", post), ("pre", pre))
        return differences(
            [run(name, seed, loss) for name, side in sides for seed, loss in enumerate(side)], **wanted
        )

    return row


def test_two_variants_that_both_diverge_have_no_loss_to_compare(pairs):
    row, sheet = pairs([None] * 4, [None] * 4)
    assert row["verdict"] == "neither trained" and "difference" not in row
    assert sheet.texts()[0][1] == "0*"  # n
    assert row["diverged"].record() == {"this": 4, "other": 4, "of": 4, "only_this": 0, "only_other": 0}


@pytest.mark.parametrize(("more", "p", "said"), [(7, 0.0703125, False), (8, 0.0390625, True)])
def test_a_rate_is_called_higher_only_where_mcnemar_says_so(pairs, more, p, said):
    """In so many pairs this one alone diverged, in one the baseline alone; in two both trained."""
    row, _ = pairs([None] * more + [2.4] * 3, [2.5] * more + [None, 2.5, 2.6])
    assert row["p_mcnemar"] == p and ("diverges more often" in row["verdict"]) == said


def test_losses_are_compared_where_both_trained_and_rates_by_mcnemar(pairs):
    row, sheet = pairs([None, 2.40, 2.41, 2.39, 2.42], [2.5, 2.50, 2.52, 2.49, 2.51])
    assert row["difference"] == pytest.approx(-0.1) and row["interval"].n == 4
    assert row["verdict"] == "lower in 4 of 5"
    assert (str(row["pairs"]), row["p_mcnemar"]) == ("4*", 1.0)
    assert row["diverged"].record()["only_this"] == 1
    assert "n: * the pairs in which both trained" in sheet.legend()
    [note] = [note for note in sheet.notes if "McNemar" in note]
    assert note.startswith("5 pairs: p McNemar cannot fall below 0.062")


def test_a_variant_that_alone_diverges_in_six_of_six_diverges_more_often(pairs):
    row, _ = pairs([None] * 6, [2.5 + 0.01 * seed for seed in range(6)])
    assert row["verdict"] == "diverges more often" and row["mcnemar_holm"] == pytest.approx(2 / 2**6)


def test_survivors_are_no_verdict_in_favour_of_who_diverged(pairs):
    row, sheet = pairs([None, None, 2.40, 2.41, 2.39], [2.5, 2.50, 2.52, 2.49, 2.48])
    assert row["p"] < 0.05 and row["verdict"] == "open, survivors lower in 3 of 5"
    assert any(note.startswith("survivors:") for note in sheet.notes)


def test_where_the_other_diverged_a_higher_loss_is_no_verdict_either(pairs):
    row, _ = pairs([2.5, 2.50, 2.52, 2.49, 2.48], [None, None, 2.40, 2.41, 2.39])
    assert row["verdict"] == "open, survivors higher in 3 of 5"


def test_two_pairs_that_trained_are_not_tested(pairs):
    row, _ = pairs([2.4, 2.41, None], [2.5, 2.50, 2.5])
    assert row["verdict"] == "2 of 3 pairs, not tested" and row["p"] is None and row["interval"] is None


def test_a_metric_that_is_no_loss_is_of_all_pairs(pairs):
    row, _ = pairs([None, 2.40, 2.41], [2.5, 2.50, 2.52], metric="spike_score/6sigma_128")
    assert (str(row["pairs"]), row["verdict"]) == ("3", "same in all pairs")


def test_a_target_never_reached_is_later_than_all_and_not_missing(tmp_path, write):
    for placement in ("post", "pre"):
        for seed in range(4):
            # The training loss falls on a line from 6; of those that stopped early the target never comes.
            gone = {"outcome": "nonfinite", "steps": 25} if placement == "pre" and seed else {}
            loss = 2.0 if placement == "post" else 5.0
            steps = gone.get("steps", STEPS)
            path = tmp_path / f"{placement}-{seed}"
            write(path, loss, seed=seed, placement=placement, summary=gone, steps=steps)
    row, _ = differences(load(tmp_path), metric="tokens_to_target", target=4.2)
    assert row["difference"] == -np.inf and str(row["pairs"]) == "4" and row["interval"] is None
    early, late = statistics.Time(value=1.0, happened=True), statistics.Time(value=30e3, happened=False)
    assert row["p"] == statistics.log_rank([early] * 4, [late] * 4) == pytest.approx(2 / 70)
    assert row["verdict"] == "lower"


def test_where_no_run_gets_to_a_target_the_rates_are_compared_all_the_same(pairs):
    row, sheet = pairs([None] * 6, [2.5] * 6, metric="tokens_to_target", target=1.0)
    assert row["verdict"] == "diverges more often; 6 of 6 pairs have no tokens_to_target"
    assert not any("left out" in note for note in sheet.notes)


def evidence(gaps, trained=None, of_trained=True):
    found = statistics.difference(gaps, np.zeros(len(gaps)), 0.02)
    fates = divergence(trained or [(True, True)] * len(gaps))
    return PairEvidence(
        divergence=fates,
        difference=found,
        p_rate=fates.p if fates.testable else None,
        p=found and found.p,
        p_parity=found and found.p_parity,
        of_trained=of_trained,
    )


def test_from_six_pairs_on_flipped_signs_must_agree():
    assert verdict(evidence(GAPS)) == "lower"
    # One sign turned: t is .013 still, but 4 of 2^6 ways to flip are as far.
    gaps = (-0.30, -0.25, -0.28, -0.31, 0.03, -0.27)
    found = evidence(gaps)
    assert found.p < 0.05 <= found.difference.p_flip
    assert verdict(found) == "open, by t alone lower"


def test_rates_are_corrected_only_for_those_that_could_be_small():
    never = [(False, True)] * 5 + [(True, True)] * 2
    always = [(False, True)] * 7
    first, second = correct([evidence(GAPS[:2], never), evidence([0.0], always)])
    assert first.p_rate is None and second.p_rate == pytest.approx(2 / 2**7)
    assert verdict(second) == "diverges more often"

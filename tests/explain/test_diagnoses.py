"""Each diagnosis on made-up runs: found where its evidence is, at its step and layer, and not without."""

import math

import pytest

from normlab.explain.table import DIAGNOSES

FIND = {row.name: row.find for row in DIAGNOSES}
#: Those that are found in the rows; two go by events and settings, below.
IN_ROWS = [name for name in FIND if name not in ("learns_nothing", "sees_the_future")]


@pytest.mark.parametrize("name", IN_ROWS)
def test_it_is_found_by_its_evidence(case_of, troubles, name):
    change, run, words, step, _ = troubles[name]
    finding = FIND[name](case_of(change, **run))
    assert finding is not None
    told = " ".join(each.text for each in finding.evidence)
    assert [word for word in words if word not in told] == [], told
    assert finding.step == step


@pytest.mark.parametrize("name", IN_ROWS)
def test_it_is_not_found_without_its_evidence(case_of, troubles, name):
    _, run, _, _, other = troubles[name]
    assert FIND[name](case_of(other, **run)) is None


@pytest.mark.parametrize("name", FIND)
def test_a_healthy_run_has_none(case_of, name):
    assert FIND[name](case_of()) is None


def test_what_comes_after_the_trouble_did_not_cause_it(case_of, troubles):
    def late(row):
        if row["step"] > 56:
            row |= {"attention/max_logit/layer_02": 2500.0, "grad_norm/first_to_last": 1e-5}

    case = case_of(late, **troubles["gradient_dies"].run)
    assert case.onset == 46
    assert FIND["gradient_dies"](case) is None

    def spoilt(row):
        late(row | {"step": 0})
        row |= {"attention/max_logit/layer_02": 2500.0} if row["step"] > 56 else {}

    exploded = troubles["attention_saturates"].run
    # The first measurement after the onset still counts: instruments look only now and then.
    assert FIND["attention_saturates"](case_of(spoilt, **exploded)) is None


def test_logits_go_as_the_square_of_a_bare_stream(case_of, troubles):
    run = troubles["attention_saturates"].run

    def square(row):
        if row["step"] >= 12:
            row |= {f"stream/rms/layer_{i:02d}": 3.0**i for i in range(4)}
            row |= {f"attention/max_logit/layer_{i:02d}": 400 * 9.0 ** (i - 1) for i in (1, 2, 3)}

    evidence = FIND["attention_saturates"](case_of(square, **run)).evidence
    (told,) = [each.text for each in evidence if "power" in each.text]
    assert "power 2.0" in told and "27" in told
    normed = FIND["attention_saturates"](case_of(square, **run | {"placement": "pre"}))
    assert not any("power" in each.text for each in normed.evidence)


def test_an_injected_fault_is_told_after_what_the_numbers_show(case_of, troubles):
    change, run, *_ = troubles["broke_at_once"]
    settings = {"fault.kind": "nan_activation", "fault.step": 40, "fault.layer": 2}
    *shown, last = FIND["broke_at_once"](case_of(change, **run, settings=settings)).evidence
    assert "on purpose" in last.text and "nan_activation" in last.text
    assert not any("fault.kind" in each.text for each in shown) and len(shown) >= 2
    elsewhere = FIND["broke_at_once"](case_of(change, **run, settings=settings | {"fault.step": 12}))
    assert not any("on purpose" in each.text for each in elsewhere.evidence)


def test_a_gradient_alone_that_is_not_finite_did_not_come_down_the_backward_pass(case_of, troubles):
    def nan(row):
        if row["step"] == 40:
            row |= {"grad_norm/layer_02/ffn.in": math.nan, "grad_norm/layer_02": math.nan}

    def all_below(row):
        nan(row)
        if row["step"] == 40:
            row |= {"grad_norm/layer_00": math.nan, "grad_norm/layer_01": math.nan}

    run = troubles["broke_at_once"].run
    finding = FIND["broke_at_once"](case_of(nan, **run))
    assert finding.strength == "shown"
    assert any("finite in the blocks below" in each.text for each in finding.evidence)
    spread = FIND["broke_at_once"](case_of(all_below, **run))
    assert spread.strength == "likely"
    assert not any("blocks below" in each.text for each in spread.evidence)


def test_a_frozen_place_is_told(case_of, event_of):
    frozen = event_of("frozen", 40, metric="update/ratio/embedding", layers=["embedding"], value=0.0)
    finding = FIND["learns_nothing"](case_of(events=[frozen]))
    assert "embedding" in finding.claim and "from step 21 on" in finding.evidence[0].text


def test_a_norm_that_sees_the_future_is_told_of_any_run(case_of):
    leaky = {"norm.allow_leaky": True}
    finding = FIND["sees_the_future"](case_of(settings=leaky, norm="instancenorm_time"))
    assert "training and validation" in finding.claim
    assert "below the bigram entropy" in finding.evidence[1].text
    assert "validation" not in FIND["sees_the_future"](case_of(settings=leaky, norm="batchnorm")).claim

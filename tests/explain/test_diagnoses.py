"""Each diagnosis on made-up runs: found where its evidence is, at its step and layer, and not without."""

import math

import pytest

from normlab.explain.table import DIAGNOSES

FIND = {row.name: row.find for row in DIAGNOSES}
#: Those that are found in the rows; the others go by events and settings, below.
OTHERS = ("learns_nothing", "one_layer_jumped", "sees_the_future")
IN_ROWS = [name for name in FIND if name not in OTHERS]


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


def test_logits_alone_are_not_called_saturation(case_of, troubles):
    change, run, *_ = troubles["attention_saturates"]

    def sees_all(row):
        change(row)
        row |= {f"attention/entropy_share/layer_{i:02d}": 0.5 for i in range(4)}

    def elsewhere(row):
        change(row)
        if row["step"] >= 14:
            row |= {"attention/entropy_share/layer_02": 0.9, "attention/entropy_share/layer_00": 0.05}
        else:
            row |= {"attention/entropy_share/layer_02": 0.9}

    both = FIND["attention_saturates"](case_of(elsewhere, **run | {"placement": "pre"}))
    assert "saturated, first in layer_00" in both.claim and both.step == 12
    assert (
        "saturated" not in FIND["attention_saturates"](case_of(sees_all, **run | {"placement": "pre"})).claim
    )


def test_a_stream_that_only_the_last_block_lets_grow_is_read_by_no_attention(case_of, troubles):
    def last_alone(row):
        if row["step"] >= 12:
            row |= {"attention/max_logit/layer_02": 2500.0, "stream/rms/layer_03": 50.0}

    evidence = FIND["attention_saturates"](
        case_of(last_alone, **troubles["attention_saturates"].run)
    ).evidence
    assert not any("without a norm" in each.text for each in evidence)


def test_logits_go_as_the_square_of_a_bare_stream(case_of, troubles):
    run = troubles["attention_saturates"].run

    def square(row):
        if row["step"] >= 12:
            row |= {f"stream/rms/layer_{i:02d}": 3.0**i for i in range(4)}
            row |= {f"attention/max_logit/layer_{i:02d}": 400 * 9.0 ** (i - 1) for i in (1, 2, 3)}

    evidence = FIND["attention_saturates"](case_of(square, **run)).evidence
    (told,) = [each.text for each in evidence if "power" in each.text]
    assert "power 2.0" in told
    # The last attention reads what the block before it left, 9, not what it adds to that, 27.
    assert "from 1 (after layer_00) to 9 (after layer_02, which layer_03 reads)" in told
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


def left(place, ratio, metric="grad_norm", step=50):
    """An entry of an order."""
    return {"place": place, "metric": f"{metric}/{place}", "step": step, "ratio": ratio, "z": 9.0}


#: What the detector says of a spike, and the place whose gradient it is about.
SPIKES = [
    ({"metric": "grad_norm/layer_03", "layers": ["layer_03"]}, "layer_03"),
    ({"metric": "grad_norm/layer_03", "layers": ["layer_03"], "order": [left("layer_03", 13.5)]}, "layer_03"),
    ({"metric": "grad_norm/global", "order": [left("embedding", 852.0)]}, "embedding"),
    ({"metric": "grad_norm/global", "order": [left("layer_01", 852.0), left("layer_03", 1.4)]}, "layer_01"),
    ({"metric": "grad_norm/global", "order": [left("layer_01", 9.0), left("layer_03", 4.0)]}, None),
    ({"metric": "grad_norm/global", "order": [left("layer_01", 9.0, "update/ratio")]}, None),
    ({"metric": "loss", "order": [left("layer_02", 40.0)]}, "layer_02"),
    ({"metric": "loss", "layers": ["layer_00", "layer_01"]}, None),
    ({"metric": "lr"}, None),
]


@pytest.mark.parametrize(("said", "place"), SPIKES)
def test_one_gradient_is_alone_where_the_detector_says_so(case_of, event_of, said, place):
    event = event_of("spike", 50, end=51, recovered=True, recovery_steps=1, **said)
    finding = FIND["one_layer_jumped"](case_of(events=[event], outcome="stable"))
    assert (finding is not None) == (place is not None)
    if place is not None:
        assert place in finding.claim and finding.step == 50 and finding.strength == "shown"
        if "order" in said:
            ratio = f"{said['order'][0]['ratio']:.3g} times its usual"
            assert ratio in finding.evidence[0].text


def test_without_the_event_s_own_figure_the_rows_that_there_were_are_counted(case_of, event_of):
    def alone(row):
        if row["step"] == 20:
            row |= {"grad_norm/layer_03": 200.0}

    event = event_of("spike", 20, metric="grad_norm/layer_03", layers=["layer_03"])
    finding = FIND["one_layer_jumped"](case_of(alone, events=[event], outcome="stable"))
    assert "1,000 times its median of the 19 rows before" in finding.evidence[0].text
    # It lasts, so it is no fault of a single step.
    assert finding.strength == "likely" and "One step" not in finding.claim


def test_a_frozen_place_is_told(case_of, event_of):
    frozen = event_of("frozen", 40, metric="update/ratio/embedding", layers=["embedding"], value=0.0)
    finding = FIND["learns_nothing"](case_of(events=[frozen]))
    # It had learnt before.
    assert "embedding learnt nothing from step 21 on" in finding.claim
    assert "from step 21 on" in finding.evidence[0].text


def test_a_norm_that_sees_the_future_is_told_of_any_run(case_of):
    leaky = {"norm.allow_leaky": True}
    finding = FIND["sees_the_future"](case_of(settings=leaky, norm="instancenorm_time"))
    assert "training and validation" in finding.claim
    assert "below the bigram entropy" in finding.evidence[1].text
    assert "validation" not in FIND["sees_the_future"](case_of(settings=leaky, norm="batchnorm")).claim

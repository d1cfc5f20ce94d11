"""Whole explanations: their order, cures and commands, what is not known, files that are not as they were."""

import json
import math
import re

import pytest
from typer.testing import CliRunner

from normlab.cli.app import app
from normlab.compose.from_words import compose
from normlab.divergence.table import DETECTORS
from normlab.errors import RunDirectoryError
from normlab.explain.explanation import explain
from normlab.run import run


def names(told):
    return [cause.name for cause in told.causes]


def told_of(make, troubles, name, **more):
    """The made-up run of a diagnosis, with changes."""
    change, run, *_ = troubles[name]
    return make(change, **run | more)


def words(told, name):
    (cause,) = [each for each in told.causes if each.name == name]
    return [word for offer in cause.offers for word in offer.cure.words]


def test_of_a_healthy_run_nothing_is_invented(explained):
    told = explained()
    assert told.outcome == "stable" and told.onset is None
    assert "Nothing happened" in told.happened[0]
    assert "0.78 nat below the unigram entropy (3.10)" in told.happened[1]
    assert told.causes == [] and told.unknown == []
    # 0.05 of the entropy against 0.9: nearer than logits of 3 to 1000 and gradients of 1e-3 to 1e-7.
    assert told.closest.detector == "entropy_collapse"
    assert told.closest.share == pytest.approx(0.05 / 0.9)


def test_a_stuck_run_is_told_with_its_floor_step_and_cures(explained, troubles):
    told = told_of(explained, troubles, "gradient_dies")
    assert told.onset == 46 and "from step 46" in told.happened[0]
    assert names(told) == ["gradient_dies"]
    assert words(told, "gradient_dies")[:3] == ["warmup=20", "placement=deepnorm", "placement=pre"]


def test_cures_that_the_run_had_are_not_offered(explained, troubles):
    settings = {"divergence.plateau.window": 10, "warmup": 30}
    offered = words(told_of(explained, troubles, "gradient_dies", settings=settings), "gradient_dies")
    assert not any(word.startswith("warmup") for word in offered) and "placement=deepnorm" in offered
    offered = words(told_of(explained, troubles, "gradient_dies", placement="deepnorm"), "gradient_dies")
    assert "placement=deepnorm" not in offered and "placement=pre" in offered
    with_norm = told_of(explained, troubles, "attention_saturates", placement="olmo2")
    assert "placement.qk_norm=head" not in words(with_norm, "attention_saturates")
    without = told_of(explained, troubles, "attention_saturates")
    assert words(without, "attention_saturates")[0] == "placement.qk_norm=head"


def test_figures_of_another_model_say_which_it_was(explained, troubles):
    supports = [
        offer.cure.support
        for name in troubles
        for cause in told_of(explained, troubles, name).causes
        for offer in cause.offers
    ]
    measured = [support for support in supports if re.search(r"\d nats", support)]
    assert len(measured) > 5
    assert [each for each in measured if not re.search(r"elsewhere \(\d+ layers, .+\): ", each)] == []


def test_a_command_is_the_run_with_the_cure(explained, troubles):
    settings = {"divergence.plateau.window": 10, "optimizer.lr": 3e-3, "model.heads": 2, "seed": 4}
    told = told_of(explained, troubles, "gradient_dies", settings=settings)
    for offer in told.causes[0].offers:
        program, verb, *overrides = offer.command.split()
        assert (program, verb) == ("normlab", "train")
        config = compose(overrides)
        own = {"seed": config.seed, "model.heads": config.model.heads, "depth": config.depth}
        assert own == {"seed": 4, "model.heads": 2, "depth": 4}
        for word in offer.cure.words:
            assert word in overrides
    assert compose(told.causes[0].offers[0].command.split()[2:]).placement.name == "post"
    assert compose(told.causes[0].offers[2].command.split()[2:]).placement.name == "pre"


@pytest.mark.parametrize(("begin", "open_"), [(0, False), (1, True)])
def test_two_causes_that_show_at_once_are_called_open(explained, troubles, begin, open_):
    def both(row):
        if begin <= row["step"] < 5:
            troubles["rate_too_high"].change(row)
        row |= {"attention/max_logit/layer_01": 3.0 if row["step"] == 0 else 5000.0}

    told = explained(both, **troubles["rate_too_high"].run)
    assert set(names(told)) == {"rate_too_high", "attention_saturates"}
    assert any("rate_too_high" in line and "came first is open" in line for line in told.unknown) == open_


def test_it_says_when_it_does_not_know_and_what_would_tell(explained, troubles):
    exploded = troubles["output_drifts"].run

    def blind(row):
        for key in [key for key in row if key.startswith(("attention/", "update/", "stream/"))]:
            del row[key]

    off = {f"measure.{word}": 0 for word in ("attention", "update", "stream")}
    told = explained(blind, **exploded | {"settings": exploded["settings"] | off})
    assert told.causes == []
    assert "None of the causes" in told.unknown[0]
    assert [
        word for word in ("attention", "update", "stream") if f"measure.{word}=5" not in str(told.unknown)
    ] == []
    seen = explained(**exploded)
    assert len(seen.unknown) == 1 and "measure" not in seen.unknown[0]


def test_remarks_come_last_and_also_with_stable_runs(explained, troubles):
    told = told_of(explained, troubles, "modes_differ")
    assert names(told) == ["modes_differ", "sees_the_future"]
    assert [len(cause.offers) for cause in told.causes] == [1, 0], "the same cure is offered once"


def test_a_stable_loss_with_events_is_no_healthy_run(explained, troubles, event_of):
    grown = event_of("logit_growth", 31, layers=["layer_02"])
    told = told_of(explained, troubles, "attention_saturates", events=[grown], outcome="stable")
    assert "detectors saw something else" in told.happened[0]
    assert told.closest is None and names(told) == ["attention_saturates"]


def test_what_began_after_the_trouble_is_none_of_its_causes(explained, troubles, event_of):
    """A run is not finite from step 40 on; the gradient of one place goes wild at step 50."""
    change, run, *_ = troubles["broke_at_once"]
    late = event_of("spike", 50, metric="grad_norm/layer_03", layers=["layer_03"], recovery_steps=1)
    told = explained(change, **run | {"events": [*run["events"], late]})
    assert names(told) == ["broke_at_once"]
    # Before it, it is one.
    told = explained(change, **run | {"events": [*run["events"], late | {"step": 38}]})
    assert names(told) == ["one_layer_jumped", "broke_at_once"]


@pytest.mark.parametrize(
    ("end", "words"),
    [({"end": 52, "recovered": True}, "and was back at step 52."), ({}, "had not come back")],
)
def test_a_spike_is_told_with_its_end(explained, event_of, end, words):
    told = explained(events=[event_of("spike", 50, **end)], outcome="spiked")
    assert "jumped at step 50" in told.happened[0] and words in told.happened[0]


def test_of_a_run_that_came_back_later_trouble_has_its_cause_told_last(explained, troubles, event_of):
    grown = event_of("logit_growth", 24)
    late = event_of("spike", 50, metric="grad_norm/layer_03", layers=["layer_03"], recovery_steps=1)

    def once(row):
        if row["step"] == 0:
            troubles["rate_too_high"].change(row)
            row |= {key: value / 2 for key, value in row.items() if key.startswith("update/ratio/")}

    told = explained(once, events=[grown, late], outcome="stable")
    # However much stronger what the numbers say of the later one.
    assert [cause.finding.strength for cause in told.causes] == ["likely", "shown"]
    assert [(cause.name, cause.later) for cause in told.causes] == [
        ("rate_too_high", False),
        ("one_layer_jumped", True),
    ]


def test_the_cause_of_what_decided_the_outcome_comes_first(explained, troubles, event_of):
    """A gradient that dies for long makes nothing not finite: what broke in that step did."""

    def both(row):
        troubles["gradient_dies"].change(row)
        troubles["broke_at_once"].change(row)

    fault = {"fault.kind": "nan_gradient", "fault.step": 40, "fault.layer": 2}
    run = troubles["broke_at_once"].run | {"settings": fault, "placement": "post"}
    told = explained(both, **run | {"events": [*run["events"], event_of("plateau", 55)]})
    assert names(told) == ["broke_at_once", "gradient_dies"]
    first, second = told.causes
    assert [compose(offer.command.split()[2:]).fault.kind for offer in first.offers] == ["none"]
    assert second.offers
    assert not any("fault" in offer.command for offer in second.offers)


def test_torn_and_foreign_lines_are_told_and_the_rest_is_used(run_of, troubles):
    directory = told_of(run_of, troubles, "gradient_dies")
    lines = (directory / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    lines[20] = b"{torn\n"
    (directory / "metrics.jsonl").write_bytes(b"".join(lines)[:-30])
    (directory / "events.jsonl").write_bytes((directory / "events.jsonl").read_bytes() + b'{"kind": 3}\n')
    told = explain(directory)
    assert "lines 21 and 60 are not a row" in told.notes[0] and "not an event" in told.notes[1]
    assert names(told) == ["gradient_dies"]


@pytest.mark.parametrize("outcome", ["stable", "stuck", "spiked", "nonfinite", "exploded", "odd", None])
def test_events_that_lack_most_fields_break_nothing(run_of, outcome):
    kinds = [*DETECTORS, "unheard_of"]
    bare = [{"step": 30 + i, "kind": kind, "metric": "loss"} for i, kind in enumerate(kinds)]
    foreign = [{**each, "layers": 3, "value": "x", "end": "y", "order": [1, {}]} for each in bare]
    directory = run_of(events=[*bare, *foreign], outcome=outcome)
    assert json.loads(json.dumps(explain(directory).record(), allow_nan=False))["happened"]


def test_without_summary_and_events_the_rows_tell(run_of):
    def explodes(row):
        row["loss"] = 9.0 if row["step"] > 5 else row["loss"]

    directory = run_of(explodes, settings={"divergence.explosion.steps": 10})
    (directory / "summary.json").write_text("{")
    (directory / "events.jsonl").unlink()
    told = explain(directory)
    assert told.status == "unknown" and told.outcome == "exploded" and told.onset == 6
    assert "is not JSON" in told.notes[0]


def test_rows_that_end_before_the_trouble_are_not_diagnosed(run_of, troubles):
    directory = told_of(run_of, troubles, "gradient_dies")
    rows = (directory / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (directory / "metrics.jsonl").write_bytes(b"".join(rows[:17]))
    told = explain(directory)
    assert told.onset == 46 and told.rows_end == 16
    assert told.causes == [] and len(told.unknown) == 1 and "rows end at step 16" in told.unknown[0]
    assert "at step 16, where the rows end" in told.happened[1] and "at the end" not in " ".join(
        told.happened
    )
    assert "17 rows for 56 steps: they end at step 16" in told.notes


def numbers_of(told, name):
    (found,) = [each for each in told.numbers if each.name == name]
    return found


def test_what_was_shown_before_the_trouble_is_not_the_trouble(explained, event_of):
    """The gradient is 133 at step 30 and 0.5 before and after; it had been 2 at the start."""

    def spike(row):
        row["grad_norm/global"] = {0: 2.0, 30: 133.0}.get(row["step"], 0.5)
        row["lr"] = 0.03 if row["step"] == 31 else 1e-3
        if row["step"] % 20:
            row["attention/max_logit/layer_02"] = math.nan

    event = event_of("spike", 30, metric="grad_norm/global")
    told = explained(spike, events=[event], outcome="stable")
    gradient = numbers_of(told, "gradient norm")
    steps = [(point.step, point.value) for point in (gradient.start, gradient.before, gradient.onset)]
    assert steps == [(0, 2.0), (29, 0.5), (30, 133.0)] and gradient.end.value == 0.5
    assert gradient.factor == pytest.approx(133 / 0.5)
    # Before, at and after the onset the rate is as ever; one step later it is 30 times that.
    assert numbers_of(told, "learning rate").factor == pytest.approx(30)
    # What was not finite in the last row is not told by the last row in which it was.
    assert math.isnan(numbers_of(told, "attention logit, most").end.value)
    assert numbers_of(told, "attention logit, most").record()["onset"]["step"] == 30


@pytest.mark.parametrize(("loss", "within"), [(3.08, True), (3.12, True), (2.9, False), (3.3, False)])
def test_what_is_a_little_below_the_unigram_entropy_is_hardly_more(explained, loss, within):
    def level(row):
        row["loss"] = loss

    told = " ".join(explained(level).happened)
    assert ("Within 0.1 nat of the unigram entropy" in told) == within
    assert ("and hardly more yet" in told) == within and "nothing more" not in told


def test_what_is_no_run_is_refused(run_of, tmp_path):
    directory = run_of()
    (directory / "metrics.jsonl").write_text("not a row\n")
    with pytest.raises(RunDirectoryError, match="no line of it is a row"):
        explain(directory)
    done = CliRunner().invoke(app, ["explain", str(tmp_path / "nowhere")])
    assert done.exit_code == 2 and "there is no such folder" in done.output


def refuse(constant):
    raise AssertionError(f"{constant} is no strict JSON")


def test_json_is_strict_and_says_the_same(run_of, troubles):
    directory = told_of(run_of, troubles, "broke_at_once")
    done = CliRunner().invoke(app, ["explain", str(directory), "--json"])
    assert done.exit_code == 0
    record = json.loads(done.stdout, parse_constant=refuse)
    assert record == explain(directory).record()
    (finding,) = record["findings"]
    assert finding["name"] == "broke_at_once" and finding["strength"] == "shown"
    assert finding["evidence"][0]["place"] == "layer_02" and finding["evidence"][0]["step"] == 40


def test_the_page_fits_eighty_columns_but_for_commands(run_of, troubles, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = CliRunner().invoke(app, ["explain", str(told_of(run_of, troubles, "gradient_dies"))])
    assert done.exit_code == 0
    lines = [line for line in done.stdout.splitlines()[1:] if not line.startswith("     normlab train")]
    assert max(map(len, lines)) <= 80
    for part in (
        "What happened",
        "around step 46",
        " before 46 ",
        "the numbers show it",
        "What is done about it",
        "2002.04745",
    ):
        assert part in done.stdout


def test_a_real_run_with_a_fault_is_explained(small, tmp_path):
    changes = {
        "depth": 3,
        "train.steps": 40,
        "fault.kind": "nan_activation",
        "fault.step": 30,
        "fault.layer": 1,
    }
    run(small(changes), tmp_path / "run", plain=True)
    told = explain(tmp_path / "run")
    # A step that was skipped, and a run too short to have learnt anything.
    assert told.outcome == "untrained" and told.onset == 30 and "layer_01" in told.happened[0]
    assert names(told)[0] == "broke_at_once"
    assert "layer_01" in told.causes[0].finding.claim
    assert "on purpose" in told.causes[0].finding.evidence[-1].text


@pytest.mark.parametrize("factor", [10, 1000])
def test_a_real_run_with_one_gradient_scaled_is_explained(small, tmp_path, factor):
    fault = {"fault.kind": "gradient_scale", "fault.step": 40, "fault.layer": 1, "fault.factor": factor}
    run(small({"depth": 3, "train.steps": 50} | fault), tmp_path / "run", plain=True)
    told = explain(tmp_path / "run")
    assert names(told)[0] == "one_layer_jumped"
    finding = told.causes[0].finding
    assert "layer_01 alone" in finding.claim and finding.step == 40
    assert "fault.kind=gradient_scale fault.step=40 fault.layer=1" in finding.evidence[-1].text

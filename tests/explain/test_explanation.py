"""Whole explanations: their order, cures and commands, what is not known, files that are not as they were."""

import json

import pytest
from typer.testing import CliRunner

from normlab.cli import app
from normlab.divergence.table import DETECTORS
from normlab.errors import RunDirectoryError
from normlab.explain.explanation import explain
from normlab.launch.compose import compose
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


def test_a_command_is_the_run_with_the_cure(explained, troubles):
    settings = {"divergence.plateau.window": 10, "optimizer.lr": 3e-3, "fault.step": 7, "seed": 4}
    told = told_of(explained, troubles, "gradient_dies", settings=settings)
    for offer in told.causes[0].offers:
        program, verb, *overrides = offer.command.split()
        assert (program, verb) == ("normlab", "train")
        config = compose(overrides)
        own = {"seed": config.seed, "fault.step": config.fault.step, "depth": config.depth}
        assert own == {"seed": 4, "fault.step": 7, "depth": 4}
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


def test_the_order_of_an_autopsy_is_told(explained, event_of):
    order = [{"place": "layer_03", "metric": "grad_norm", "step": 48, "ratio": 12.0, "z": 9.0}]
    spike = event_of("spike", 50, end=51, recovered=True, recovery_steps=1, order=order)
    told = explained(events=[spike], outcome="spiked")
    assert any("layer_03 (step 48, 12 times its usual)" in line for line in told.happened)


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
        "before step 46",
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
    assert told.outcome == "nonfinite" and told.onset == 30 and "layer_01" in told.happened[0]
    assert names(told)[0] == "broke_at_once"
    assert "layer_01" in told.causes[0].finding.claim
    assert "on purpose" in told.causes[0].finding.evidence[-1].text

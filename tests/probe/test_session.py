import csv
import io
import json
import math
import os
import signal

import pytest
import torch
from PIL import Image
from rich.console import Console

from normlab.data import Batches, load_corpus
from normlab.errors import ConfigError, RunDirectoryError, UserError
from normlab.probe import files, page, session
from normlab.probe.quantities import PROFILES, QUANTITIES
from normlab.probe.settings import Plan, PlannedModel, ProbeConfig

TINY = {"model.width": 16, "model.heads": 2, "model.context": 8}


@pytest.fixture
def plan_of(probe_config):
    """`plan_of(("post", "pre"), (2, 3), changes)`: a plan of tiny models."""

    def build(placements=("post", "pre"), depths=(2, 3), changes=None, seeds=(0, 1), settings=None, **rows):
        cells = [
            PlannedModel(
                group={"placement": placement},
                config=probe_config(TINY | {"depth": depth} | (changes or {}), placement=placement, **rows),
            )
            for placement in placements
            for depth in depths
        ]
        return Plan(settings=settings or ProbeConfig(), cells=cells, seeds=seeds, words=["some=words"])

    return build


@pytest.fixture
def no_picture(monkeypatch):
    """Drawing takes longer than all else here."""
    monkeypatch.setattr(session, "probe_figure", lambda panels, title: None)
    monkeypatch.setattr(session, "image", lambda figure: Image.new("RGB", (9, 9)))


def strict(text):
    """JSON without the NaN and Infinity that Python reads and others do not."""

    def refuse(word):
        raise AssertionError(word)

    return json.loads(text, parse_constant=refuse)


def table(path):
    """The rows of a CSV file."""
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_json_has_a_row_a_model_and_a_slope_a_quantity(plan_of, tmp_path, capsys, no_picture):
    assert session.run(plan_of(depths=(5, 6)), tmp_path / "o", as_json=True) is None
    printed = capsys.readouterr()
    record = strict(printed.out)
    assert len(record["rows"]) == 8 and len(record["slopes"]) == 2 * len(QUANTITIES)
    for row in record["rows"]:
        assert list(row) == ["placement", "depth", "seed", *QUANTITIES, *PROFILES]
        assert all(isinstance(row[key], float) for key in QUANTITIES)
        assert row["stream_variance_by_block"][-1] == row["stream_variance"]
    for slope in record["slopes"]:
        assert {"placement", "quantity", "mean", "sd", "ci", "against", "seeds"} <= set(slope)
        assert slope["against"] == ("block" if slope["quantity"] == "stream_variance" else "depth")
        assert slope["seeds"] < 2 or slope["ci"][0] < slope["mean"] < slope["ci"][1]
    assert record["status"] == "finished" and record["words"] == ["some=words"]
    assert strict((tmp_path / "o" / files.RECORD).read_text()) == record
    assert "written to" in printed.err


def test_the_folder_holds_tables_and_a_picture(plan_of, tmp_path, capsys):
    session.run(plan_of(), tmp_path / "o", as_json=True)
    record = strict(capsys.readouterr().out)
    rows, blocks, slopes = (table(tmp_path / "o" / n) for n in (files.ROWS, files.BLOCKS, files.SLOPES))
    for line, row in zip(rows, record["rows"], strict=True):
        assert list(line) == ["placement", "depth", "seed", *QUANTITIES]
        assert float(line["update_sgd"]) == row["update_sgd"]
    assert [line["block"] for line in blocks[:5]] == ["1", "2", "1", "2", "3"]
    assert float(blocks[4]["grad_stream"]) == record["rows"][1]["grad_stream_by_block"][2]
    assert len(slopes) == len(record["slopes"]) and slopes[0]["placement"] == "post"
    assert float(slopes[0]["ci_low"]) == record["slopes"][0]["ci"][0]
    with Image.open(tmp_path / "o" / files.PICTURE) as picture:
        assert picture.width > 800 and len(picture.convert("RGB").getcolors(1 << 24)) > 50


def test_ctrl_c_leaves_the_finished_rows(plan_of, tmp_path, capsys, monkeypatch, no_picture):
    real, count = session.measure_model, []

    def measure(config, settings):
        count.append(config)
        if len(count) == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return real(config, settings)

    monkeypatch.setattr(session, "measure_model", measure)
    assert session.run(plan_of(), tmp_path / "o", as_json=True) == signal.SIGINT
    printed = capsys.readouterr()
    record = strict(printed.out)
    assert record["status"] == "stopped" and len(record["rows"]) == 6
    assert len(table(tmp_path / "o" / files.ROWS)) == 6
    # The second seed has both depths of post, and none of pre beyond the sixth model.
    seeds = {
        slope["placement"]: slope["seeds"] for slope in record["slopes"] if slope["quantity"] == "update_sgd"
    }
    assert seeds == {"post": 2, "pre": 1}
    assert "stopped after 6 models" in printed.err


def test_an_error_in_the_middle_leaves_the_finished_rows(plan_of, tmp_path, monkeypatch, no_picture):
    real, count = session.measure_model, []

    def measure(config, settings):
        count.append(config)
        if len(count) == 3:
            raise RuntimeError("no memory")
        return real(config, settings)

    monkeypatch.setattr(session, "measure_model", measure)
    with pytest.raises(RuntimeError, match="no memory"):
        session.run(plan_of(), tmp_path / "o")
    assert len(strict((tmp_path / "o" / files.RECORD).read_text())["rows"]) == 2


def test_what_is_not_finite_stays_readable(plan_of, tmp_path, capsys):
    plan = plan_of(("none",), (2, 12), {"init.gain": 100.0, "train.precision": "fp32"}, seeds=(0,))
    session.run(plan, tmp_path / "o", as_json=True)
    record = strict(capsys.readouterr().out)
    assert record["rows"][1]["loss_excess"] in ("NaN", "Infinity")
    slope = next(each for each in record["slopes"] if each["quantity"] == "loss_excess")
    assert slope["mean"] is None and slope["problem"] == "not finite at depth 12"
    session.run(plan, tmp_path / "again")  # and the page and the picture take it too
    assert "not finite at depth 12" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("changes", "rows", "message"),
    [
        ({}, {"norm": "batchnorm"}, "norm: batchnorm lets predictions see the future"),
        ({"train.device": "cuda"}, {}, "train.device"),
        ({"model.heads": 16}, {"norm": "groupnorm_token"}, "norm"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_written(
    changes, rows, message, plan_of, tmp_path
):
    if changes.get("train.device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a cuda device here")
    with pytest.raises(ConfigError, match=message):
        session.run(plan_of(("qk_norm",), changes=changes, **rows), tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_of_many_models_those_that_cannot_be_measured_are_named(plan_of, tmp_path):
    with pytest.raises(UserError) as refusal:
        session.run(
            plan_of(("pre", "qk_norm"), changes={"model.heads": 16}, norm="groupnorm_token"), tmp_path / "o"
        )
    assert str(refusal.value).startswith("1 of 2 kinds of model cannot be measured:\n  qk_norm: norm")
    assert not (tmp_path / "o").exists()


def test_a_leaky_norm_that_is_allowed_is_measured(plan_of):
    session.check(plan_of(changes={"norm.allow_leaky": True}, norm="batchnorm"))


def test_a_folder_with_a_probe_is_not_written_over(plan_of, tmp_path, no_picture):
    plan = plan_of(("pre",), (2,), seeds=(0,))
    session.run(plan, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(RunDirectoryError, match="already holds a probe"):
        session.run(plan, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_real_tokens_are_the_first_batch_of_training(probe_config):
    config = probe_config(TINY | {"depth": 2, "seed": 3})
    corpus = load_corpus(config.data, config.model.context)
    at = session.begin(config, ProbeConfig(tokens="text"))
    window = torch.from_numpy(Batches(corpus, 3, 2, 8).train(0))
    assert torch.equal(at.batch.ids_BT, window[:, :-1]) and torch.equal(at.batch.targets_BT, window[:, 1:])
    assert at.logits_BTV.shape == (2, 8, corpus.vocab)


def test_real_tokens_of_an_encoder_are_masked_and_its_loss_is_that_of_the_targets_alone(probe_config):
    changes = {"depth": 2, "seed": 3, "data.objective": "mlm", "model.causal": False}
    at = session.begin(probe_config(TINY | changes), ProbeConfig(tokens="text"))
    chosen = at.batch.targets_BT >= 0
    assert (at.batch.ids_BT == at.logits_BTV.shape[-1] - 1).any() and chosen.sum(1).tolist() == [1, 1]
    log_z = at.logits_BTV[chosen].exp().sum(-1).log()
    picked = at.logits_BTV[chosen].gather(1, at.batch.targets_BT[chosen][:, None])[:, 0]
    assert at.loss == pytest.approx((log_z - picked).mean().item(), rel=1e-5)


def test_a_placement_that_is_set_by_a_batch_is(probe_config):
    """Admin's scales come from the variances of this batch: 1 at first, then larger."""
    at = session.begin(probe_config(TINY | {"depth": 2}, placement="admin"), ProbeConfig())
    first, *more = (
        weight.mean().item() for name, weight in at.model.named_parameters() if "skip_scale" in name
    )
    assert first == 1 and min(more) > 1.1


def test_the_page_fits_a_terminal_and_shows_every_quantity(plan_of):
    plan = plan_of(("post", "pre", "deepnorm_inverted"), (1, 5, 9))
    rows = [
        {**cell.group, "depth": config.depth, "seed": config.seed}
        | session.measure_model(config, plan.settings)
        for cell, config in plan.models()
    ]
    slopes = session.fit(plan, rows)
    for width, encoding in ((80, "utf-8"), (120, "utf-8"), (80, "ascii")):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(page.page(plan, rows, slopes, width, encoding == "ascii"))
        text = console.export_text()
        assert max(map(len, text.splitlines())) <= width
        assert all(f"\n{key}" in text for key in QUANTITIES)
        assert "12 models" not in text and "18 models" in text
        assert ("95 % interval" in text) == (width == 120)
        assert encoding == "utf-8" or not set(text) & set("▁▂▃▄▅▆▇█")
    post = next(
        each for each in slopes if each.quantity == "update_sgd" and each.group["placement"] == "post"
    )
    assert f"{post.mean:+.3f} ± {post.sd:.3f}" in text


class Tracker:
    """In the place of the wandb sink."""

    sync_hint = None

    def __init__(self, tracker, pictures, warn, kind):
        self.tracker, self.pictures, self.kind = tracker, pictures, kind
        self.rows, Tracker.last = [], self

    def open(self, opening):
        self.opening = opening

    def row(self, row):
        self.rows.append(row)

    def close(self, summary):
        self.summary, self.shown = summary, self.pictures(self.opening.directory)


def test_wandb_gets_a_step_a_model_the_slopes_and_the_picture(plan_of, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(session, "WandbSink", Tracker)
    session.run(plan_of(), tmp_path / "o", as_json=True)
    record, tracker = strict(capsys.readouterr().out), Tracker.last
    assert [row["step"] for row in tracker.rows] == list(range(8)) and tracker.kind == "probe"
    assert tracker.rows[2]["update_sgd/pre"] == record["rows"][2]["update_sgd"]
    assert (tracker.rows[2]["depth"], tracker.rows[2]["seed"]) == (2, 0)
    slope = next(each for each in record["slopes"] if each["quantity"] == "update_sgd")
    assert tracker.summary["slope"]["update_sgd"]["post"]["mean"] == slope["mean"]
    assert tracker.summary["status"] == "finished" and tracker.shown["figures/probe"].width > 800
    assert tracker.opening.floors == {"uniform": pytest.approx(math.log(65))}
    assert tracker.opening.config["probe"]["words"] == ["some=words"]

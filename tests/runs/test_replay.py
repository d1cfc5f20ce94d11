"""Replays: the events that the run had, others with other thresholds, and files that are not as they were."""

import dataclasses
import json
import math
import random
import shutil

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from normlab.catalogue.optimizers import OPTIMIZERS
from normlab.cli.app import app
from normlab.compose.saved_config import load_config
from normlab.config import (
    DivergenceConfig,
    EntropyCollapseConfig,
    ExplosionConfig,
    PlateauConfig,
    SlowDivergenceConfig,
    SpikeConfig,
    VanishingConfig,
)
from normlab.divergence import RunFacts, Watch
from normlab.errors import ConfigError, RunDirectoryError
from normlab.run import resume, run
from normlab.rundir.reading import readable_rows
from normlab.rundir.writer import LOCK, read_events, read_summary
from normlab.runs.replay import beside, replay, thresholds

#: Detectors that have seen enough after 60 steps.
QUICK = {
    "divergence.spike": {
        "window": 16,
        "z": 4.0,
        "co_z": 3.0,
        "grad_ratio": 1.2,
        "alone_ratio": 1e6,
        "early": 0.2,
        "chance": 0.9,
    },
    "divergence.explosion.steps": 8,
    "divergence.plateau": {"window": 10, "grace": 5, "tolerance": 1.0, "long_window": 20},
    "divergence.slow_divergence": {"window": 6, "steps": 8},
    "divergence.vanishing": {"steps": 5, "factor": 1e5},
    "train.steps": 60,
    "train.eval_every": 25,
}
#: What befalls a run, and what brings it about.
TROUBLES = {
    "nonfinite": ({"optimizer.lr": 1e30}, {"optimizer": "sgd"}),
    "exploded": ({"optimizer.lr": 3.0}, {}),
    "stuck": ({"optimizer.lr": 1e-7}, {}),
    "spiked": ({"optimizer.lr": 0.1, "divergence.plateau.grace": 1000}, {}),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`made(name, config)`: the directory of a run, trained once for all tests."""
    root = tmp_path_factory.mktemp("runs")

    def train(name, config):
        if not (root / name).exists():
            run(config, root / name, plain=True)
        return root / name

    return train


@pytest.fixture
def quick(small):
    return lambda changes=None, **rows: small(QUICK | (changes or {}), **rows)


@pytest.fixture
def spiked(quick, made, tmp_path):
    """A copy of a run with several events."""
    changes, rows = TROUBLES["spiked"]
    directory = made("spiked", quick(changes, **rows))
    return shutil.copytree(directory, tmp_path / "spiked")


def lines(directory, name="metrics.jsonl"):
    return (directory / name).read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_replay_finds_what_the_run_found(quick, made, trouble):
    changes, rows = TROUBLES[trouble]
    directory = made(trouble, quick(changes, **rows))
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    done = replay(directory)
    assert done.events and {found.mark for found in done.found} == {"same"}
    assert len(done.found) == len(read_events(directory))
    assert done.outcome == done.recorded_outcome == read_summary(directory)["outcome"]
    # A run that spikes comes back to where it was: 60 steps teach this model nothing.
    assert done.outcome == ("untrained" if trouble == "spiked" else trouble)
    assert done.notes == [] and done.changed == {} and done.kept is None
    assert before == {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_replay_of_a_resumed_run_finds_what_both_parts_found(quick, tmp_path):
    changes, _ = TROUBLES["spiked"]
    short = quick(changes | {"train.steps": 31, "train.checkpoint.every": 7})
    run(short, tmp_path / "run", plain=True)
    resume(dataclasses.replace(short, train=dataclasses.replace(short.train, steps=60)), tmp_path / "run")
    done = replay(tmp_path / "run")
    assert {found.mark for found in done.found} == {"same"}
    steps = [event.step for event in done.events]
    assert min(steps) < 31 < max(steps), "one part has no event"
    assert (done.rows, done.last_step) == (60, 59)


def test_other_thresholds_give_other_events(spiked):
    own = replay(spiked)
    assert any(event.kind == "spike" for event in own.events)
    own_values = {"z": 4.0, "co_z": 3.0, "grad_ratio": 1.2, "early": 0.2}
    done = replay(spiked, [f"divergence.spike.{name}=1e6" for name in own_values])
    assert done.changed == {f"divergence.spike.{name}": (was, 1e6) for name, was in own_values.items()}
    assert not any(event.kind == "spike" for event in done.events)
    gone = [found for found in done.found if found.mark == "gone"]
    assert {found.event["kind"] for found in gone} == {"spike"}
    assert len(gone) == sum(event.kind == "spike" for event in own.events)
    more = replay(spiked, ["divergence.spike.z=1", "divergence.spike.grad_ratio=1"])
    assert "new" in {found.mark for found in more.found}
    assert read_events(spiked) == [found.event for found in own.found]


def test_marks_and_differences_are_by_step_kind_and_metric():
    one = {"step": 1, "kind": "spike", "metric": "loss", "value": math.nan, "end": None, "message": "up"}
    other = {"step": 2, "kind": "spike", "metric": "loss", "value": 1.0, "end": None}
    # The record of one is of a version that knew no order, and said it otherwise.
    found = beside(
        [one | {"order": (), "message": "risen"}, other | {"end": 9}], [other, dict(one), one | {"step": 0}]
    )
    assert [(each.mark, each.event["step"], each.differs) for each in found] == [
        ("gone", 0, ()),
        ("same", 1, ()),
        ("changed", 2, ("end",)),
    ]


def test_write_replaces_events_and_outcome_and_keeps_the_old(spiked):
    old = {name: (spiked / name).read_bytes() for name in ("events.jsonl", "summary.json")}
    rows, before = (spiked / "metrics.jsonl").read_bytes(), read_summary(spiked)
    words = [f"divergence.spike.{name}=1e6" for name in ("z", "co_z", "grad_ratio", "early")]
    words += ["divergence.explosion.steps=1000", "divergence.plateau.grace=5"]
    done = replay(spiked, words, write=True)
    assert {name: (done.kept / name).read_bytes() for name in old} == old
    assert (spiked / "metrics.jsonl").read_bytes() == rows
    assert read_events(spiked) == [event.record() for event in done.events]
    summary = read_summary(spiked)
    assert summary["outcome"] == done.outcome != before["outcome"]
    assert "spike" in before["events"] and "spike" not in summary["events"]
    assert summary["replayed"]["thresholds"]["divergence.explosion.steps"] == 1000
    changed = {"outcome", "events", "first_event", "first_event_step", "first_event_layer", "replayed"}
    assert {key: summary[key] for key in before.keys() - changed} == {
        key: before[key] for key in before.keys() - changed
    }
    again = replay(spiked, write=True)
    assert again.kept != done.kept
    assert read_events(spiked) == [json.loads(line) for line in old["events.jsonl"].splitlines()]
    assert read_summary(spiked)["outcome"] == before["outcome"]
    assert not list(spiked.glob("*.part"))


def test_a_write_that_fails_leaves_the_old_events(spiked, monkeypatch):
    old = (spiked / "events.jsonl").read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        replay(spiked, ["divergence.spike.z=1"], write=True)
    assert (spiked / "events.jsonl").read_bytes() == old
    assert not list(spiked.glob("*.part"))


def test_a_run_in_training_is_read_but_not_written(spiked):
    with FileLock(spiked / LOCK):  # as another process has it
        assert replay(spiked).events
        with pytest.raises(RunDirectoryError, match="being trained"):
            replay(spiked, write=True)


def test_rows_that_were_not_logged_are_told_of(quick, made):
    changes, rows = TROUBLES["spiked"]
    directory = made("sparse", quick(changes | {"train.log_every": 10}, **rows))
    done = replay(directory)
    assert done.rows < 60 and done.last_step == 59
    (note,) = done.notes
    assert f"{done.rows} rows for 60 steps" in note and "train.log_every=10" in note


def test_torn_and_foreign_lines_are_left_out_and_counted(spiked):
    rows = lines(spiked)
    rows[3] = rows[3][:40] + b"\n"
    rows[7] = b'{"epoch": 1}\n'
    rows.insert(20, rows[19])
    rows[-1] = rows[-1][:-9]
    (spiked / "metrics.jsonl").write_bytes(b"".join(rows))
    done = replay(spiked)
    assert done.rows == 57 and done.last_step == 58
    assert "lines 4, 8 and 61 are not a row" in done.notes[0]
    assert "line 21 is of a step that was there already" in done.notes[1]
    assert "57 rows for 60 steps: they end at step 58, and the detectors saw" in done.notes[2]


def test_rows_that_end_before_the_run_did_are_told_of_and_nothing_is_written(spiked):
    before = (spiked / "events.jsonl").read_bytes(), (spiked / "summary.json").read_bytes()
    (spiked / "metrics.jsonl").write_bytes(b"".join(lines(spiked)[:17]))
    done = replay(spiked)
    assert (done.rows, done.last_step, done.steps) == (17, 16, 60)
    assert "17 rows for 60 steps: they end at step 16" in done.notes[0]
    with pytest.raises(RunDirectoryError, match="ends at step 16 and the run had 60 steps"):
        replay(spiked, write=True)
    assert before == ((spiked / "events.jsonl").read_bytes(), (spiked / "summary.json").read_bytes())
    assert not list(spiked.glob("before-replay-*"))
    shown = CliRunner().invoke(app, ["replay", str(spiked)]).stdout
    assert "17 rows for 60 steps" in shown and "nor can be with --write" in shown
    # Of a summary that cannot be read, the events still know better than the rows.
    (spiked / "summary.json").unlink()
    assert replay(spiked).steps == max(event["step"] for event in read_events(spiked)) + 1 > 17


def test_rows_with_nan_are_read(quick, made):
    changes, rows = TROUBLES["nonfinite"]
    directory = made("nonfinite", quick(changes, **rows))
    assert b"NaN" in b"".join(lines(directory))
    event = replay(directory).record()["events"][0]
    assert event["kind"] == "nonfinite" and event["threshold"] == "Infinity"


def test_without_a_summary_what_needs_no_floor_is_still_found(spiked):
    spikes = [found.event for found in replay(spiked).found if found.event["kind"] == "spike"]
    (spiked / "summary.json").write_bytes(b'{"status": "fin')
    (spiked / "events.jsonl").unlink()
    done = replay(spiked)
    assert done.status == "unknown" and done.recorded_outcome is None
    assert [found.event for found in done.found if found.event["kind"] == "spike"] == spikes
    assert {found.mark for found in done.found} == {"new"}
    assert "is not JSON" in done.notes[0] and "plateau and vanishing see nothing" in done.notes[0]
    assert "no events.jsonl" in done.notes[1]
    with pytest.raises(RunDirectoryError, match="nothing can be written"):
        replay(spiked, write=True)


def test_a_run_that_was_killed_has_no_outcome_to_write(spiked):
    summary = read_summary(spiked) | {"status": "running", "outcome": None}
    (spiked / "summary.json").write_text(json.dumps(summary))
    done = replay(spiked, write=True)
    assert done.outcome == "untrained" and done.recorded_outcome is None
    assert read_summary(spiked)["outcome"] is None


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda run: shutil.rmtree(run), "there is no such folder"),
        (lambda run: (run / "config.yaml").unlink(), "there is no config.yaml"),
        (lambda run: (run / "metrics.jsonl").unlink(), "there is no metrics.jsonl"),
        (lambda run: (run / "sweep.json").touch(), "it is a sweep"),
        (lambda run: (run / "metrics.jsonl").write_bytes(b""), "it is empty"),
        (lambda run: (run / "metrics.jsonl").write_bytes(b"\x89PNG\n\x00"), "no line of it is a row"),
        (lambda run: (run / "metrics.jsonl").write_text('{"step": 1, "train/loss": 2}\n'), "has a loss"),
        (lambda run: (run / "config.yaml").write_text("a: 1\n"), "not the config of a run"),
        (lambda run: (run / "config.yaml").write_text("a: [\n"), "cannot be read"),
    ],
)
def test_what_is_no_run_is_refused(spiked, spoil, match):
    spoil(spiked)
    with pytest.raises(RunDirectoryError, match=match):
        replay(spiked)


def test_the_rows_file_stands_for_its_folder_and_no_other_file_does(spiked):
    assert replay(spiked / "metrics.jsonl").directory == spiked
    with pytest.raises(RunDirectoryError, match="not a folder"):
        replay(spiked / "summary.json")


@pytest.mark.parametrize(
    ("word", "match"),
    [
        ("divergence.spike.z=0", "divergence.spike.z: must be a finite number above 0"),
        ("divergence.spike.z=many", "divergence.spike.z: must be a number, got many"),
        ("divergence.spike.window=2.5", "divergence.spike.window: must be a whole number"),
        ("divergence.plateau.long_window=5", "divergence.plateau.long_window: must be at least"),
        ("divergence.spike.zz=3", "divergence.spike.zz: .*'divergence.spike.z'"),
        ("spike.z=3", r"spike.z: .*Did you mean 'divergence.spike.z'\?"),
        ("optimizer.lr=1", "optimizer.lr: there is no such threshold"),
        ("divergence.action=stop", "divergence.action: there is no such threshold"),
        ("divergence=standard", "divergence: there is no such threshold"),
        ("divergence.spike.z", "is not KEY=VALUE"),
    ],
)
def test_what_is_no_threshold_is_refused(spiked, word, match):
    with pytest.raises(ConfigError, match=match):
        replay(spiked, [word])


def test_every_threshold_can_be_given(spiked):
    config = load_config(spiked / "config.yaml")
    wanted = {}
    for key in thresholds():
        _, detector, name = key.split(".")
        value = getattr(getattr(config.divergence, detector), name)
        wanted[key] = value / 2 if name in ("share", "chance") else value + 1
    assert len(wanted) > 20
    done = replay(spiked, [f"{key}={value}" for key, value in wanted.items()])
    assert {key: now for key, (_, now) in done.changed.items()} == wanted


def test_ranges_of_the_settings():
    for kind, bad in (
        (SpikeConfig, {"window": 7}),
        (ExplosionConfig, {"margin": -1.0}),
        (SlowDivergenceConfig, {"window": 3}),
        (SlowDivergenceConfig, {"margin": 0.0}),
        (SlowDivergenceConfig, {"z": -1.0}),
        (SlowDivergenceConfig, {"steps": 0}),
        (PlateauConfig, {"window": 60, "long_window": 59}),
        (VanishingConfig, {"steps": 0}),
        (EntropyCollapseConfig, {"share": 1.0}),
    ):
        with pytest.raises(ConfigError, match=next(iter(reversed(bad)))):
            kind(**bad)


def some(noise, depth=0):
    """A JSON value that a row might hold, or should not."""
    scalars = [None, True, 0, 3, -1, 10**400, 2.5, math.nan, math.inf, -math.inf, "NaN", "layer_00", ""]
    keys = ["step", "loss", "lr", "grad_norm/global", "grad_norm/head", "nonfinite/parameter", "a"]
    if depth < 2 and noise.random() < 0.6 - 0.2 * depth:
        pairs = {key: some(noise, depth + 1) for key in keys if noise.random() < 0.5}
        return pairs | ({"step": noise.randrange(9)} if noise.random() < 0.8 else {})
    return noise.choice([noise.choice(scalars), [noise.choice(scalars)]])


@pytest.mark.parametrize("seed", range(20))
def test_no_file_makes_it_fail(tmp_path, seed):
    """Whatever the lines are, reading them does not raise, and rows that are left can be folded."""
    noise = random.Random(seed)
    texts = [json.dumps(some(noise)).encode() for _ in range(200)] + [b"[" * 10**5]
    texts = [text[: noise.randrange(len(text))] if noise.random() < 0.1 else text for text in texts]
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([*texts, noise.randbytes(300)]))
    rows, _ = readable_rows(tmp_path / "metrics.jsonl", ["nonfinite/parameter"])
    assert rows and [row["step"] for row in rows] == sorted({row["step"] for row in rows})
    floors, sizes = {"unigram": 3.0, "uniform": 5.0}, {"head": 4, "layer_00": 4}
    least = [each for row in OPTIMIZERS.values() for each in row.least(row.config)]
    watch = Watch(DivergenceConfig(), RunFacts(floors=floors, warmup=0, steps=9, least=least, sizes=sizes))
    for row in rows:
        watch.update(row)


def test_of_very_many_events_the_first_are_printed(spiked):
    event = json.loads((spiked / "events.jsonl").read_text().splitlines()[0])
    lines = [json.dumps({**event, "kind": f"kind{number}", "step": 3}) for number in range(2000)]
    (spiked / "events.jsonl").write_text("\n".join(lines))
    done = CliRunner().invoke(app, ["replay", str(spiked)])
    assert done.exit_code == 0 and "more; --json tells all" in done.stdout
    assert 90 <= done.stdout.count("kind") <= 100

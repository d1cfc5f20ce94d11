"""The search for critical rates, with a stand-in for the training."""

import json
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from typer.testing import CliRunner

from normlab.cli.app import app
from normlab.launch import critical_lr
from normlab.launch.main import FAILED, OK, REFUSED

#: Three rates, of which a search tries those from the highest to the first that trains, or with
#: critical.check=1 all. Composing a job takes a while.
GRID = ["critical.lowest=0.004", "critical.highest=0.256", "critical.factor=8", "critical.check=0"]


@pytest.fixture
def edge(fake, monkeypatch):
    """Runs train below 0.1 / depth, those of post below a tenth of it; `ran` says what ran."""
    train = fake.run

    def run(config, directory, **more):
        summary = train(config, directory, **more)
        path = directory / "summary.json"
        if summary["status"] == "finished" and config.seed != fake.LOST:
            top = 0.1 / config.depth * (0.1 if config.placement.name == "post" else 1)
            content = json.loads(path.read_text())
            content["outcome"] = "stable" if config.optimizer.lr < top else "nonfinite"
            path.write_text(json.dumps(content))
        return summary

    monkeypatch.setattr(fake, "run", run)
    return fake


def ran(fake):
    return [(c.placement.name, c.depth, c.optimizer.lr, c.seed) for c, *_ in fake.ran]


def test_every_variant_finds_its_rate_and_json_is_all_that_is_printed(edge):
    words = ["placement=post,pre", "depth=2", "seed=0,1", *GRID]  # the folder is named by the words
    done = CliRunner().invoke(app, ["sweep", "critical-lr", *words, "--json"])
    assert done.exit_code == OK
    content = json.loads(done.stdout)
    found = [(row["placement"], row["critical"]) for row in content["critical"]]
    assert [(name, border["trains"], border["fails"]) for name, border in found] == [
        ("post", 0.004, 0.032),
        ("pre", 0.032, 0.256),
    ]
    trial = {"placement": "post", "rate": 0.032, "trained": 0.0, "outcomes": ["nonfinite"] * 2}
    assert trial in content["trials"] and len(content["trials"]) == 5
    assert sorted(ran(edge)) == [
        (*variant, seed)
        for variant in (
            *(("post", 2, rate) for rate in (0.004, 0.032, 0.256)),
            *(("pre", 2, rate) for rate in (0.032, 0.256)),
        )
        for seed in (0, 1)
    ]
    [folder] = Path("outputs/sweeps").iterdir()
    assert str(folder) == content["sweep"] and folder.name.startswith("critical-lr-")
    assert len(json.loads((folder / "sweep.json").read_text())["jobs"]) == 10
    assert json.loads((folder / "critical.json").read_text()) == content


def test_run_again_it_trains_nothing_and_enlarged_only_what_is_new(edge, monkeypatch, capsys):
    first = critical_lr(["depth=2", *GRID])
    assert "finished before" not in capsys.readouterr().out
    with monkeypatch.context() as patched:  # no job is even handed to a launcher
        name = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
        patched.setattr(Plugins.instance().class_name_to_class[name], "launch", None)
        assert critical_lr(["depth=2", *GRID]).variants == first.variants
    out, err = capsys.readouterr()
    assert out.count("  1 finished before\n") == 2 and err == ""
    again = critical_lr(["depth=2", *GRID, "critical.check=1"])
    assert [rate for _, _, rate, _ in ran(edge)] == [0.256, 0.032, 0.004]
    assert first.variants[0].outcomes.items() < again.variants[0].outcomes.items()
    assert len(list(Path("outputs/sweeps").iterdir())) == 1


def test_an_interrupt_ends_it_and_the_same_command_goes_on(edge, monkeypatch):
    words = [f"seed=0,1,{edge.INTERRUPTED}", "depth=2", *GRID]
    found = critical_lr(words)
    assert found.code == 143 and len(edge.ran) == 3
    assert [variant.stopped for variant in found.variants] == ["interrupted"]
    monkeypatch.setattr(edge, "INTERRUPTED", -1)
    found = critical_lr(words)
    assert found.code == OK and not found.variants[0].stopped
    assert [config.seed for config, _ in edge.resumed] == [92] and len(edge.ran) == 6


def test_an_interrupt_in_the_first_round_leaves_the_way_on_too(edge):
    words = [f"seed={edge.INTERRUPTED}", "depth=2", *GRID]
    done = CliRunner().invoke(app, ["sweep", "critical-lr", *words])
    command = f"normlab sweep critical-lr {' '.join(words)}"
    assert done.exit_code == 143 and "not at its end, interrupted" in done.stdout
    assert done.stderr.splitlines()[-1] == f"to go on: {command}"
    [path] = Path("outputs/sweeps").glob("*/sweep.json")
    assert json.loads(path.read_text())["command"] == command


def test_after_a_failure_the_way_on_tries_it_again_in_the_same_sweep(edge):
    words = [f"seed={edge.FULL_DISK}", "depth=2", *GRID]
    found = critical_lr(words)
    assert found.code == FAILED and found.resume_command.endswith(" critical.check=0 sweep.retry=failed")
    again = critical_lr([*words, "sweep.retry=failed"])
    assert (
        again.directory == found.directory
        and again.resume_command == found.resume_command
        and len(edge.resumed) == 1
    )


def test_before_the_first_run_there_is_nothing_to_go_on_with(edge, monkeypatch, capsys):
    def stop(config, directory, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(edge, "run", stop)
    found = critical_lr(["depth=2", *GRID])
    assert found.code == 130 and found.directory is None
    assert "interrupted before the first step" in capsys.readouterr().err


def test_a_lost_run_leaves_its_variant_undecided_and_the_others_go_on(edge, capsys):
    found = critical_lr([f"sweep.rows=[{{depth: 2, seed: 0}},{{depth: 4, seed: {edge.LOST}}}]", *GRID])
    assert found.code == FAILED
    assert [variant.stopped for variant in found.variants] == ["", "at 0.256, 1 of 1 runs: lost"]
    assert len(found.variants[0].outcomes) == 2 and found.variants[1].outcomes == {}
    assert "lost: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.lr=1e-3,1e-2"], "optimizer.lr: is what is searched; give critical.lowest"),
        (["critical.low=1"], "critical.low: there is no such setting; there are critical.lowest"),
        (["critical.factor=x"], "critical.factor: must be a number, got x"),
        (["critical.check=1.5"], "critical.check: must be a whole number"),
        (["critical.factor=1"], "critical.factor: must be above 1"),
        (["placement=prez,post"], "Did you mean 'pre'"),
        (["experiment=lr_sensitivity"], "optimizer.lr: is what is searched"),
        (["hydra/sweeper=nothing"], "there is no sweeper 'nothing'"),
    ],
)
def test_what_is_refused_before_anything_is_made(edge, capsys, words, message):
    assert critical_lr(words).code == REFUSED
    assert message in capsys.readouterr().err
    assert edge.ran == [] and not Path("outputs").exists()


def test_a_study_says_what_the_variants_are(edge):
    Path("mine/experiment").mkdir(parents=True)
    text = "# @package _global_\nhydra: {sweeper: {params: {placement: 'pre,post'}}}\n"
    Path("mine/experiment/two.yaml").write_text(text + "optimizer: {lr: 0.5}\nwarmup: 7\n")
    found = critical_lr(["-cd", "mine", "experiment=two", "depth=2", *GRID])
    assert found.code == OK and {config.warmup for config, *_ in edge.ran} == {7}
    assert [variant.knobs for variant in found.variants] == [{"placement": "pre"}, {"placement": "post"}]
    assert [min(variant.shares) for variant in found.variants] == [0.032, 0.004]


def test_help_fits_and_tells_the_words(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    done = CliRunner().invoke(app, ["sweep", "critical-lr", "--help"], prog_name="normlab")
    assert done.exit_code == 0 and max(map(len, done.stdout.splitlines())) <= 80
    assert "critical.lowest" in done.stdout and "normlab train -m optimizer.lr=" in " ".join(
        done.stdout.split()
    )

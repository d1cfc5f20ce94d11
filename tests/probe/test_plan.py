"""What the words after `normlab probe` mean."""

import pytest
import yaml

from normlab.catalogue import groups
from normlab.compose.from_words import compose
from normlab.errors import UserError
from normlab.launch.probe_plan import plan
from normlab.probe.settings import ProbeConfig, name


def test_lists_expand_as_in_a_sweep():
    """Seeds are outermost, so that a probe that is stopped has whole ones."""
    found = plan(["placement=post,pre", "depth=4,8", "seeds=2", "init.gain=0.5,1"])
    assert found.seeds == [0, 1] and found.depths == [4, 8]
    assert [dict(group) for group in found.groups] == [
        {"placement": placement, "init.gain": gain} for placement in ("post", "pre") for gain in (0.5, 1.0)
    ]
    assert [name(group) for group in found.groups][:2] == ["post gain=0.5", "post gain=1.0"]
    for cell in found.cells:
        assert cell.group == {"placement": cell.config.placement.name, "init.gain": cell.config.init.gain}
    assert [
        (config.seed, config.placement.name, config.init.gain, config.depth) for _, config in found.models()
    ] == [
        (seed, placement, gain, depth)
        for seed in (0, 1)
        for placement in ("post", "pre")
        for gain in (0.5, 1.0)
        for depth in (4, 8)
    ]


def test_hydras_ranges_and_patterns_work_too():
    found = plan(["placement=glob(deepnorm_g*)", "depth=range(2,7,2)", "seed=5,9"])
    assert {group["placement"] for group in found.groups} == {
        option for option in groups.options("placement") if option.startswith("deepnorm_g")
    }
    assert found.depths == [2, 4, 6] and found.seeds == [5, 9]


def test_a_probe_starts_from_its_own_settings_whatever_train_does():
    found = plan([])
    config = found.cells[0].config
    model, init = config.model, config.init
    assert (model.width, model.context, config.train.batch_size, model.positions) == (64, 32, 4, "none")
    assert (init.gain, init.embedding_std, init.head_std) == (1.0, 1.0, 64**-0.5)
    assert (config.activation.name, found.settings.tokens, found.settings.vocab) == ("gelu", "random", 65)
    assert (found.settings.noise, found.settings.sgd_lr, found.settings.sign_lr) == (0.01, 1e-2, 2e-5)
    assert found.depths == [4, 8, 16, 32] and found.seeds == list(range(10))
    assert config.tracker.mode == "disabled" and config.train.device == "cpu"


def test_the_heads_scale_follows_the_width_and_small_std_leaves_the_ends_alone():
    found = plan(["init=normal", "init.std=0.02", "model.width=16,256", "seeds=1", "depth=4"])
    assert [cell.config.init.head_std for cell in found.cells] == [0.25, 0.0625]
    assert all(cell.config.init.embedding_std == 1 and cell.config.init.std == 0.02 for cell in found.cells)


def test_its_groups_are_those_of_train():
    """conf/probe.yaml has its own list of defaults; nothing else keeps the two together.

    A probe has no rows of a sweep: it takes its lists apart by itself.
    """
    probe, train = (
        yaml.safe_load((groups.conf_dir() / f"{n}.yaml").read_text()) for n in ("probe", "config")
    )
    rows = [line for line in train["defaults"] if not any(str(key).startswith("override") for key in line)]
    assert probe["defaults"] == [line for line in rows if line != {"row": None}]


def test_apart_from_them_a_config_is_that_of_train():
    own = plan(["placement=keel", "norm=rmsnorm", "norm.eps=1e-7", "depth=3", "seeds=1"]).cells[0].config
    words = (
        "placement=keel norm=rmsnorm norm.eps=1e-7 depth=3 model.context=32 model.positions=none init.gain=1 "
    )
    words += (
        "init.embedding_std=1 init.head_std=0.125 train.batch_size=4 train.precision=fp64 train.device=cpu "
    )
    train = compose(f"{words}train.threads=1 tracker.mode=disabled".split())
    assert own == train


def test_files_win_over_the_probes_settings_and_words_over_files(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "x.yaml").write_text(
        "# @package _global_\ninit:\n  gain: 0.5\n  embedding_std: 3\nhydra:\n  sweeper:\n    params:\n"
        "      placement: post,pre\n      depth: 2,3\n      seed: range(4)\n"
    )
    found = plan(["experiment=x", "init.embedding_std=2", "placement=keel", "seeds=2"], tmp_path)
    assert [dict(group) for group in found.groups] == [{"placement": "keel"}]
    assert found.depths == [2, 3] and found.seeds == [0, 1]
    assert (found.cells[0].config.init.gain, found.cells[0].config.init.embedding_std) == (0.5, 2.0)
    found = plan(["experiment=x"], tmp_path)
    assert [group["placement"] for group in found.groups] == ["post", "pre"] and len(found.seeds) == 4


def test_a_setting_that_follows_the_depth_does(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "x.yaml").write_text("# @package _global_\nwarmup: ${depth}\n")
    found = plan(["experiment=x", "depth=2,5", "seeds=1"], tmp_path)
    assert [cell.config.warmup for cell in found.cells] == [2, 5]


def test_a_data_word_asks_for_its_text():
    assert plan(["data=markov"]).settings == ProbeConfig(tokens="text")
    assert plan(["data.val_fraction=0.1", "tokens=random"]).settings == ProbeConfig(tokens="random")


def test_seeds_count_from_the_seed():
    assert plan(["seed=7", "seeds=3"]).seeds == [7, 8, 9]
    assert plan(["seed=7"]).seeds == [7]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seeds=0"], "seeds: must be 1 or more, got 0"),
        (["seeds=1000000000"], "seeds: must be 10000 or less"),
        (["seeds=two"], "seeds: must be a whole number, got two"),
        (["seeds=2.5"], "seeds: must be a whole number, got 2.5"),
        (["seeds=1,2"], "seeds: takes one value, got 1,2"),
        (["seed=1,2", "seeds=2"], "give one"),
        (["seed=-1", "seeds=2"], "seed: must be 0 or more"),
        (["depth=4,x"], "depth: must be a whole number, got x"),
        (["depth=4,4"], "the same model twice"),
        (["seed=x"], "seed: must be a whole number, got x"),
        (["noise=0"], "noise: must be a finite number above 0"),
        (["noise=much"], "noise: must be a number, got much"),
        (["vocab=1"], "vocab: must be 2 or more"),
        (["vocab=9", "tokens=text"], "a text brings its own"),
        (["tokens=real"], "tokens: 'real' is not one of random, text"),
        (["placement=pro,pre"], "placement=pro: there is no placement 'pro'. Did you mean"),
        (["placement=glob(zz*)"], "nothing matches placement=glob(zz*)"),
        (["model.width=64,65"], "model.width: 65 is not divisible by model.heads=4"),
    ],
)
def test_bad_words_are_refused(words, message):
    with pytest.raises(UserError) as refusal:
        plan(words)
    assert message in str(refusal.value)


@pytest.mark.parametrize("words", [["depht=4"], ["placement=pst"], ["init.gain=big"]])
def test_the_messages_are_those_of_train(words):
    with pytest.raises(UserError) as ours:
        plan(words)
    with pytest.raises(UserError) as theirs:
        compose(words)
    assert str(ours.value) == str(theirs.value)


def test_a_setting_that_follows_the_seed_is_refused(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "x.yaml").write_text("# @package _global_\nwarmup: ${seed}\n")
    with pytest.raises(UserError, match="warmup: follows the seed"):
        plan(["experiment=x", "depth=2", "seeds=2"], tmp_path)


@pytest.mark.parametrize(
    "option", [name for name in groups.options("experiment") if name.startswith("probe_")]
)
def test_every_probe_of_ours_says_how_and_what_to_expect_and_composes(option):
    text = groups.files("experiment")[option].read_text()
    assert f"normlab probe experiment={option}" in text and "Cost: " in text and "Expected" in text
    question = text.splitlines()[1]
    assert question.startswith("# ") and "?" in question
    params = yaml.safe_load(text)["hydra"]["sweeper"]["params"]
    assert params["seed"] == "range(10)" and len(params["depth"].split(",")) >= 4
    assert set(params["placement"].split(",")) <= set(groups.options("placement"))
    commands = [
        line.split("normlab probe ")[1].split() for line in text.splitlines() if "#   normlab" in line
    ]
    placement = params["placement"].split(",")[0]
    for words in {tuple(commands[0]), tuple(commands[-1])}:
        found = plan([f"placement={placement}", "depth=2", *words])
        assert found.cells[0].config.model.context == 32 and found.settings == ProbeConfig()

"""Words that no command can take: refused in one short line that names the key, and nothing is written."""

import time
from pathlib import Path

import pytest
import yaml

from normlab.catalogue.datasets import HubData, MarkovData, TextData
from normlab.compose.from_words import compose
from normlab.compose.saved_config import as_plain
from normlab.compose.typed import check_words
from normlab.config import DataConfig, ModelConfig, TrainConfig
from normlab.data import hub
from normlab.errors import ConfigError, UserError, quoted
from normlab.launch.main import REFUSED, launch, resume
from normlab.training.footprint import check_memory, least_bytes, machine_bytes

#: What stops before Hydra reads it: a word, and what its message says.
REFUSED_AT_ONCE = [
    ("depth=12 ", "depth=12: begins or ends with a space"),
    ("depth='2 '", "depth: '2 ' holds a space beside the number"),
    ('depth=3,"\t12"', 'depth: "?12" holds a space beside the number'),
    ("optimizer.lr='1e-3 ','1e-2'", "optimizer.lr: '1e-3 ' holds a space"),
    ("~train", "train: cannot be removed"),
    ("~norm.eps", "norm.eps: cannot be removed"),
    ("=3", "=3: there is no key before the ="),
    ("hydra=null", "hydra: is no setting"),
    ("depth=" + "9" * 5000, "depth: is a number of 5000 digits"),
    ("model.embedding_scale=" + "9" * 5000, "model.embedding_scale: is a number of 5000 digits"),
    ("depth=\x1b[31mred", "depth=?[31mred: holds a control character"),
    ("\u202edepth=3", "?depth=3: holds a control character, RIGHT-TO-LEFT OVERRIDE"),
    ("depth=\ud800", "depth=?: is not UTF-8 text"),
    ("depth=" + "[depth=" * 500, "depth: has brackets within brackets, 500 deep"),
    ("depth=" + "{a:" * 300 + "1" + "}" * 300, "depth: has brackets within brackets"),
    ("x" * 5000 + "=1", "...: is no setting: a key has at most 200 characters"),
    ("depth=" + "1," * 60_000, "depth: has 120006 characters"),
    ("hydra.run.dir=", "hydra.run.dir: is empty"),
    ("hydra.run.dir=" + "x" * 314, "hydra.run.dir: is too long"),
    ("hydra.sweep.subdir=../../x-${hydra.job.num}", "hydra.sweep.subdir: must stay within the folder"),
    ("hydra.sweep.subdir=/x", "hydra.sweep.subdir: must stay within the folder"),
    ("hydra.output_subdir=../../../x", "hydra.output_subdir: must stay within the folder"),
    ("hydra.verbose=nosuchmodule", "hydra.verbose: must be true, false or names of modules"),
    ("hydra.searchpath=[file:///nope]", "hydra.searchpath: there is no folder file:///nope"),
    ("hydra.searchpath=[pkg://nosuchmodule]", "hydra.searchpath: there is no folder pkg://nosuchmodule"),
    ("hydra.sweeper.params={depth: x}", "hydra.sweeper.params: is set one by one"),
    ("~hydra.callbacks.preflight", "hydra.callbacks.preflight: cannot be set: callbacks check the run"),
    ("hydra.callbacks=null", "hydra.callbacks: cannot be set"),
    ("++hydra.callbacks={}", "hydra.callbacks: cannot be set"),
    ("hydra/callbacks=x", "hydra/callbacks: cannot be set"),
    ("+hydra.callbacks.x._target_=os.abort", "hydra.callbacks.x._target_: cannot be set"),
    (
        "hydra.launcher._target_=os.system",
        "hydra.launcher._target_: cannot be set: choose with hydra/launcher",
    ),
    ("hydra.launcher={_target_: os.abort}", "hydra.launcher: cannot be set"),
    ("hydra.sweeper._target_=nope.Nope", "hydra.sweeper._target_: cannot be set"),
    ("hydra.job_logging.handlers.console.class=os.abort", "cannot name a class"),
    ("hydra.job_logging.formatters.simple={(): os.abort}", "cannot name a class"),
    ("data.path=" + "y" * 5000, "data.path: is too long"),
]


@pytest.mark.parametrize(("word", "message"), REFUSED_AT_ONCE)
def test_it_is_refused_before_hydra_reads_it(word, message):
    began = time.process_time()
    with pytest.raises(UserError) as found:
        check_words([word])
    text = str(found.value)
    assert message in text and len(text) < 250 and text.isprintable()
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "word",
    [
        "depth=4,8",
        "~hydra.job.env_set",
        "+placement.parameters={a: 1}",
        "data.path='p/ümläut-データ.txt'",
        "sweep.rows=[{depth: 4,\n optimizer.lr: 1e-3}]",
        "hydra.run.dir=outputs/x",
        "hydra.sweep.dir=/data/${sweep.name}",
        "hydra.output_subdir=null",
        "hydra.verbose=[hydra,normlab]",
        "hydra.verbose=true",
        "hydra.searchpath=[pkg://normlab]",
        "hydra.job_logging.root.level=DEBUG",
        "seed=12345678901234567890",
        "data.path=" + "y" * 200 + "/" + "z" * 200,
        "tracker.tags=[_target_x]",
    ],
)
def test_what_is_well_formed_passes(word):
    check_words([word])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["norm={name: layernorm}"], "norm: an option is a name, not"),
        (["model=[1,2]"], "model: an option is a name, not [1, 2]"),
        (["train.compile=3"], "train.compile: must be true or false, got 3"),
        (["depth={a:{b:1}}"], "depth: must be a whole number, got {'a'"),
        (["model.embedding_scale=" + "-" * 3000 + "1"], "has 3001 characters; a law has at most 400"),
        (["depth=99999999999"], "depth: must be 10000 or less"),
    ],
)
def test_values_of_another_shape_are_refused_with_the_key(words, message):
    with pytest.raises(ConfigError) as found:
        compose(words)
    assert message in str(found.value) and len(str(found.value)) < 250


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ModelConfig(width=10**12), "model.width: must be 1000000 or less"),
        (lambda: ModelConfig(context=10**11), "model.context: must be 10000000 or less"),
        (lambda: TrainConfig(steps=10**26), "train.steps: must be 1000000000 or less"),
        (lambda: TrainConfig(batch_size=10**9), "train.batch_size: must be 1000000 or less"),
        (lambda: TrainConfig(eval_batches=10**9), "train.eval_batches: must be 1000000 or less"),
        (lambda: TrainConfig(threads=10**11), "train.threads: must be 4096 or less"),
        (lambda: TrainConfig(processes=10**6), "train.processes: must be 1024 or less"),
        (lambda: DataConfig(name="x", source="text", vocab_size=10**8), "data.vocab_size: must be 1000000"),
        (lambda: MarkovData(name="markov", source="markov", length=10**17), "data.length: must be 100000000"),
        (lambda: TextData(name="text", source="text", text_column=""), "data.text_column: is empty"),
    ],
)
def test_every_count_has_a_most(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_run_that_cannot_fit_is_told_the_largest_value_that_does():
    config = compose(["train.batch_size=1000000"])
    with pytest.raises(ConfigError) as found:
        check_memory(config, 8 * 2**30)
    assert found.value.key == "train.batch_size" and "8.0 GiB" in str(found.value)
    most = int(str(found.value).split("; ")[1].split(" ")[0])
    fits = compose([f"train.batch_size={most}"])
    check_memory(fits, 8 * 2**30)
    with pytest.raises(ConfigError):
        check_memory(compose([f"train.batch_size={most + 1}"]), 8 * 2**30)


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["model.width=1000000"], "model.width"),
        (["depth=10000", "model.width=4096"], "depth"),
        (["train.eval_batches=1000000", "train.batch_size=1024"], "train.eval_batches"),
        (["model.context=10000000", "train.batch_size=1024"], "model.context"),
    ],
)
def test_the_setting_that_is_furthest_above_its_default_is_named(words, key):
    with pytest.raises(ConfigError) as found:
        check_memory(compose(words), 8 * 2**30)
    assert found.value.key == key


def test_the_least_is_no_more_than_a_run_takes():
    """Weights and gradients of the default model, counted by hand; every run of the suite fits."""
    sizes = dict.fromkeys(("train.eval_batches", "train.batch_size", "model.context", "data.vocab_size"), 1)
    least = least_bytes(compose(), {**sizes, "depth": 12, "model.width": 64})
    weights = 4 * 2 * (12 * (4 * 64 * 64 + 2 * 64 * 256) + 2 * 64)
    assert weights <= least < weights * 1.1
    check_memory(compose(), machine_bytes())


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-m", "seed=range(0,3000000)"], "seed: makes more than 100,000 jobs"),
        (["-m", "sweep.zip=[depth,depth]", "depth=1,2"], "sweep.zip: names a key twice"),
        (["-m", "sweep.rows=[{hydra.run.dir: X}]"], "hydra.run.dir: is for the whole command"),
        (["-m", "hydra.sweep.dir=/proc/x", "seed=1,2"], "/proc/x cannot be made"),
        (["depth=${depth}"], "depth: Recursive interpolation"),
        (["-" + "q" * 3000], "there is no option -qqq"),
    ],
)
def test_the_command_says_so_in_one_line_and_writes_nothing(fake, capsys, argv, message):
    assert launch(argv) == REFUSED
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1 and len(err) < 300
    assert fake.ran == [] and not list(Path().iterdir())


@pytest.mark.parametrize("word", ["[=1", "depth={", "train.steps=\x1b[2J", "=7", "train.steps=" + "9" * 5000])
def test_a_broken_word_of_resume_is_refused(fake, capsys, tmp_path, word):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(as_plain(compose())))
    assert resume(tmp_path, [word]) == REFUSED
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and len(err) < 250 and "\x1b" not in err and fake.resumed == []


@pytest.mark.parametrize("name", ["../x", "a b/c", "a/b/c", "/etc", "a/..", ".hidden/x"])
def test_a_name_that_the_hub_cannot_have_asks_no_hub(name, tmp_path):
    with pytest.raises(ConfigError, match=r"data\.name: .* is not OWNER/NAME"):
        hub.read(HubData(name=name, source="hub"), tmp_path, None)


def test_a_quote_is_short_and_cannot_move_the_cursor():
    assert quoted("a\x1b[2Jb") == "a?[2Jb"
    assert len(quoted("x" * 200)) == 80 and quoted("x" * 80) == "x" * 80

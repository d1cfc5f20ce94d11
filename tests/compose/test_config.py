"""From words and files to a RunConfig: `compose`, `load_config`, `to_run_config`."""

import copy
import dataclasses
import re
import shlex

import pytest
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from omegaconf import OmegaConf

from normlab.catalogue import groups
from normlab.compose import messages
from normlab.compose.from_words import compose
from normlab.compose.saved_config import as_plain, load_config
from normlab.config import RunConfig, laws
from normlab.errors import ConfigError, RunDirectoryError

_OPTIONS = {group: groups.options(group) for group in groups.GROUPS}


@pytest.fixture(scope="module")
def default_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "config.yaml"
    path.write_text(yaml.safe_dump(as_plain(compose())))
    return path


def test_the_default_run_is_the_tables_rows():
    config = compose()
    assert as_plain(config) == groups.defaults()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.depth = 3


@pytest.mark.parametrize("number", range(max(map(len, _OPTIONS.values()))))
def test_every_option_becomes_its_row_and_reads_back(number, tmp_path):
    """The n-th option of every group at once: composing one by one takes long."""
    chosen = {group: options[number % len(options)] for group, options in _OPTIONS.items()}
    words = [f"{group}={option}" for group, option in chosen.items()]
    config = compose(words + (["data.name=a/b"] if chosen["data"] == "hub" else []))
    for group, option in chosen.items():
        part, row = getattr(config, group), groups.GROUPS[group].rows.get(option)
        if option == "hub":
            assert type(part) is type(row.config) and part.name == "a/b"
        elif row is not None:
            assert part == row.config and type(part) is type(row.config)
        else:
            assert dataclasses.asdict(part) == groups.values(group)[option]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(as_plain(config)))
    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize("recipe", [(r, o) for r in groups.RECIPES for o in groups.options(r)])
def test_every_preset_and_experiment_composes(recipe):
    assert isinstance(compose(["=".join(recipe)]), RunConfig)


def test_an_experiment_wins_over_a_preset_and_words_win_over_both(tmp_path):
    for group, rate in (("preset", 1.0), ("experiment", 2.0)):
        (tmp_path / group).mkdir()
        text = f"# @package _global_\noptimizer:\n  lr: {rate}\n  eps: {rate}\nwarmup: 7\n"
        (tmp_path / group / "x.yaml").write_text(text)
    config = compose(["preset=x", "experiment=x", "optimizer.eps=3"], tmp_path)
    assert (config.optimizer.lr, config.optimizer.eps, config.warmup) == (2.0, 3.0, 7)


def test_values_of_a_subclass_can_be_set():
    config = compose(["norm=batchnorm", "norm.momentum=0.3", "optimizer=sgd", "optimizer.nesterov=true"])
    assert (config.norm.momentum, config.optimizer.nesterov, config.optimizer.lr) == (0.3, True, 0.1)


def test_a_user_can_define_a_placement_and_a_norm_in_yaml(tmp_path):
    (tmp_path / "placement").mkdir()
    (tmp_path / "norm").mkdir()
    (tmp_path / "placement" / "mine.yaml").write_text(
        "name: mine\nnorm_out: true\nskip_scale:\n  value: '2'\n"
    )
    (tmp_path / "placement" / "more.yaml").write_text("defaults: [pre]\nname: more\nembedding_norm: true\n")
    (tmp_path / "norm" / "soft.yaml").write_text("defaults: [batchnorm]\neps: 0.1\n")
    mine = compose(["placement=mine", "norm=soft"], tmp_path)
    assert (mine.placement.norm_out, mine.placement.norm_in) == (True, False)
    assert mine.placement.skip_scale.value == "2"
    assert (mine.norm.name, mine.norm.eps, mine.norm.momentum) == ("batchnorm", 0.1, 0.1)
    more = compose(["placement=more"], tmp_path).placement
    assert dataclasses.asdict(more) == groups.values("placement")["pre"] | {
        "name": "more",
        "embedding_norm": True,
    }


_OWN = """
defaults: [pre]
name: own
parameters: {fraction: 0.25, ramp: 10}
branch_scale: {value: "min(step/ramp, 1)"}
exceptions:
  - where: layer <= floor(fraction*depth)
    set: {norm_in: false, norm_post: true}
  - sublayer: ffn
    set: {branch_scale: {value: 2}}
"""


def test_a_user_can_define_constants_schedules_and_exceptions_in_yaml(tmp_path):
    (tmp_path / "placement").mkdir()
    (tmp_path / "placement" / "own.yaml").write_text(_OWN)
    words = ["placement=own", "depth=8", "placement.parameters.fraction=0.5"]
    config = compose(words, tmp_path)
    at = [laws.variables(8, 64, layer) for layer in (4, 5)]
    records = [config.placement.sublayer_at(where, place) for where in at for place in (0, 1)]
    assert [record.norm_post for record in records] == [True, True, False, False]
    assert [record.branch_scale.value for record in records] == ["min(step/ramp, 1)", "2"] * 2
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(as_plain(config)))
    assert load_config(tmp_path / "config.yaml") == config
    for word, says in (
        ("placement.parameters.fraction=1.5", "placement.parameters.fraction: a fraction"),
        ("placement.exceptions=[{set: {norm_inn: true}}]", r"placement.exceptions\[0\].set: 'norm_inn'"),
    ):
        with pytest.raises(ConfigError, match=says):
            compose([*words, word], tmp_path)


def test_a_users_yaml_is_checked(tmp_path):
    (tmp_path / "placement").mkdir()
    (tmp_path / "placement" / "bad.yaml").write_text("name: bad\nnorm_outt: true\n")
    (tmp_path / "placement" / "nameless.yaml").write_text("norm_out: true\n")
    (tmp_path / "placement" / "torn.yaml").write_text("name: [\n")
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "bare.yaml").write_text("warmup: 3\n")
    (tmp_path / "placement" / "child.yaml").write_text("defaults: [pree]\nname: child\n")
    for words, message in (
        ("placement=child", r"in placement/child.yaml: placement=pree: there is no .* Did you mean 'pre'"),
        ("placement=bad", r"in placement/bad.yaml: placement.norm_outt: .* 'placement.norm_out'"),
        ("placement=nameless", r"placement: has no name"),
        ("placement=torn", r"torn.yaml, line 2: "),
        ("experiment=bare", r"must begin with the line '# @package _global_'"),
    ):
        with pytest.raises(ConfigError, match=message):
            compose([words], tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "exceptions: [{wher: layer < 2}]",
            "placement.exceptions[0].wher: there is .* Did you mean 'where'?",
        ),
        (
            "exceptions: [{set: {norm_in: true}}, {sets: {norm_in: true}}]",
            "placement.exceptions[1].sets: there is no such setting. Did you mean 'set'?",
        ),
        ("exceptions: {set: {norm_in: true}}", "placement.exceptions: must be a list: .*, got {'set': .*"),
        (
            "exceptions: [{set: [norm_in]}]",
            "placement.exceptions[0].set: must be a mapping, name: value, got .*",
        ),
        (
            "exceptions: [{sublayer: fnn, set: {norm_in: true}}]",
            "placement.exceptions[0].sublayer: 'fnn' is not one of attn, ffn, both. Did you mean 'ffn'?",
        ),
        (
            "exceptions: [{set: {norm_im: true}}]",
            "placement.exceptions[0].set: 'norm_im' is not one of .* Did you mean 'norm_in'.*",
        ),
        (
            "exceptions: [{where: laier > 1, set: {norm_in: true}}]",
            "placement.exceptions[0].where: 'laier > 1': unknown name .* Did you mean 'layer'.*",
        ),
        (
            "exceptions: [{sublayer: ffn, set: {softcap: 3}}]",
            "placement.exceptions[0].set.softcap: acts in attention alone; use sublayer: attn",
        ),
        (
            "branch_scale: {valeu: 2}",
            "placement.branch_scale.valeu: there .* Did you mean 'placement.branch_scale.value'?",
        ),
        ("branch_scale: 2", "placement.branch_scale: must be a mapping of some of value, learn, .*, got 2"),
        ("branch_scale: {value: [1]}", "placement.branch_scale.value: must be text, got [1]"),
        ("norm_in: perhaps", "placement.norm_in: must be true or false, got perhaps"),
        (
            "qk_norm: heads",
            "placement.qk_norm: 'heads' is not one of none, head, width. Did you mean 'head'?",
        ),
        ("gains: {ffn.outt: 0.5}", "placement.gains: 'ffn.outt' is not one of .* Did you mean 'ffn.out'.*"),
        ("branch_scale: {value: 1/dpeth}", "placement.branch_scale.value: .* Did you mean 'depth'.*"),
    ],
)
def test_a_fault_in_a_users_placement_is_told_with_its_file_its_path_and_what_is_nearest(
    text, message, tmp_path
):
    (tmp_path / "placement").mkdir()
    (tmp_path / "placement" / "own.yaml").write_text(f"name: own\n{text}\n")
    with pytest.raises(ConfigError) as error:
        compose(["placement=own"], tmp_path)
    expected = re.sub(r"\[(\d|norm_in)\]", r"\[\1\]", f"in placement/own.yaml: {message}".replace("?", r"\?"))
    assert re.fullmatch(expected, str(error.value)), str(error.value)


def test_a_fault_that_a_word_brings_is_not_laid_on_the_file(tmp_path):
    (tmp_path / "placement").mkdir()
    (tmp_path / "placement" / "own.yaml").write_text("name: own\nnorm_in: true\n")
    with pytest.raises(ConfigError, match=r"^placement\.gpas: .*use placement\.gpas=none"):
        compose(["placement=own", "placement.gpas=skip", "placement.weights=unit"], tmp_path)
    with pytest.raises(ConfigError, match=r"^optimizer\.lr: must be"):
        compose(["placement=own", "optimizer.lr=-1"], tmp_path)


def test_lists_and_mappings_on_the_command_line_are_taken():
    words = [
        "placement.exceptions=[{where: 'layer == 1', set: {norm_out: true}}]",
        "+placement.gains={ffn.out: 0.5}",
    ]
    placement = compose([*words, "placement.branch_scale={value: 2}"]).placement
    assert placement.exceptions[0].set == {"norm_out": True} and placement.gains == {"ffn.out": "0.5"}
    assert placement.branch_scale.value == "2"


_BAD = [
    ("train.checkpoint.every=0", "must be 1 or more, or null for no checkpoint by steps, got 0"),
    (
        "placement.exceptions=[{wher: '1'}]",
        "placement.exceptions[0].wher: there is no such setting. Did you mean",
    ),
    (
        "placement.exceptions={set: {norm_in: true}}",
        "placement.exceptions: must be a list: [..., ...], or a line",
    ),
    (
        "placement.branch_scale=2",
        "placement.branch_scale: is not one setting; there are placement.branch_scale",
    ),
    (
        "placement.branch_scale={lern: scalar}",
        "placement.branch_scale.lern: there is no such setting. Did you mean 'placement.branch_scale.learn'",
    ),
    (
        "placement.gains.ffn=0.5",
        "placement.gains.ffn: placement.gains has no entry 'ffn' here. '+placement.gains={NAME: VALUE}' adds",
    ),
    (
        "+placement.gains.ffn.out=0.5",
        "placement.gains.ffn: an entry with a dot in its name is added with '+placement.gains={NAME: VALUE}'",
    ),
    ("+placement.parameters.share=0.5", "placement.parameters.share: no law of this placement speaks of it."),
    ("norm.alpha_attn=0.1", "norm.alpha_attn: norm=layernorm has no such setting; norm=dyt or norm=derf"),
    ("sed=1", "sed: there is no such setting. Did you mean 'seed'?"),
    ("lr=1", "lr: there is no such setting. Did you mean 'optimizer.lr'?"),
    ("norm.epsilon=2", "norm.epsilon: there is no such setting. Did you mean 'norm.eps'?"),
    ("activation.beta=2", "activation.beta: activation=gelu has no such setting; activation=swish has"),
    ("norm=layre", "norm=layre: there is no norm 'layre'. Did you mean 'layernorm'? There are: "),
    ("experiment=none_such", "experiment=none_such: there is no experiment"),
    ("train.steps=1e3", "train.steps: must be a whole number, got 1e3"),
    ("depth=true", "depth: must be a whole number, got true"),
    ("optimizer.lr=fast", "optimizer.lr: must be a number, got fast"),
    ("optimizer.betas=1", "optimizer.betas: must be a list of numbers"),
    ("model.tie=perhaps", "model.tie: must be true or false, got perhaps"),
    ("train.clip=much", "train.clip: must be a number or null, got much"),
    ("train.threads=2.5", "train.threads: must be a whole number or auto, got 2.5"),
    ("model.ffn=3", "model.ffn: is not one setting; there are model.ffn.ratio"),
    ("placement=post,pre", "placement=post,pre: several values; add -m"),
    ("train.steps=a=b", "train.steps=a=b: cannot be read"),
    ("+extra=1", "extra: there is no such setting"),
    ("+norm.extra=1", "norm.extra: there is no such setting"),
    ("~seed", "seed: cannot be removed"),
    ("~norm", "norm: cannot be removed"),
    ("~norm.eps", "norm.eps: cannot be removed"),
    ("depth=${nothing}", "depth: refers to a setting that is not there"),
    ("data=hub", "data.name: has no value; give it with data.name=OWNER/NAME"),
    (
        "hydra/launcher=joblb",
        "hydra/launcher=joblb: there is no launcher 'joblb'. Did you mean 'joblib'? There are: basic, job",
    ),
    ("optimizer.lr=-1", "optimizer.lr: must be a finite number above 0, got -1"),
    ("warmup=301", "warmup: 301 is more than train.steps=300"),
    ("placement.skip_scale.value=dept", "placement.skip_scale.value: 'dept': unknown name 'dept'"),
]


def test_a_misspelt_constant_is_told_from_those_of_its_placement():
    with pytest.raises(ConfigError, match=r"has no entry 'fractoin' here. Did you mean '.*fraction'"):
        compose(["placement=mix_ln", "placement.parameters.fractoin=0.5"])


@pytest.mark.parametrize(("word", "message"), _BAD)
def test_bad_words_are_named_and_explained(word, message):
    with pytest.raises(ConfigError) as error:
        compose([word])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("number", range(max(map(len, groups.CHOICES.values()))))
def test_every_word_of_a_choice_is_taken(number, default_file):
    # What these do not go with is refused; a test of placements has that.
    words = [
        f"{key}={choices[number % len(choices)]}"
        for key, choices in groups.CHOICES.items()
        if key not in ("placement.reads", "placement.gpas", "placement.skip")
    ]
    plain = as_plain(load_config(default_file, [*words, "train.device=cpu"]))
    assert plain["tracker"]["mode"] == groups.CHOICES["tracker.mode"][number % 4]


def test_overrides_lie_over_a_file(default_file):
    config = load_config(default_file, ["train.steps=600", "optimizer.betas=[0.8,0.9]", "tracker.tags=[a]"])
    assert (config.train.steps, config.optimizer.betas, config.tracker.tags) == (600, [0.8, 0.9], ["a"])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("sed=1", "sed: there is no such setting. Did you mean 'seed'?"),
        ("train.steps=1e3", "train.steps: must be a whole number, got 1e3"),
        ("norm=rmsnorm", "norm: another option cannot be chosen"),
        ("train.steps", "train.steps: is not KEY=VALUE"),
        ("train.steps=[", "train.steps: 'train.steps=[' cannot be read"),
        ("warmup=301", "warmup: 301 is more than train.steps=300"),
    ],
)
def test_bad_overrides_of_a_file(word, message, default_file):
    with pytest.raises(ConfigError) as error:
        load_config(default_file, [word])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is not there"),
        ("norm: [", "cannot be read"),
        ("- 1", "is not the config of a run"),
        ("depth: 3", "it has no norm, placement"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_file_that_is_no_config(text, message, tmp_path):
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RunDirectoryError, match=message):
        load_config(path)


def test_a_file_with_a_stranger_or_a_wrong_value(tmp_path):
    path = tmp_path / "config.yaml"
    for change, message in (({"depht": 3}, "depht"), ({"depth": "deep"}, "depth: must be a whole number")):
        path.write_text(yaml.safe_dump(groups.defaults() | change))
        with pytest.raises(RunDirectoryError, match=message):
            load_config(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["preset=llama", "preset=gpt2"], r"preset: llama and gpt2 are both given.*-m preset=llama,gpt2"),
        (["model.heads=7"], r"model\.width: 64 is not divisible by model\.heads=7; 8 heads would do"),
        (["model.kv_heads=3"], r"model\.kv_heads: 3 does not divide model\.heads=4; 2 would"),
        (["placement=mix_ln", "placement.parameters.fraction=half"], r"fraction: must be a number, got half"),
        (["placement=ngpt", "norm=l2norm", "placement.gpas=stream"], r"use placement\.gpas=none"),
    ],
)
def test_a_refusal_says_what_would_do(words, message):
    with pytest.raises(ConfigError, match=message):
        compose(words)


def test_the_page_on_configs_has_placements_that_are_what_it_says(tmp_path):
    text = (groups.conf_dir() / "README.md").read_text()
    files = dict(re.findall(r"`mine/placement/(\w+)\.yaml`[^`]*```yaml\n(.*?)```", text, re.DOTALL))
    assert files.keys() == {"halved", "post_below"}
    (tmp_path / "placement").mkdir()
    for name, content in files.items():
        (tmp_path / "placement" / f"{name}.yaml").write_text(content)
    halved = compose(["placement=halved", "depth=12"], config_dir=tmp_path).placement
    assert halved.branch_scale.value == "(2*depth)**-0.5" and halved.gains == {"ffn.out": "0.5"}
    below = compose(["placement=post_below", "depth=4"], config_dir=tmp_path).placement
    posts = [
        [
            below.sublayer_at(laws.variables(4, 64, layer, place) | below.parameters, place).norm_post
            for place in (0, 1)
        ]
        for layer in (1, 2, 3, 4)
    ]
    assert posts == [[True, True], [False, False], [False, False], [False, False]]


def test_composing_leaves_the_store_of_options_as_it_was():
    """Hydra is kept from copying it each time."""
    store = ConfigStore.instance()
    assert copy.deepcopy(store) is store
    before = OmegaConf.to_yaml(store.load("norm/rmsnorm.yaml").node)
    assert compose(["norm=rmsnorm", "norm.eps=0.5"]).norm.eps == 0.5
    assert OmegaConf.to_yaml(store.load("norm/rmsnorm.yaml").node) == before
    assert compose(["norm=rmsnorm"]).norm.eps == 1e-5


@pytest.mark.parametrize("name", ["it's.txt", 'q"q.txt', "a\\'b", "(\\", "ü", "a=b", 'it\'s "q"'])
def test_the_hint_for_a_value_that_cannot_be_read_can_be_pasted(name):
    error = OverrideParseException(override=f"data.path={name}", message="")
    (word,) = shlex.split(messages.explain(error).rpartition("inside quotes, ")[2])
    assert OverridesParser.create().parse_override(word).value() == name

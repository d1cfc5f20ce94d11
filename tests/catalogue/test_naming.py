import copy
import dataclasses
import re
import shlex
from datetime import datetime

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from normlab.catalogue import groups, naming
from normlab.compose.from_words import compose
from normlab.errors import ConfigError


def config(**changes):
    """The default run with some settings changed, by dotted key with `__` for the dot."""
    plain = copy.deepcopy(groups.defaults())
    for key, value in changes.items():
        *path, last = key.split("__")
        node = plain
        for part in path:
            node = node[part]
        node[last] = value
    return plain


def option(group, name):
    return copy.deepcopy(groups.values(group)[name])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "default"),
        ({"warmup": 100}, "warmup-100"),
        ({"placement": option("placement", "post"), "warmup": 100}, "placement-post_warmup-100"),
        ({"optimizer__lr": 1e-3}, "optimizer.lr-0.001"),
        ({"optimizer": option("optimizer", "sgd")}, "optimizer-sgd"),
        ({"optimizer": option("optimizer", "sgd") | {"lr": 0.5}}, "optimizer-sgd_optimizer.lr-0.5"),
        ({"optimizer__betas": [0.9, 0.999]}, "optimizer.betas-0.9-0.999"),
        (
            {
                "model__width": 16,
                "seed": 3,
                "optimizer__betas": [0, 1],
                "optimizer__lr": 0.1,
                "fault__step": 2,
            },
            "optimizer.lr-0.1_optimizer.betas-0-1_seed-3_fault.step-2_model.width-16",
        ),
        (
            {
                "train__steps": 9,
                "model__width": 16,
                "init__gain": 2.0,
                "schedule": option("schedule", "cosine"),
            },
            "init.gain-2_schedule-cosine_model.width-16_train.steps-9",
        ),
        ({"model__tie": True, "train__clip": 1.0}, "model.tie-true_train.clip-1"),
        ({"fault__kind": "lr_jump", "fault__step": 7}, "fault.kind-lr_jump_fault.step-7"),
        ({"init__embedding_std": 0.02}, "init.embedding_std-0.02"),
        (
            {"train__threads": 1, "train__device": "cpu", "tracker__project": "x", "sweep__name": "y"},
            "default",
        ),
        (
            {"measure": option("measure", "full"), "train__checkpoint__every": 9, "train__eval_every": 7},
            "train.eval_every-7",
        ),
        ({"placement": option("placement", "pre") | {"name": "mine"}}, "placement-mine"),
        (
            {"data": option("data", "text") | {"path": "/a b/c*.txt"}},
            "data-text_data.path-a-b-c-.txt",
        ),
        ({"data": option("data", "hub") | {"name": "owner/name"}}, "data-owner-name"),
        ({"data": option("data", "wikitext-2")}, "data-wikitext-2"),
    ],
)
def test_slug_names_what_differs(changes, expected):
    assert naming.slug(config(**changes)) == expected


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["placement=post", "warmup=100", "optimizer.lr=0.003"],
        ["optimizer=sgd", "train.clip=1", "optimizer.weight_decay=0.01"],
        ["optimizer.betas=[0.9,0.95]", "init=normal", "init.std=0.1"],
        ["placement=pre", "placement.qk_norm=head", "fault.kind=nan_gradient", "fault.step=3"],
        ["data=markov", "norm=batchnorm", "norm.allow_leaky=true"],
        ["data=text", "data.path='my notes/it''s, so.txt'".replace("''", "\\'")],
        ["preset=gpt2"],
    ],
)
def test_words_make_the_config_anew(overrides):
    made = compose(overrides)
    again = compose(naming.words(dataclasses.asdict(made)))
    assert dataclasses.asdict(again) == dataclasses.asdict(made)


ODD = [
    "ümläut-データ.txt",
    "",
    " x ",
    "a\nb\tc",
    "-x",
    "~x",
    "~/x",
    "a=b,c",
    "it's",
    'q"q',
    "[x",
    "{x}",
    "(x",
    "#x %$@!?;&|<>`*",
    *(
        "true",
        "False",
        "NULL",
        "yes",
        "nan",
        "-Inf",
        "1e3",
        "1_000",
        "0x10",
        "7",
        "-3",
        ".5",
        "1.",
        "2026-11-20",
    ),
    *("a\\b", "C:\\x\\", "\\", "\\\\", "a\\'b", "a\\\\'b\\\\", "'", "\\'"),
    *("$x", "${y}", "x/${y}.txt", "a\\${b", "a\\\\${b}'\\", "${oc.env:HOME}"),
]


@pytest.mark.parametrize("value", ODD)
def test_words_of_an_odd_value_give_it_back_through_a_shell(value):
    made = config(data=option("data", "text") | {"path": value})
    *_, word = shlex.split(shlex.join(naming.words(made)))
    override = OverridesParser.create().parse_override(word)
    assert OmegaConf.create({"path": override.value()}).path == value


def test_words_of_odd_values_make_the_config_anew():
    odd = {"path": "a\\${b}'\\", "tokenizer": "ümläut-データ.json", "text_column": "1e3"}
    made = config(data=option("data", "text") | odd)
    assert dataclasses.asdict(compose(naming.words(made))) == made


def test_words_have_all_digits_of_a_number():
    rates = {"optimizer__lr": 1e-5, "optimizer__betas": [0.9, 1 / 3], "train__clip": 0.1 + 0.2}
    made = config(**rates, optimizer__weight_decay=1e-300)
    assert dataclasses.asdict(compose(naming.words(made))) == made


def own_placement(**changes):
    return option("placement", "deepnorm") | {"name": "mine ü"} | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"data": option("data", "hub") | {"name": "owner/name", "subset": "a b"}},
        {"data": option("data", "wikitext-2") | {"name": "owner/name"}},
        {"placement": own_placement()},
        {"placement": own_placement(gains={}, parameters={})},
        {
            "placement": own_placement(
                gains={"attn.out": "(mine * depth) ** -0.25", "head": "1"}, parameters={"mine": 1e-7}
            )
        },
        {"placement": option("placement", "hybridnorm") | {"name": "mine"}},
        {"data": option("data", "hub") | {"name": "Salesforce/wikitext", "split": "validation"}},
    ],
)
def test_words_need_no_option_that_only_the_user_has(changes):
    made = config(**changes)
    again = dataclasses.asdict(compose(shlex.split(shlex.join(naming.words(made)))))
    assert again == made
    assert naming.digest(again) == naming.digest(made)


def test_words_are_changed_by_key_and_by_group():
    words = ["placement=post", "placement.qk_norm=head", "warmup=5", "optimizer.lr=0.1"]
    assert naming.changed(words, ["warmup=100"]) == [*words[:2], words[3], "warmup=100"]
    assert naming.changed(words, ["placement=pre"]) == [*words[2:], "placement=pre"]
    taken_out = ["placement=pre", "+placement.gains={x:y}", "warmup=5"]
    assert naming.changed(taken_out, ["placement=post"]) == ["warmup=5", "placement=post"]
    assert naming.changed(words, ["placement.v_norm=head"]) == [*words, "placement.v_norm=head"]


def test_slug_ignores_the_order_of_keys():
    plain = config(warmup=5, depth=3, seed=2)
    assert naming.slug(dict(reversed(plain.items()))) == naming.slug(plain) == "depth-3_warmup-5_seed-2"


def test_slug_counts_what_does_not_fit():
    every = {f"divergence__spike__{key}": 9 for key in ("window", "z", "co_z", "co_steps", "rebaseline")}
    slug = naming.slug(config(depth=3, **every))
    assert len(slug) <= 80
    assert re.fullmatch(r"depth-3_divergence\.spike\.window-9_.*_and-\d-more", slug)


def test_slug_of_one_long_value_is_cut():
    data = option("data", "hub") | {"name": "owner/" + "x" * 200}
    assert len(naming.slug(config(data=data))) == 80


@pytest.mark.parametrize("path", ["../../etc", "a/b", "C:\\x", "-rf", "naïve\n", "$(x)", "..", " "])
def test_slug_is_safe_as_a_file_name(path):
    assert re.fullmatch(r"[A-Za-z0-9._-]+", naming.slug(config(data=option("data", "text") | {"path": path})))


def test_digest_is_of_the_job_alone():
    plain = config()
    assert re.fullmatch("[0-9a-f]{8}", naming.digest(plain))
    assert naming.digest(config(tracker__project="x", sweep__name="y")) == naming.digest(plain)
    beside = {"train__threads": 1, "train__device": "cpu", "train__checkpoint__every": 9}
    assert naming.digest(config(**beside, measure=option("measure", "full"))) == naming.digest(plain)
    assert naming.digest(dict(reversed(plain.items()))) == naming.digest(plain)
    changed = [config(seed=1), config(warmup=1), config(norm__eps=1e-6), config(train__clip=1.0)]
    assert len({naming.digest(each) for each in [plain, *changed]}) == 5


def test_timestamp_has_milliseconds_and_sorts():
    early, late = datetime(2026, 11, 20, 17, 26, 5, 9_999), datetime(2026, 11, 20, 17, 26, 5, 123_000)
    assert naming.timestamp(late) == "2026-11-20_17-26-05-123"
    assert naming.timestamp(early) == "2026-11-20_17-26-05-009" < naming.timestamp(late)


def test_swept_names_a_group_once():
    jobs = [config(placement=option("placement", name), warmup=w) for name in ("post", "pre") for w in (0, 9)]
    assert naming.swept(jobs) == ["placement", "warmup"]
    assert naming.swept([dict(reversed(job.items())) for job in jobs]) == ["placement", "warmup"]


def test_swept_settings_count_under_the_same_option():
    adamw = [config(optimizer__lr=rate) for rate in (1e-3, 1e-2)]
    assert naming.swept([*adamw, config(optimizer=option("optimizer", "sgd"))]) == [
        "optimizer",
        "optimizer.lr",
    ]
    assert naming.swept(adamw) == ["optimizer.lr"]
    assert naming.swept(adamw[:1]) == []


def test_swept_settings_of_what_is_no_group_count_by_themselves():
    jobs = [config(fault__kind=kind, fault__step=60) for kind in ("none", "nan_gradient")]
    assert naming.swept(jobs) == ["fault.kind"]
    assert naming.swept([*jobs, config()]) == ["fault.kind", "fault.step"]


def test_words_have_what_is_looked_at_and_the_machine_if_wanted():
    made = config(train__threads=1, measure=option("measure", "full"), tracker__mode="disabled", depth=4)
    assert naming.words(made) == ["depth=4"]
    assert sorted(naming.words(made, aside=True)) == ["depth=4", "measure=full", "train.threads=1"]


def test_knob_reads_a_group_as_its_option():
    plain = config()
    assert naming.knob(plain, "placement") == "pre"
    assert naming.knob(plain, "model.ffn.ratio") == 4.0
    assert naming.knob(plain, "optimizer.nothing") is None


@pytest.mark.parametrize("name", ["a/b", "..", "", ".hidden", "-m", "a\\b", "a b", "x" * 101, "a\n", "ä"])
def test_sweep_names_that_are_no_folder_are_refused(name):
    with pytest.raises(ConfigError, match=r"sweep\.name"):
        naming.check_sweep_name(name)


@pytest.mark.parametrize("name", [None, "depth-3", "2026.11", "A_b+c"])
def test_sweep_names_that_are_fine(name):
    naming.check_sweep_name(name)

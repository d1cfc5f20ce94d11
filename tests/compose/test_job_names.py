"""Jobs are called by what their sweep varies; names on file stay, whatever is added to the sweep."""

import json
import shlex

import pytest

from normlab.catalogue import naming
from normlab.compose.from_words import compose
from normlab.compose.job_names import FILE, JobNames, name_jobs, name_of, read_names, write_names
from normlab.compose.saved_config import as_plain


def plain(*words):
    return as_plain(compose(list(words)))


def named(configs, directory):
    found = name_jobs(configs, directory)
    return found, [found.names[naming.digest(config)] for config in configs]


@pytest.fixture(scope="module")
def configs():
    """By placement, warm-up and seed."""
    every = [(place, warmup, seed) for place in ("post", "pre") for warmup in (0, 100) for seed in (0, 2)]
    return {each: plain(*map("=".join, zip(KNOBS, map(str, each), strict=True))) for each in every}


KNOBS = ("placement", "warmup", "seed")


def test_a_name_tells_what_varies_and_the_seed_last(configs, tmp_path):
    assert named(list(configs.values())[:4], tmp_path)[1] == [
        "warmup0-s0",
        "warmup0-s2",
        "warmup100-s0",
        "warmup100-s2",
    ]
    assert named([configs["post", 0, 0], configs["pre", 0, 0]], tmp_path)[1] == ["post", "pre"]
    assert named([configs["post", 0, 0], configs["pre", 100, 2]], tmp_path)[1] == [
        "post-warmup0-s0",
        "pre-warmup100-s2",
    ]


@pytest.mark.parametrize(
    ("jobs", "names"),
    [
        (["optimizer.lr=0.001", "optimizer.lr=0.5", "optimizer.lr=0.00025"], ["lr1e-3", "lr0.5", "lr2.5e-4"]),
        (["norm=rmsnorm", "norm=layernorm"], ["rmsnorm", "layernorm"]),
        (["train.clip=null", "train.clip=1"], ["clip-null", "clip1"]),
        (
            ["model.causal=true", "model.causal=false data.objective=mlm"],
            ["causal-true-objective-clm", "causal-false-objective-mlm"],
        ),
        (
            ["divergence.spike.window=20 divergence.plateau.window=40", "seed=0"],
            ["spike.window20-plateau.window40", "spike.window64-plateau.window50"],
        ),
        (["data.tokenizer='a/b c.json'", "seed=0"], ["tokenizer-a-b-c.json", "tokenizer-byte"]),
        (["seed=3"], ["s3"]),
        (["seed=0"], ["run"]),
    ],
)
def test_a_value_is_written_short_and_safe(tmp_path, jobs, names):
    configs = [plain(*(shlex.split(words) if "'" not in words else [words])) for words in jobs]
    assert named(configs, tmp_path)[1] == names
    write_names(tmp_path, JobNames(keys=("seed",), names=dict.fromkeys("ab", names[0])))
    assert set(read_names(tmp_path).names.values()) == {names[0]}


def test_names_stay_when_a_sweep_is_enlarged(configs, tmp_path):
    first, _ = named([configs["post", 0, 0], configs["pre", 0, 0]], tmp_path)
    write_names(tmp_path, first)
    every, more = named([configs["post", 0, 0], configs["post", 0, 2], configs["pre", 0, 0]], tmp_path)
    assert more == ["post", "post-s2", "pre"] and every.keys == ("placement", "seed")
    write_names(tmp_path, every)
    # Alone it varies in nothing, and is called as in the sweep.
    assert named([configs["pre", 0, 2]], tmp_path)[1] == ["pre-s2"]
    assert name_of(str(tmp_path), configs["post", 0, 2]) == "post-s2"


def test_two_commands_at_once_keep_each_other_s_names(configs, tmp_path):
    one, _ = named([configs["post", 0, 0], configs["pre", 0, 0]], tmp_path)
    other, _ = named([configs["post", 0, 2], configs["post", 100, 2]], tmp_path)
    write_names(tmp_path, one)
    write_names(tmp_path, other)
    assert read_names(tmp_path).names == {**one.names, **other.names}
    assert read_names(tmp_path).keys == ("placement", "warmup")


def test_folders_of_earlier_versions_are_found_again(configs, tmp_path):
    old = tmp_path / f"placement-post_seed-2-{naming.digest(configs['post', 0, 2])}"
    old.mkdir()
    assert named([configs["post", 0, 2], configs["pre", 0, 2]], tmp_path)[1] == [old.name, "pre"]


def test_a_folder_that_is_there_is_no_other_job_s(configs, tmp_path):
    (tmp_path / "pre").mkdir()
    _, [post, pre] = named([configs["post", 0, 0], configs["pre", 0, 0]], tmp_path)
    assert post == "post" and pre == f"pre-{naming.digest(configs['pre', 0, 0])}"


def test_a_long_name_ends_in_the_digest(tmp_path):
    long = [plain(f"data.text_column={letter * 150}", "data=text", "data.path=x") for letter in "ab"]
    names = named(long, tmp_path)[1]
    assert all(
        len(name) <= 100 and name.endswith(naming.digest(each))
        for name, each in zip(names, long, strict=True)
    )


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"keys": 1, "names": []}', '{"keys": [], "names": {"a": 1}}', "x"]
)
def test_a_file_of_names_that_is_none_counts_as_none(configs, tmp_path, text):
    (tmp_path / FILE).write_text(text)
    assert read_names(tmp_path) == JobNames()
    config = configs["post", 0, 0]
    assert name_of(str(tmp_path), config) == f"placement-post-{naming.digest(config)}"


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "", ".hidden", "x" * 300, "a\x1b"])
def test_a_name_that_leads_elsewhere_is_none(tmp_path, name):
    (tmp_path / FILE).write_text(json.dumps({"keys": [], "names": {"0" * 8: name}}))
    assert read_names(tmp_path).names == {}

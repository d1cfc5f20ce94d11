import os
import subprocess
import sys

import pytest

from normlab.catalogue import groups
from normlab.cli.complete import complete, complete_thresholds, critical_words
from normlab.config import SpikeConfig
from normlab.divergence import DETECTORS


@pytest.mark.parametrize(
    ("words", "incomplete", "found"),
    [
        ("", "see", ["seed=", "seed=0"]),
        ("", "optimizer.l", ["optimizer.lr=", "optimizer.lr=0.0025"]),
        ("optimizer=sgd", "optimizer.l", ["optimizer.lr=", "optimizer.lr=0.1"]),
        ("", "norm=sc", ["norm=scalenorm"]),
        ("-m", "norm=layernorm,sc", ["norm=layernorm,scalenorm"]),
        ("-m", "placement=post,pos", ["placement=post,post_ln_init"]),
        ("", "train.precision=", ["train.precision=fp32", "train.precision=bf16", "train.precision=fp64"]),
        ("", "model.tie=", ["model.tie=true", "model.tie=false"]),
        ("", "depth=", ["depth=12"]),
        ("", "norm.m", []),
        ("norm=batchnorm", "norm.m", ["norm.momentum=", "norm.momentum=0.1"]),
        ("data=text", "data.pat", ["data.path=", "data.path=..."]),
        ("data=text", "data.path=", []),
        ("", "data.tok", ["data.tokenizer=", *(f"data.tokenizer={n}" for n in ("byte", "char", "bpe"))]),
        ("", "train.checkpoint.e", ["train.checkpoint.every=", "train.checkpoint.every=100"]),
        ("", "expe", ["experiment=", *(f"experiment={name}" for name in groups.options("experiment"))]),
        ("", "+tracker.pro", ["+tracker.project=", "+tracker.project=normlab"]),
        ("", "zzz", []),
        ("", "zzz=", []),
    ],
)
def test_what_a_word_may_become(words, incomplete, found):
    assert complete(words.split(), incomplete) == found


def test_an_empty_word_may_be_any_knob_or_group():
    found = complete([], "")
    assert {"norm=", "placement=", "activation=", "depth=", "warmup=", "seed=", "optimizer."} <= set(found)
    assert not any(word.startswith("hydra") for word in found)


def test_dots_are_completed_one_at_a_time():
    assert "train.checkpoint." in complete([], "train.")
    assert "train.checkpoint.every=" not in complete([], "train.")


def test_a_users_folder_adds_options(tmp_path):
    (tmp_path / "placement").mkdir()
    (tmp_path / "placement" / "mine.yaml").touch()
    for words in (["-cd", str(tmp_path)], [f"--config-dir={tmp_path}"], [f"-cd={tmp_path}"]):
        assert complete(words, "placement=min") == ["placement=mine"]


def test_hydras_own_settings_are_asked_of_hydra():
    assert complete([], "hydra/launcher=b") == ["hydra/launcher=basic"]
    assert {"hydra.sweep.dir=", "hydra.sweep.subdir="} <= set(complete([], "hydra.sweep."))


@pytest.fixture(scope="module")
def script():
    """What normlab tells bash to run."""
    environment = {**os.environ, "_NORMLAB_COMPLETE": "source_bash"}
    done = subprocess.run(
        [sys.executable, "-m", "normlab"], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def in_bash(script, folder, *words):
    """What bash offers for the last word; bash cuts words at `=`."""
    (folder / "normlab").write_text(f'#!/bin/sh\nexec {sys.executable} -m normlab "$@"\n')
    (folder / "normlab").chmod(0o755)
    quoted = " ".join(f"'{word}'" for word in ("normlab", *words))
    lines = [
        f"PATH={folder}:$PATH",
        script,
        f"COMP_WORDS=({quoted}); COMP_CWORD={len(words)}",
        "_normlab_completion normlab; printf '%s\\n' \"${COMPREPLY[@]}\"",
    ]
    done = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["tr"], ["train"]),
        (["list", "pla"], ["placements"]),
        (["train", "norm", "=", "sc"], ["scalenorm"]),
        (["train", "-m", "seed", "=", "1", "norm", "=", "layernorm,sc"], ["layernorm,scalenorm"]),
        (["train", "seed", "=", "1", "optimizer", "="], ["adamw", "adam", "sgd", "lion", "muon"]),
        (["train", "norm", "=", "batchnorm", "norm.m"], ["norm.momentum=", "norm.momentum=0.1"]),
        (["train", "--mul"], ["--multirun"]),
        (["describe", "norm", "=", "sc"], ["scalenorm"]),
        (["describe", "seed", "=", "1", "--against", "norm", "=", "sc"], ["scalenorm"]),
        (["describe", "seed", "=", "1", "--ag"], ["--against"]),
    ],
)
def test_bash_completes(script, tmp_path, words, found):
    assert in_bash(script, tmp_path, *words) == found


@pytest.mark.parametrize(
    ("incomplete", "found"),
    [
        ("divergence.spike.z", ["divergence.spike.z=", f"divergence.spike.z={SpikeConfig().z}"]),
        ("divergence.spike.z=", [f"divergence.spike.z={SpikeConfig().z}"]),
        ("divergence.fro", ["divergence.frozen.steps=", "divergence.frozen.steps=20"]),
        ("divergence.a", []),
        ("divergence.action=", []),
        ("optimizer.l", []),
        ("optimizer.lr=", []),
    ],
)
def test_a_replay_takes_thresholds_alone(incomplete, found):
    assert complete_thresholds([], incomplete) == found


def test_what_a_replay_takes_is_the_detectors_that_have_settings():
    for typed in ("", "di", "divergence."):
        assert set(complete_thresholds([], typed)) == {
            f"divergence.{name}." for name, row in DETECTORS.items() if row.config is not None
        }


def test_the_words_of_a_search_are_completed(monkeypatch):
    monkeypatch.delenv("COMP_WORDS", raising=False)
    assert critical_words("critical.l") == ["critical.lowest="]
    assert len(critical_words("crit")) == 4 and critical_words("placement=p") == []

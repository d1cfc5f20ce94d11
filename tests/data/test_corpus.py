import hashlib
import math
import os
import sysconfig
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from normlab.catalogue.datasets import DATASETS, TextData
from normlab.config import DataConfig
from normlab.data import Batches, Corpus, corpus, load_corpus
from normlab.errors import ConfigError


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def stdlib(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    monkeypatch.setenv("NORMLAB_CACHE", str(shared))
    return load_corpus(DATASETS["stdlib"].config, 64)


def test_the_default_text_is_the_standard_library(stdlib: Corpus, asked: list[str]) -> None:
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    texts = [path.read_bytes() for path in paths]
    train, validation = (bytes(side.tolist()).split(b"\0")[:-1] for side in (stdlib.train, stdlib.validation))
    assert Counter(train + validation) == Counter(text.replace(b"\r\n", b"\n") for text in texts if text)
    assert [text for text in texts if text in set(train)] == train
    assert 0.05 <= len(stdlib.validation) / len(stdlib.train) < 0.07
    assert stdlib.documents == len([text for text in texts if text])
    assert asked == []


def test_its_floors_by_a_plain_count(stdlib: Corpus) -> None:
    counts = Counter(stdlib.train.tolist())
    total = sum(counts.values())
    unigram = -sum(n / total * math.log(n / total) for n in counts.values())
    assert stdlib.floors.as_dict().keys() == {"uniform", "unigram", "bigram"}
    assert stdlib.floors.uniform == math.log(256)
    assert stdlib.floors.unigram == pytest.approx(unigram, abs=1e-10)
    assert 3.0 < unigram < 3.3
    assert 2.2 < stdlib.floors.bigram < 2.6


def test_a_second_start_neither_tokenizes_nor_reads_the_text(
    stdlib: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "_build", None)
    monkeypatch.setattr(corpus, "_key", None)
    again = load_corpus(DATASETS["stdlib"].config, 64)
    assert again.key == stdlib.key
    assert Batches(again, 0, 16, 64).order == Batches(stdlib, 0, 16, 64).order


def test_the_same_tokens_have_the_key_that_an_earlier_version_gave_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run that it was written down for can go on. The number is 2026-11's, of 8192 Markov symbols."""
    config = replace(DATASETS["markov"].config, length=8192)
    before = load_corpus(config, 8)
    monkeypatch.setattr(corpus, "CODE_VERSION", corpus.CODE_VERSION + 1)
    monkeypatch.setenv("NORMLAB_CACHE", f"{os.environ['NORMLAB_CACHE']}-of-the-next")
    assert load_corpus(config, 8).key == before.key == "4d6bd80f971066c94c64836115cfc222"


def test_validation_does_not_know_the_seed(stdlib: Corpus) -> None:
    one, other = (Batches(stdlib, seed, 16, 64) for seed in (0, 1))
    np.testing.assert_array_equal(one.validation(4), other.validation(4))
    assert one.order != other.order


@pytest.mark.parametrize("tokenizer", ["byte", "char", "bpe"])
@pytest.mark.parametrize("rule", ["document", "tail"])
def test_max_tokens_is_what_both_sides_have_together(
    tokenizer: str, rule: str, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORMLAB_CACHE", str(shared))
    config = replace(
        DATASETS["stdlib"].config, tokenizer=tokenizer, val_split=rule, max_tokens=20_001, vocab_size=300
    )
    corpus = load_corpus(config, 64)
    assert len(corpus.train) + len(corpus.validation) == 20_001
    assert 0.02 < len(corpus.validation) / 20_001 < 0.11


def test_the_key_is_of_the_tokens_and_their_meaning(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one text " * 20)
    (tmp_path / "b.txt").write_text("one text " * 20)
    (tmp_path / "c.txt").write_text("two text " * 20)
    config = TextData(name="text", source="text", path=str(tmp_path / "a.txt"))
    key = load_corpus(config, 4).key
    assert load_corpus(replace(config, path=str(tmp_path / "b.txt"), text_column="other"), 4).key == key
    assert load_corpus(replace(config, path=str(tmp_path / "c.txt")), 4).key != key
    assert load_corpus(replace(config, tokenizer="char"), 4).key != key
    assert load_corpus(replace(config, val_fraction=0.2), 4).key != key
    hashlib.sha256(bytes.fromhex(key))


def test_no_such_source() -> None:
    with pytest.raises(
        ConfigError, match=r"data\.source: 'stdlibs' is not one of stdlib, text, hub, markov\. Did you mean"
    ):
        load_corpus(DataConfig(name="x", source="stdlibs"), 4)

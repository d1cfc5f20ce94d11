import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from normlab.catalogue.datasets import TextData
from normlab.catalogue.tokenizers import TOKENIZERS
from normlab.config import DataConfig
from normlab.data import Corpus, load_corpus
from normlab.data import tokens as tokens_module
from normlab.data.cache import DataWarning
from normlab.errors import ConfigError

PROSE = "It was the best of times, it was the worst of times.\n\tÉtienne said: «日本 🙂»  \n\n"


def load(path: Path, tokenizer: str, **settings: object) -> Corpus:
    return load_corpus(
        TextData(name="text", source="text", path=str(path), tokenizer=tokenizer, **settings), 4
    )


@pytest.fixture
def one(tmp_path: Path) -> Path:
    path = tmp_path / "one.txt"
    path.write_text(PROSE * 40, "utf-8")
    return path


@pytest.fixture
def several(tmp_path: Path) -> Path:
    folder = tmp_path / "several"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number:02}.txt").write_text(f"{number}: {PROSE}" * (number + 1), "utf-8")
    return folder


def halves(text: str) -> tuple[str, str]:
    cut = len(text) - round(len(text) * 0.05)
    return text[:cut], text[cut:]


def test_bytes_are_those_of_utf8_and_a_zero_ends_the_document(one: Path) -> None:
    corpus = load(one, "byte")
    train, validation = halves(PROSE * 40)
    assert bytes(corpus.train.tolist()) == train.encode() + b"\0"
    assert bytes(corpus.validation.tolist()) == validation.encode() + b"\0"
    assert (corpus.vocab, corpus.train.dtype) == (256, np.uint16)


def test_characters_of_one_document_have_no_separator(one: Path) -> None:
    corpus = load(one, "char")
    alphabet = sorted(set(PROSE))
    train, _ = halves(PROSE * 40)
    assert corpus.vocab == len(alphabet)
    assert corpus.train.tolist() == [alphabet.index(character) for character in train]


def test_characters_that_only_validation_has_get_an_id(tmp_path: Path) -> None:
    path = tmp_path / "tail.txt"
    path.write_text("a" * 300 + "z" * 5, "utf-8")
    corpus = load(path, "char")
    assert (corpus.vocab, corpus.decode(corpus.validation)) == (2, "a" * 10 + "z" * 5)
    assert set(corpus.train.tolist()) == {0}


@pytest.mark.parametrize("tokenizer", ["byte", "char", "bpe"])
def test_documents_come_back_and_each_ends_once(several: Path, tokenizer: str) -> None:
    corpus = load(several, tokenizer)
    end = corpus.tokenizer.end
    assert end is not None
    texts = []
    for side in (corpus.train, corpus.validation):
        assert side[-1] == end
        texts += [corpus.decode(part) for part in np.split(side, np.flatnonzero(side == end) + 1)[:-1]]
    ended = "<|endoftext|>" if tokenizer == "bpe" else "\0"
    assert sorted(texts) == sorted(path.read_text("utf-8") + ended for path in several.iterdir())
    assert corpus.documents == 30


def test_a_long_text_is_encoded_in_pieces_without_a_trace(tmp_path: Path, one: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text(PROSE * 6000, "utf-8")
    for tokenizer in ("byte", "char"):
        corpus = load(path, tokenizer)
        assert corpus.decode(corpus.train).rstrip("\0") == halves(PROSE * 6000)[0]
        assert (corpus.train == 0).sum() == (
            1 if tokenizer == "byte" else (PROSE * 6000)[: len(corpus.train)].count("\t")
        )


def test_bpe_is_what_the_library_does_with_it(several: Path, cache: Path) -> None:
    corpus = load(several, "bpe", vocab_size=300)
    (folder,) = cache.iterdir()
    library = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert library.get_vocab_size() == corpus.vocab == 300
    text = corpus.decode(corpus.train[: np.argmax(corpus.train == corpus.tokenizer.end)])
    assert (
        library.encode(text).ids == corpus.train[: np.argmax(corpus.train == corpus.tokenizer.end)].tolist()
    )
    assert len(corpus.train) < len(load(several, "byte").train) / 1.5


def test_bpe_learns_from_the_training_split_alone(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    text = "ab " * 1000 + "qx" * 70
    path.write_text(text, "utf-8")
    corpus = load(path, "bpe", vocab_size=400)
    assert corpus.decode(corpus.validation[:-1]) == halves(text)[1]
    learned = [corpus.decode([index]) for index in range(257, corpus.vocab)]
    assert "ab" in "".join(learned)
    assert not any("q" in token for token in learned)


def test_bpe_is_the_same_in_every_process(several: Path, cache: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from normlab.data import load_corpus; from normlab.catalogue.datasets import TextData\n"
        "c = TextData(name='text', source='text', path=sys.argv[1], tokenizer='bpe', vocab_size=400)\n"
        "print(load_corpus(c, 4).key)"
    )
    environment = os.environ | {
        "NORMLAB_CACHE": str(tmp_path / "other"),
        "PYTHONHASHSEED": "77",
        "RAYON_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", script, str(several)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == load(several, "bpe", vocab_size=400).key


def test_a_tokenizer_of_ones_own(several: Path, cache: Path, tmp_path: Path) -> None:
    bpe = load(several, "bpe", vocab_size=300)
    (folder,) = cache.iterdir()
    own = tmp_path / "own.json"
    own.write_bytes((folder / "tokenizer.json").read_bytes())
    corpus = load(several, str(own))
    np.testing.assert_array_equal(corpus.train, bpe.train)
    assert corpus.key != bpe.key


def test_ids_beyond_16_bits(one: Path, tmp_path: Path) -> None:
    words = {word: 70_000 + place for place, word in enumerate(sorted(set((PROSE * 40).split())))} | {
        "<unk>": 3
    }
    library = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    library.pre_tokenizer = pytest.importorskip("tokenizers.pre_tokenizers").WhitespaceSplit()
    library.save(str(tmp_path / "words.json"))
    corpus = load(one, str(tmp_path / "words.json"))
    train, _ = halves(PROSE * 40)
    assert corpus.train.dtype == np.uint32
    assert corpus.vocab == 70_000 + len(words) - 1
    assert corpus.train.tolist() == [words[word] for word in train.split()]
    assert corpus.tokenizer.end is None


def test_every_row_of_the_table_names_a_class() -> None:
    assert all(hasattr(tokens_module, row.module) for row in TOKENIZERS.values())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "bite",
            r"data\.tokenizer: 'bite' is not one of byte, char, bpe, nor a file\. Did you mean 'byte' or",
        ),
        ("*.json", r"data\.tokenizer: '\*\.json' is not one of"),
        ("/nowhere/tokenizer.json", r"data\.tokenizer: '/nowhere/tokenizer\.json' is not one of"),
        (__file__, r"data\.tokenizer: .*test_tokens\.py is not a tokenizer\.json"),
    ],
)
def test_a_tokenizer_that_is_none(name: str, message: str, one: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load(one, name)


_NONE = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"))
_MODEL = {"type": "BPE", "vocab": {"a": 0, "b": 4294967295}, "merges": []}
_FILE = json.dumps({"version": "1.0", "added_tokens": [], **_NONE, "model": _MODEL})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_FILE, "has the id 4,294,967,295, .*; at most 4,194,304"),
        (_FILE.replace("[]", "[" * 5000 + "]" * 5000), "is not a tokenizer.json"),
        ("[" * 100_000, "is not a tokenizer.json"),
        ('{"version": "\\u001b[31m"}', r"is not a tokenizer.json .*: Unknown tokenizer version '\?\[31m'"),
        (None, "is larger than 128 MiB"),
    ],
)
def test_a_hostile_tokenizer_is_refused_in_one_line(
    text: str | None, message: str, one: Path, tmp_path: Path
) -> None:
    path = tmp_path / "tokenizer.json"
    with path.open("wb") as file:
        file.truncate((128 << 20) + 1) if text is None else file.write(text.encode())
    with pytest.raises(ConfigError, match=message) as refused:
        load(one, str(path))
    assert str(refused.value).isprintable() and len(str(refused.value)) < 600


def test_settings_that_a_tokenizer_does_not_use_do_not_part_its_cache() -> None:
    config = DataConfig(name="x", source="stdlib", vocab_size=500)
    assert tokens_module.ByteTokenizer.identity(config) == ["byte"]
    assert tokens_module.BPETokenizer.identity(config) == ["bpe", 500]


def saved(folder: Path, library: Tokenizer) -> str:
    library.save(str(folder / "own.json"))
    return str(folder / "own.json")


def own_bpe(dropout: float | None = None) -> Tokenizer:
    from tokenizers import pre_tokenizers, trainers

    library = Tokenizer(models.BPE(dropout=dropout))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    library.train_from_iterator([PROSE * 9], trainer)
    return library


def test_what_a_file_says_of_batches_of_sentences_is_not_heeded(one: Path, tmp_path: Path) -> None:
    plain = load(one, saved(tmp_path, own_bpe()))
    cutting = own_bpe()
    cutting.enable_truncation(8)
    cutting.enable_padding(length=4096)
    for library in (cutting, own_bpe(dropout=0.5)):
        corpus = load(one, saved(tmp_path, library))
        np.testing.assert_array_equal(corpus.train, plain.train)
        np.testing.assert_array_equal(corpus.validation, plain.validation)


@pytest.mark.parametrize("model", [models.WordLevel({"a": 0}), models.Unigram([("a", -1.0)])])
def test_a_text_that_a_tokenizer_cannot_write(model: models.Model, one: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^data\.tokenizer: the text has a word for which"):
        load(one, saved(tmp_path, Tokenizer(model)))


def test_what_a_tokenizer_leaves_out_is_told_each_time(one: Path, tmp_path: Path) -> None:
    one.write_text("ab x" * 100, "utf-8")
    file = saved(tmp_path, Tokenizer(models.BPE({"a": 0, "b": 1}, [])))
    for _ in "made", "cached":
        with pytest.warns(DataWarning, match=r"data\.tokenizer=\S+own\.json leaves out 33\.3% of \S+one"):
            assert len(load(one, file).train) == 190


def test_a_tokenizer_of_whole_words_leaves_only_spaces_out(one: Path, tmp_path: Path) -> None:
    library = Tokenizer(models.WordLevel({"<unk>": 0, "best": 1}, unk_token="<unk>"))
    library.pre_tokenizer = pytest.importorskip("tokenizers.pre_tokenizers").WhitespaceSplit()
    assert load(one, saved(tmp_path, library)).lost == 0


def test_a_home_folder_that_is_not_known(one: Path) -> None:
    with pytest.raises(ConfigError, match=r"^data\.tokenizer: ~nosuchuser/t\.json: it is not known"):
        load(one, "~nosuchuser/t.json")

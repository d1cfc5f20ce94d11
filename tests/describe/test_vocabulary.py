"""What a config says of its vocabulary is what its text gives."""

import pytest

from normlab.catalogue.tokenizers import TOKENIZERS
from normlab.data import load_corpus
from normlab.describe.vocabulary import SAYS, vocabulary
from normlab.errors import ConfigError


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 300)
    return str(path)


def test_every_tokenizer_says_something():
    assert SAYS.keys() == TOKENIZERS.keys()


def test_bytes_and_a_markov_chains_letters_are_certain(config_of, text):
    for config in (
        config_of({"data.path": text}, data="text").data,
        config_of({"data.length": 4096, "data.symbols": 5}, data="markov").data,
    ):
        said = vocabulary(config)
        assert (said.tokens, said.note) == (load_corpus(config, 8).vocab, "")


def test_characters_of_a_text_are_assumed_and_said_to_be(config_of, text):
    said = vocabulary(config_of({"data.path": text, "data.tokenizer": "char"}, data="text").data)
    assert said.tokens == 128 and "assumed" in said.note and "--vocab" in said.note


def test_a_bpe_vocabulary_is_at_most_what_the_config_says(config_of, text):
    config = config_of({"data.path": text, "data.tokenizer": "bpe", "data.vocab_size": 300}, data="text").data
    said = vocabulary(config)
    assert said.tokens == 300 >= load_corpus(config, 8).vocab and "fewer" in said.note


def test_a_tokenizers_file_is_read(config_of, text, tmp_path):
    config = config_of({"data.path": text, "data.tokenizer": "bpe", "data.vocab_size": 280}, data="text").data
    corpus = load_corpus(config, 8)
    corpus.tokenizer.save(tmp_path)
    path = str(tmp_path / "tokenizer.json")
    said = vocabulary(config_of({"data.path": text, "data.tokenizer": path}, data="text").data)
    assert (said.tokens, said.note) == (corpus.vocab, "")


def test_what_is_typed_wins(config_of):
    said = vocabulary(config_of({}).data, 50257)
    assert said.tokens == 50257 and "--vocab" in said.note


def test_a_tokenizer_that_is_not_there_is_refused(config_of):
    with pytest.raises(ConfigError, match=r"data\.tokenizer: 'bites' is not one of .* Did you mean 'byte'"):
        vocabulary(config_of({"data.tokenizer": "bites"}).data)

import math
from dataclasses import replace

import numpy as np
import pytest

from normlab.catalogue.datasets import MarkovData
from normlab.data import load_corpus, markov

CHAIN = MarkovData(name="markov", source="markov", symbols=6, length=200_000)


@pytest.mark.parametrize("concentration", [1e-9, 0.05, 0.3, 50.0])
def test_the_chain_is_one_and_its_shares_stay(concentration: float) -> None:
    config = replace(CHAIN, concentration=concentration)
    chain = markov.transitions(config)
    shares = markov.stationary(chain)
    np.testing.assert_allclose(chain.sum(axis=1), 1, atol=1e-12)
    assert (chain > 0).all()
    np.testing.assert_allclose(shares @ chain, shares, atol=1e-12)
    np.testing.assert_allclose(np.linalg.matrix_power(chain, 1 << 20)[0], shares, atol=1e-6)


def test_entropy_rate_written_out() -> None:
    chain, rate = markov.transitions(CHAIN), 0.0
    shares = np.linalg.matrix_power(chain, 10_000)[0]
    for i in range(6):
        for j in range(6):
            rate -= shares[i] * chain[i, j] * math.log(chain[i, j])
    assert markov.entropy_rate(CHAIN) == pytest.approx(rate, abs=1e-10)


def test_a_chain_of_two_has_a_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = 0.2, 0.3
    monkeypatch.setattr(markov, "transitions", lambda config: np.array([[1 - a, a], [b, 1 - b]]))

    def coin(p: float) -> float:
        return -p * math.log(p) - (1 - p) * math.log(1 - p)

    assert markov.entropy_rate(CHAIN) == pytest.approx((b * coin(a) + a * coin(b)) / (a + b), abs=1e-12)


@pytest.mark.parametrize("concentration", [0.1, 1.0])
def test_the_text_has_the_entropy_that_is_claimed(concentration: float) -> None:
    config = replace(CHAIN, concentration=concentration)
    corpus = load_corpus(config, 64)
    shares = markov.stationary(markov.transitions(config))
    assert corpus.floors.entropy_rate == markov.entropy_rate(config)
    assert corpus.floors.bigram == pytest.approx(markov.entropy_rate(config), abs=0.01)
    assert corpus.floors.unigram == pytest.approx(-(shares * np.log(shares)).sum(), abs=0.02)
    assert corpus.vocab == 6
    assert corpus.documents == 1
    assert len(corpus.train) + len(corpus.validation) == config.length


def test_the_text_follows_its_own_seed_and_row_borders_do_not_show() -> None:
    text = "".join(row["text"] for row in markov.rows(CHAIN))
    assert len(text) == CHAIN.length
    assert text == "".join(row["text"] for row in markov.rows(CHAIN))
    assert text != "".join(row["text"] for row in markov.rows(replace(CHAIN, chain_seed=1)))
    shorter = "".join(row["text"] for row in markov.rows(replace(CHAIN, length=markov.ROW + 10)))
    assert text[: len(shorter)] == shorter


def test_the_rate_is_not_claimed_for_other_tokens() -> None:
    small = replace(CHAIN, length=20_000)
    assert load_corpus(replace(small, tokenizer="byte"), 64).floors.entropy_rate is not None
    assert load_corpus(replace(small, tokenizer="bpe", vocab_size=300), 64).floors.entropy_rate is None

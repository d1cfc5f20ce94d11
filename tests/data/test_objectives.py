"""Masked tokens: what is hidden, how often, and that it is a function of the seed and the step."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from normlab.catalogue.datasets import DATASETS
from normlab.config import PAD, DataConfig, RunConfig
from normlab.data import Batches, Corpus, Floors, build_objective, load_corpus, split
from normlab.data.objectives import IGNORED, MaskedTokens, NextToken, Objective, Padded
from normlab.data.tokens import ByteTokenizer
from normlab.errors import ConfigError

VOCAB = 50
CORPUS = Corpus(
    train=(np.random.default_rng(0).geometric(0.1, 5000) % VOCAB).astype(np.uint16),
    validation=(np.random.default_rng(1).geometric(0.1, 1000) % VOCAB).astype(np.uint16),
    vocab=VOCAB + 1,
    floors=Floors(1.0, 1.0, None),
    key="key",
    documents=1,
    tokenizer=ByteTokenizer(),
    mask=VOCAB,
)


MARKOV: DataConfig = replace(DATASETS["markov"].config, length=16384)


def masked(seed: int = 0, batch_size: int = 4, context: int = 20, rate: float = 0.15) -> Batches:
    return Batches(CORPUS, seed, batch_size, context, MaskedTokens(rate, VOCAB))


def test_a_masked_batch_is_a_function_of_seed_and_step_alone() -> None:
    batches, other = masked(7), masked(7)
    forward = [batches.train(step) for step in range(10)]
    backward = [other.train(step) for step in reversed(range(10))][::-1]
    np.testing.assert_array_equal(forward, backward)
    assert forward[0].shape == (4, 2, 20) and forward[0].dtype == np.int64
    places = [split(batch)[1] != IGNORED for batch in (*forward[:2], masked(8).train(0))]
    assert not np.array_equal(places[0], places[1]) and not np.array_equal(places[0], places[2])


def test_the_masks_do_not_change_with_the_version_of_numpy() -> None:
    _, targets = split(masked(0, 2).train(3))
    assert [np.flatnonzero(row != IGNORED).tolist() for row in targets] == GOLDEN


GOLDEN = [[8, 15, 18], [2, 12, 13]]


def test_what_is_not_predicted_is_read_as_it_is_and_what_is_predicted_is_the_text() -> None:
    """The text is that of the windows that clm has, so both objectives see the same."""
    windows = Batches(CORPUS, 3, 4, 20).train(5)[:, :-1]
    inputs, targets = split(masked(3).train(5))
    chosen = targets != IGNORED
    np.testing.assert_array_equal(inputs[~chosen], windows[~chosen])
    np.testing.assert_array_equal(targets[chosen], windows[chosen])


@pytest.mark.parametrize(
    ("rate", "context", "count"), [(0.15, 20, 3), (0.15, 64, 10), (0.01, 20, 1), (1.0, 20, 20), (0.4, 20, 8)]
)
def test_each_sequence_has_its_share_of_targets_and_at_least_one(
    rate: float, context: int, count: int
) -> None:
    _, targets = split(masked(context=context, rate=rate).train(0))
    assert ((targets != IGNORED).sum(axis=1) == count).all()


def test_of_the_targets_80_percent_are_masked_10_random_10_kept_anywhere_in_the_sequence() -> None:
    """Within 4 deviations of the binomial; places and random tokens by chi-square at p = 0.001."""
    batches = masked(batch_size=500)
    inputs, targets = split(np.concatenate([batches.train(step) for step in range(20)]))
    chosen = targets != IGNORED
    count = chosen.sum()
    hidden = (inputs == VOCAB)[chosen].mean()
    kept = (inputs == targets)[chosen].mean()
    changed = chosen & (inputs != VOCAB) & (inputs != targets)
    same = 0.1 / VOCAB  # a random token that is the token itself
    for found, share in ((hidden, 0.8), (kept, 0.1 + same), (changed.sum() / count, 0.1 - same)):
        assert abs(found - share) < 4 * math.sqrt(share * (1 - share) / count)
    places = chosen.sum(axis=0)
    assert ((places - count / 20) ** 2 / (count / 20)).sum() < 43.8  # 19 degrees of freedom
    # Given the token, all others stand in for it alike.
    seen = Counter(inputs[changed & (targets == 5)].tolist())
    expected = sum(seen.values()) / (VOCAB - 1)
    assert 5 not in seen
    assert sum((seen[z] - expected) ** 2 / expected for z in range(VOCAB) if z != 5) < 85.4  # 48


def test_the_floor_without_context_is_the_entropy_that_real_batches_show() -> None:
    """H(x | z) of many batches by counting; what counting misses is (cells - rows) / 2N, about 0.01."""
    config = replace(MARKOV, objective="mlm")
    corpus = load_corpus(config, 20)
    batches = Batches(corpus, 0, 4000, 20, build_objective(config, corpus.mask))
    inputs, targets = split(np.concatenate([batches.train(step) for step in range(5)]))
    chosen = targets != IGNORED
    pairs = np.bincount(inputs[chosen] * corpus.vocab + targets[chosen], minlength=corpus.vocab**2)
    joint = pairs.reshape(corpus.vocab, corpus.vocab) / pairs.sum()
    read = joint.sum(axis=1, keepdims=True).repeat(corpus.vocab, axis=1)
    found = -(joint[joint > 0] * np.log(joint[joint > 0] / read[joint > 0])).sum()
    assert corpus.floors.unigram == pytest.approx(found, abs=0.02)


def test_the_mask_token_is_one_more_than_the_tokenizer_has() -> None:
    plain = load_corpus(MARKOV, 8)
    corpus = load_corpus(replace(MARKOV, objective="mlm"), 8)
    assert (plain.mask, corpus.mask, corpus.vocab) == (None, plain.vocab, plain.vocab + 1)
    assert corpus.key == plain.key and np.array_equal(corpus.train, plain.train)
    assert (
        corpus.decode([0, plain.vocab, plain.vocab, 1])
        == f"{plain.decode([0])}[MASK][MASK]{plain.decode([1])}"
    )


def test_validation_hides_the_same_for_every_seed() -> None:
    one, other = (masked(seed).validation(3) for seed in (0, 1))
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(split(one[0])[1] == IGNORED, split(one[1])[1] == IGNORED)


def test_the_hash_of_the_order_tells_objectives_apart() -> None:
    orders = [Batches(CORPUS, 0, 4, 20).order, masked().order, masked(rate=0.4).order]
    assert len(set(orders)) == 3 and masked().order == orders[1]


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.01, math.nan])
def test_a_mask_rate_that_hides_nothing_or_too_much_is_named(
    rate: float, config_of: Callable[..., RunConfig]
) -> None:
    with pytest.raises(ConfigError, match=r"data\.mask_rate: must be above 0 and up to 1"):
        config_of({"data.mask_rate": rate})


def test_an_objective_that_is_not_there_is_named(config_of: Callable[..., RunConfig]) -> None:
    with pytest.raises(ConfigError, match=r"data\.objective: 'mml' is not one of clm, mlm"):
        config_of({"data.objective": "mml"})


@pytest.mark.parametrize("objective", [NextToken(), MaskedTokens(0.4, VOCAB)], ids=["clm", "mlm"])
def test_padded_sequences_are_windows_cut_at_lengths_even_from_1_to_the_context(objective: Objective) -> None:
    batches, again = (Batches(CORPUS, 3, 500, 10, Padded(objective)) for _ in range(2))
    lengths = []
    for step in range(4):
        batch = batches.train(step)
        np.testing.assert_array_equal(batch, again.train(step))
        inputs, targets = split(batch)
        windows = Batches(CORPUS, 3, 500, 10).train(step)
        real = inputs != PAD
        np.testing.assert_array_equal(real, np.arange(10) < real.sum(axis=1, keepdims=True))
        counts = (targets != IGNORED).sum(axis=1)
        assert (targets[~real] == IGNORED).all()
        lengths.append(real.sum(axis=1))
        if isinstance(objective, NextToken):
            np.testing.assert_array_equal(inputs[real], windows[:, :-1][real])
            np.testing.assert_array_equal(targets[real], windows[:, 1:][real])
        else:
            np.testing.assert_array_equal(counts, np.maximum(1, np.rint(0.4 * lengths[-1])))
            np.testing.assert_array_equal(targets[targets >= 0], windows[:, :-1][targets >= 0])
    found = np.bincount(np.concatenate(lengths), minlength=11)[1:]
    assert len(found) == 10 and ((found - 200) ** 2 / 200).sum() < 27.9  # chi-square, 9 degrees, p = 0.001
    assert batches.order != Batches(CORPUS, 3, 500, 10, objective).order

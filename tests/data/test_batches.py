import statistics
import time
from dataclasses import replace

import numpy as np
import pytest

from normlab.data import Batches, Corpus, Floors
from normlab.data.tokens import ByteTokenizer

#: A text in which every token says where it stands.
CORPUS = Corpus(
    train=np.arange(5000, dtype=np.uint16),
    validation=np.arange(10_000, 11_000, dtype=np.uint16),
    vocab=11_000,
    floors=Floors(1.0, 1.0, 1.0),
    key="key",
    documents=1,
    tokenizer=ByteTokenizer(),
)


def test_a_batch_is_a_function_of_seed_and_step_alone() -> None:
    batches, other = Batches(CORPUS, 7, 4, 16), Batches(CORPUS, 7, 4, 16)
    forward = [batches.train(step) for step in range(10)]
    backward = [other.train(step) for step in reversed(range(10))][::-1]
    np.testing.assert_array_equal(forward, backward)
    assert not np.array_equal(forward[0], forward[1])
    assert not np.array_equal(forward[0], Batches(CORPUS, 8, 4, 16).train(0))


def test_these_numbers_do_not_change_with_the_version_of_numpy() -> None:
    first = [Batches(CORPUS, 0, 4, 16).train(step)[:, 0].tolist() for step in (0, 1)]
    large = Batches(CORPUS, 2**63 - 1, 3, 16).train(10**6)[:, 0].tolist()
    assert (first, large) == GOLDEN


GOLDEN = ([[3174, 1344, 204, 82], [4434, 2776, 3991, 4767]], [4983, 963, 3740])


def test_windows_are_of_the_training_text_and_reach_all_of_it() -> None:
    batches = Batches(replace(CORPUS, train=CORPUS.train[:20]), 0, 8, 16)
    seen = np.concatenate([batches.train(step) for step in range(20)])
    assert seen.shape == (160, 17)
    assert seen.dtype == np.int64
    np.testing.assert_array_equal(seen, seen[:, :1] + np.arange(17))
    assert set(seen[:, 0].tolist()) == {0, 1, 2, 3}


def test_offsets_are_even_over_the_text() -> None:
    starts = np.concatenate([Batches(CORPUS, 3, 64, 16).train(step)[:, 0] for step in range(400)])
    counts = np.histogram(starts, bins=10, range=(0, 5000 - 16))[0]
    expected = len(starts) / 10
    assert ((counts - expected) ** 2 / expected).sum() < 27.9  # chi-square, 9 degrees of freedom, p = 0.001


def test_a_text_of_one_window() -> None:
    batches = Batches(replace(CORPUS, train=CORPUS.train[:17], validation=CORPUS.validation[:17]), 0, 4, 16)
    np.testing.assert_array_equal(batches.train(5), np.tile(np.arange(17), (4, 1)))
    assert [batch[0, 0] for batch in batches.validation(2)] == [10_000, 10_000]


def test_validation_is_fixed_and_spread_from_start_to_end() -> None:
    one, other = (Batches(CORPUS, seed, 5, 16).validation(3) for seed in (0, 1))
    np.testing.assert_array_equal(one, other)
    windows = np.concatenate(one)
    assert windows.shape == (15, 17)
    np.testing.assert_array_equal(windows, windows[:, :1] + np.arange(17))
    assert (windows[0, 0], windows[-1, -1]) == (10_000, 10_999)
    steps = np.diff(windows[:, 0])
    assert steps.max() - steps.min() <= 1


@pytest.mark.parametrize(
    "changed",
    [
        Batches(replace(CORPUS, key="other"), 0, 4, 16),
        Batches(CORPUS, 1, 4, 16),
        Batches(CORPUS, 0, 5, 16),
        Batches(CORPUS, 0, 4, 15),
        Batches(replace(CORPUS, train=CORPUS.train[:-1]), 0, 4, 16),
    ],
    ids=["corpus", "seed", "batch size", "context", "length"],
)
def test_the_hash_of_the_order_tells_batches_apart(changed: Batches) -> None:
    assert Batches(CORPUS, 0, 4, 16).order == Batches(CORPUS, 0, 4, 16).order != changed.order


def test_a_batch_costs_little() -> None:
    corpus = replace(CORPUS, train=np.zeros(5_000_000, np.uint16))
    batches, times = Batches(corpus, 0, 16, 64), []
    for step in range(300):
        start = time.perf_counter()
        batches.train(step)
        times.append(time.perf_counter() - start)
    assert statistics.median(times) < 0.2e-3

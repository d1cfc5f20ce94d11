import math
import tracemalloc
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from normlab.data import floors
from normlab.data.floors import Floors, masked, measure


def entropy(counts: Counter[object]) -> float:
    total = sum(counts.values())
    return -sum(n / total * math.log(n / total) for n in counts.values())


def conditional(tokens: list[int]) -> float:
    """H(y | x) as a mean over the contexts x, each weighted by how often it comes."""
    following: dict[int, Counter[object]] = {}
    for first, second in pairwise(tokens):
        following.setdefault(first, Counter())[second] += 1
    pairs = len(tokens) - 1
    return sum(sum(counts.values()) / pairs * entropy(counts) for counts in following.values())


@pytest.mark.parametrize("dense", [1, 1 << 22], ids=["sparse", "dense"])
@pytest.mark.parametrize("chunk", [7, 1 << 22])
def test_a_brute_force_count_agrees(dense: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floors, "DENSE", dense)
    monkeypatch.setattr(floors, "CHUNK", chunk)
    tokens = (np.random.default_rng(0).geometric(0.2, 1500) % 30).astype(np.uint16)
    found = measure(tokens, 300)
    assert found.uniform == math.log(300)
    assert found.unigram == pytest.approx(entropy(Counter(tokens.tolist())), abs=1e-12)
    assert found.bigram == pytest.approx(conditional(tokens.tolist()), abs=1e-12)


def test_texts_whose_entropy_is_known() -> None:
    assert measure(np.zeros(100, np.uint16), 4) == Floors(math.log(4), 0.0, 0.0)
    cycle = np.tile(np.arange(8, dtype=np.uint16), 50)
    assert measure(cycle, 8).unigram == pytest.approx(math.log(8), abs=1e-12)
    assert measure(cycle, 8).bigram == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("length", [0, 1])
def test_no_tokens_to_count(length: int) -> None:
    assert measure(np.zeros(length, np.uint16), 4) == Floors(math.log(4), 0.0, 0.0)


def test_a_large_vocabulary_takes_no_square_table() -> None:
    tokens = np.random.default_rng(0).integers(0, 100_000, 20_000).astype(np.uint32)
    tracemalloc.start()
    found = measure(tokens, 100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.bigram == pytest.approx(conditional(tokens.tolist()), abs=1e-12)
    assert peak < 20e6


def test_the_floors_of_masked_tokens_are_those_of_the_table_of_what_is_read_and_what_is_hidden() -> None:
    """unigram is H(x | z), with z what is read: the mask token 8 times of 10, else x or any token."""
    tokens = (np.random.default_rng(0).geometric(0.2, 1500) % 12).astype(np.uint16)
    counts = Counter(tokens.tolist())
    joint: dict[tuple[int, int], float] = {}
    for x in range(16):
        share = counts[x] / len(tokens)
        for z, weight in [(16, 0.8), (x, 0.1), *((z, 0.1 / 16) for z in range(16))]:
            joint[x, z] = joint.get((x, z), 0.0) + share * weight
    read = {z: sum(share for (_, other), share in joint.items() if other == z) for z in range(17)}
    expected = -sum(share * math.log(share / read[z]) for (_, z), share in joint.items() if share)
    found = masked(measure(tokens, 16, 0.5), tokens, 16)
    assert found.as_dict() == {"uniform": math.log(17), "unigram": pytest.approx(expected, abs=1e-12)}
    assert found.unigram < measure(tokens, 16).unigram


def test_the_record_names_what_is_known() -> None:
    assert Floors(3.0, 2.0, 1.0).as_dict() == {"uniform": 3.0, "unigram": 2.0, "bigram": 1.0}
    assert Floors(3.0, 2.0, 1.0, 0.5).as_dict()["entropy_rate"] == 0.5

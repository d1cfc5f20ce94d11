"""Letters from a Markov chain: a text of which it is known exactly how well it can be predicted."""

from bisect import bisect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from normlab.catalogue.datasets import MarkovData
from normlab.data.documents import Documents, Rows
from normlab.data.hf import library

Matrix = npt.NDArray[np.float64]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-"
#: Share of every row that is spread evenly, so that each letter can follow each: the chain forgets its start.
EVEN = 1e-3
#: Letters a row of the dataset.
ROW = 1 << 14


def transitions(config: MarkovData) -> Matrix:
    """P [symbols, symbols], P_ij the chance that j follows i: each row from a symmetric Dirichlet."""
    generator = np.random.default_rng([config.chain_seed, 0])
    rows = generator.dirichlet(np.full(config.symbols, config.concentration), config.symbols)
    # A very small concentration can underflow to a row of NaN; its limit is one letter for certain.
    lost = np.isnan(rows).any(axis=1)
    rows[lost] = np.eye(config.symbols)[generator.integers(config.symbols, size=int(lost.sum()))]
    return (1 - EVEN) * rows + EVEN / config.symbols


def stationary(chain: Matrix) -> npt.NDArray[np.float64]:
    """pi [symbols] with pi P = pi and sum 1: the share of each letter in the long run."""
    symbols = len(chain)
    equations = np.vstack([chain.T - np.eye(symbols), np.ones(symbols)])
    solution = np.linalg.lstsq(equations, np.eye(symbols + 1)[-1], rcond=None)[0]
    return np.asarray(solution / solution.sum())


def entropy_rate(config: MarkovData) -> float:
    """H = -sum_i pi_i sum_j P_ij ln P_ij, nats a letter (Shannon 1948)."""
    chain = transitions(config)
    return float(-(stationary(chain) @ (chain * np.log(chain)).sum(axis=1)))


def rows(config: MarkovData) -> Iterator[dict[str, str]]:
    """One running text of `config.length` letters, ROW a row; the first is drawn from the long-run shares."""
    chain = transitions(config)
    steps = [row.tolist() for row in np.cumsum(chain, axis=1)[:, :-1]]
    generator = np.random.default_rng([config.chain_seed, 1])
    state = bisect(np.cumsum(stationary(chain))[:-1].tolist(), generator.random())
    letters = [LETTERS[state]]
    for start in range(0, config.length, ROW):
        size = min(ROW, config.length - start)
        for chance in generator.random(size - len(letters)).tolist():
            state = bisect(steps[state], chance)
            letters.append(LETTERS[state])
        yield {"text": "".join(letters)}
        letters = []


def read(config: MarkovData, folder: Path) -> Documents:
    """The chain's text; `datasets` keeps it under `folder`."""
    with library(local=True) as datasets:
        dataset: Any = datasets.Dataset.from_generator(
            rows, gen_kwargs={"config": config}, cache_dir=str(folder / "hf")
        )
    return Documents(Rows(dataset, "text"), joined=True)

"""How often verdicts of `normlab compare` are wrong: `python scripts/verdict_simulation.py [--trials 4000]`.

Losses with a standard deviation of 0.03 nats between runs, over seeds in pairs; some runs diverge, by chance
or those that would have had the worst losses. It asks the code of `compare`, one comparison at a time:

- coverage: how often the printed interval of the mean difference holds the true one;
- errors: how often a loss is called lower or higher, or a rate different, that is not;
- power: how often a loss that is 0.1 nats higher is called so.
"""

import argparse
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import special

from normlab import statistics
from normlab.compare.verdict import PairEvidence, divergence, verdict

#: Standard deviation of a run's loss, and the margin of parity.
DEVIATION, MARGIN = 0.03, 0.02
EFFECT = 0.1
#: Differences with mean 0 and how their runs were drawn: Student's interval is made for the first.
DIFFERENCES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda rng, n: rng.normal(0, 1, n),
    "heavy tails (t, 3 degrees)": lambda rng, n: rng.standard_t(3, n),
    "skewed (exponential)": lambda rng, n: rng.exponential(1, n) - 1,
    "very skewed (lognormal)": lambda rng, n: np.exp(rng.normal(0, 1, n)) - np.exp(0.5),
}
SEEDS = (3, 4, 5, 7, 10)
RATES = (0.0, 0.1, 0.2, 0.3)
#: Which runs diverge.
CHANCE, WORST = "any", "worst"


def coverage(name: str, n: int, trials: int) -> float:
    """The share of trials in which the interval holds the mean, 0."""
    rng, hits = np.random.default_rng(n), 0
    for _ in range(trials):
        found = statistics.difference(DIFFERENCES[name](rng, n), np.zeros(n), MARGIN)
        assert found is not None and found.mean.low is not None and found.mean.high is not None
        hits += found.mean.low <= 0 <= found.mean.high
    return hits / trials


def words(n: int, rates: tuple[float, float], which: str, effect: float, trials: int) -> list[str]:
    """The verdicts on a variant whose loss is higher by `effect`; the two diverge at these rates."""
    rng = np.random.default_rng(n)
    return [_word(rng, n, rates, which, effect) for _ in range(trials)]


def _word(rng: np.random.Generator, n: int, rates: tuple[float, float], which: str, effect: float) -> str:
    noise = rng.normal(0, 1, (2, n))
    fate = noise if which == WORST else rng.normal(0, 1, (2, n))
    trained = fate < -special.ndtri(np.array(rates))[:, None]
    this, that = DEVIATION * noise + np.array([[effect], [0.0]])
    both = trained.all(axis=0)
    found = statistics.difference(this[both], that[both], MARGIN)
    fates = divergence([(bool(ours), bool(theirs)) for ours, theirs in trained.T])
    return verdict(
        # Of one comparison Holm's correction is none.
        PairEvidence(
            divergence=fates,
            difference=found,
            p_rate=fates.p if fates.testable else None,
            p=found.p if found else None,
            p_parity=found.p_parity if found else None,
        )
    )


def says(word: str, *sides: str) -> bool:
    """Whether a verdict calls the loss one of these, or that a rate differs."""
    return any(part.startswith(sides) for part in word.split("; "))


def errors(n: int, rates: tuple[float, float], which: str, trials: int) -> float:
    """The share of verdicts that find a difference without one; a rate that differs is not found in error."""
    wrong = ("lower", "higher", "diverges") if rates[0] == rates[1] else ("lower", "higher")
    return sum(says(word, *wrong) for word in words(n, rates, which, 0.0, trials)) / trials


def power(n: int, rates: tuple[float, float], trials: int) -> float:
    """The share of verdicts that call a loss higher which is, by `EFFECT`."""
    return sum(says(word, "higher") for word in words(n, rates, CHANCE, EFFECT, trials)) / trials


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=4000, help="simulated comparisons for each figure")
    trials, console = parser.parse_args().trials, Console()
    table = Table(
        "differences", *map(str, SEEDS), title="share of 95 % intervals that hold the mean, by seeds"
    )
    for name in DIFFERENCES:
        table.add_row(name, *(f"{coverage(name, n, trials):.3f}" for n in SEEDS))
    console.print(table)
    both = [(rate, rate) for rate in RATES]
    one = [(rate, 0.0) for rate in RATES[1:]]
    head = [f"{ours:g}, {theirs:g}" for ours, theirs in (*both, *one)]
    table = Table(
        "diverge", "seeds", *head, title="verdicts without a difference, by the rates of divergence"
    )
    for which in (CHANCE, WORST):
        for n in (3, 5, 7, 10):
            table.add_row(which, str(n), *(f"{errors(n, each, which, trials):.3f}" for each in (*both, *one)))
    console.print(table)
    table = Table("seeds", *head, title=f"a loss {EFFECT:g} nats higher is found, by the rates of divergence")
    for n in (5, 7, 10):
        table.add_row(str(n), *(f"{power(n, each, trials):.2f}" for each in (*both, *one)))
    console.print(table)


if __name__ == "__main__":
    main()

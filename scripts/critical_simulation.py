"""How well a search for a critical learning rate finds it: python scripts/critical_simulation.py

Searches are simulated from end to end, with the search and the fit of `normlab sweep critical-lr`: each seed
has a critical rate of its own, whose logarithm is normal about the true one with a standard deviation of
`between` octaves, and a run trains if it lies below that and logistic noise of a width of `within` octaves.
Slopes are of three depths, 4, 8 and 16. Takes about three minutes.
"""

import argparse
import math
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from normlab.compare.border import Border, fit_border, slope_of_borders
from normlab.sweep.bisection import CriticalConfig, Variant, next_rate

#: Between seeds and within one, in octaves.
NOISE = ((0.0, 0.0), (0.0, 0.3), (0.3, 0.0), (0.3, 0.2), (0.6, 0.0), (1.0, 0.0))
SEEDS = (1, 2, 3, 5)
DEPTHS = (4.0, 8.0, 16.0)


def search(rng: np.random.Generator, true: float, between: float, within: float, seeds: int) -> Variant:
    """A search for `true`, with the default grid."""
    grid = CriticalConfig().grid()
    own = math.log2(true) + between * rng.normal(size=seeds)
    found = Variant(knobs={})
    while (rate := next_rate(grid, found.shares, 1)) is not None:
        trains = own + within * rng.logistic(size=seeds) > math.log2(rate)
        found.outcomes[rate] = {seed: "stable" if yes else "stuck" for seed, yes in enumerate(trains)}
    return found


def holds(low: float | None, value: float, high: float | None) -> bool:
    """Whether an interval, of which an end may be open, holds the value."""
    return (low is None or low <= value) and (high is None or value <= high)


def octaves(border: Border) -> float:
    """The width of the interval."""
    return math.log2(border.high / border.low) if border.low and border.high else math.inf


def rate_row(rng: np.random.Generator, noise: tuple[float, float], seeds: int, count: int) -> list[str]:
    """Searches for one rate: off by over half an octave, coverage, width of the interval, rates tried."""
    off, held, widths, tried = [], [], [], []
    for _ in range(count):
        true = math.exp(rng.uniform(math.log(1e-3), math.log(0.2)))
        variant = search(rng, true, *noise, seeds)
        border = fit_border(variant.outcomes)
        off.append(border.value is None or abs(math.log2(border.value / true)) > 0.5)
        held.append(holds(border.low, true, border.high))
        widths.append(octaves(border))
        tried.append(len(variant.outcomes))
    return [
        f"{np.mean(off):.2f}",
        f"{np.mean(held):.2f}",
        f"{np.median(widths):.1f}",
        f"{np.mean(tried):.1f}",
    ]


def slope_row(rng: np.random.Generator, noise: tuple[float, float], seeds: int, count: int) -> list[str]:
    """Searches at three depths: coverage and width of the slope's interval."""
    held, widths = [], []
    for _ in range(count):
        power, scale = rng.uniform(-1.5, 0.0), rng.uniform(0.02, 0.2)
        rates = [scale * (depth / 4) ** power for depth in DEPTHS]
        slope = slope_of_borders(
            DEPTHS, [fit_border(search(rng, rate, *noise, seeds).outcomes) for rate in rates]
        )
        if slope is not None:
            held.append(holds(slope.low, power, slope.high))
            closed = slope.low is not None and slope.high is not None
            widths.append(slope.high - slope.low if closed else math.inf)  # type: ignore[operator]
    return [f"{np.mean(held):.2f}", f"{np.median(widths):.1f}"]


def table(title: str, columns: list[str], row: Callable[[tuple[float, float], int], list[str]]) -> Table:
    """A table of `row` over the noises and numbers of seeds."""
    found = Table("seeds", "between", "within", *columns, title=title)
    for seeds in SEEDS:
        for noise in NOISE:
            found.add_row(str(seeds), *(f"{part:g}" for part in noise), *row(noise, seeds))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="searches a row")
    count = parser.parse_args().count
    rng, console = np.random.default_rng(0), Console()
    columns = ["over half an octave off", "interval holds it", "octaves wide", "rates tried"]
    console.print(table("Critical rate", columns, lambda noise, seeds: rate_row(rng, noise, seeds, count)))
    columns = ["interval holds it", "wide"]
    console.print(table("Slope", columns, lambda noise, seeds: slope_row(rng, noise, seeds, count // 2)))


if __name__ == "__main__":
    main()

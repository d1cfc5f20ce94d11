"""What the detectors say of made-up loss curves whose truth is known.

    python scripts/detector_curves.py [SEEDS]

Losses are in nats; the floors are ln V 5.545, unigram 3.2, bigram 2.42; noise is normal with a standard
deviation of 0.12 a step unless said; gradient norms are healthy. Six seeds take about half a minute. The
cases are a table here, and `tests/scripts/test_detector_curves.py` asks each of them.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from rich.console import Console
from rich.table import Table

from normlab.catalogue.optimizers import OPTIMIZERS
from normlab.config import DivergenceConfig
from normlab.divergence import Event, RunFacts, Watch

FLOORS = {"uniform": 5.545, "unigram": 3.2, "bigram": 2.42}
#: Steps at which a jump of one step is tried, and how large it may be.
JUMP_STEPS = (1, 5, 10, 16, 20, 30, 45, 60, 80, 100, 200, 600)
JUMPS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0)
#: Noise of batches: one value a step, of scale 1.
NOISES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda rng, steps: rng.normal(0, 1, steps),
    "gamma": lambda rng, steps: (rng.gamma(4, 1, steps) - 4) / 2,
    "t(3)": lambda rng, steps: rng.standard_t(3, steps),
    "t(2)": lambda rng, steps: rng.standard_t(2, steps),
    "lognormal": lambda rng, steps: rng.lognormal(0, 1, steps) - np.exp(0.5),
}


def falling(steps: int, end: float = 2.2, pace: float = 30.0) -> np.ndarray:
    """A healthy curve: from ln V to `end`, exponentially."""
    return end + (FLOORS["uniform"] - end) * np.exp(-np.arange(steps) / pace)


def power(steps: int, end: float = 2.2) -> np.ndarray:
    """A healthy curve that keeps falling: end + (ln V - end) (1 + t / 40)^-0.6."""
    return end + (FLOORS["uniform"] - end) * (1 + np.arange(steps) / 40) ** -0.6


def line(*points: tuple[int, float]) -> np.ndarray:
    """Straight lines through (step, nats)."""
    parts = [np.linspace(a, b, end - start, endpoint=False) for (start, a), (end, b) in pairwise(points)]
    return np.concatenate(parts)


def rising(steps: int, start: int, end: int, total: float) -> np.ndarray:
    """A healthy curve plus a steady rise."""
    return falling(steps) + total * np.clip((np.arange(steps) - start) / (end - start), 0, 1)


def jumping(steps: int, start: int, to: float) -> np.ndarray:
    """A healthy curve that jumps and never comes back."""
    return np.where(np.arange(steps) < start, falling(steps), to)


def hump(width: int) -> np.ndarray:
    """1.5 nat up from step 200 on within `width` steps, and down again."""
    return falling(600) + 1.5 * np.clip(1 - np.abs(np.arange(600) - 200 - width) / width, 0, None)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A curve, and which outcomes and events are right; `events` None where they do not matter."""

    name: str
    curve: np.ndarray
    outcomes: Sequence[str]
    events: frozenset[str] | None = None
    warmup: int = 0
    sigma: float = 0.12
    noise: str = "normal"


NONE: frozenset[str] = frozenset()
SLOW, PLATEAU, SPIKE = frozenset({"slow_divergence"}), frozenset({"plateau"}), frozenset({"spike"})
LEFT_OFF = ("untrained", "stuck")
CASES = (
    Case(name="ln V, 60 steps", curve=line((0, 5.545), (60, 5.545)), outcomes=["untrained"], events=NONE),
    Case(name="ln V, 100 steps", curve=line((0, 5.545), (100, 5.545)), outcomes=["untrained"], events=NONE),
    Case(name="ln V, 300 steps", curve=line((0, 5.545), (300, 5.545)), outcomes=["stuck"], events=PLATEAU),
    Case(
        name="ln V, warm-up 200 of 300",
        curve=line((0, 5.545), (300, 5.545)),
        outcomes=["untrained"],
        warmup=200,
    ),
    Case(name="4.4, 120 steps", curve=line((0, 4.4), (120, 4.4)), outcomes=["untrained"], events=NONE),
    Case(name="4.4, 200 steps", curve=line((0, 4.4), (200, 4.4)), outcomes=["untrained"], events=NONE),
    Case(name="4.4, 250 steps", curve=line((0, 4.4), (250, 4.4)), outcomes=["stuck"], events=PLATEAU),
    Case(name="unigram, 150 steps", curve=line((0, 3.2), (150, 3.2)), outcomes=LEFT_OFF),
    Case(name="unigram, 250 steps", curve=line((0, 3.2), (250, 3.2)), outcomes=["stuck"], events=PLATEAU),
    Case(
        name="unigram less 0.12, 300", curve=line((0, 3.08), (300, 3.08)), outcomes=["stuck"], events=PLATEAU
    ),
    Case(name="bigram, 500 steps", curve=line((0, 2.42), (500, 2.42)), outcomes=["stable"], events=PLATEAU),
    Case(
        name="rise of 0.5 in the last 100 of 300",
        curve=rising(300, 200, 300, 0.5),
        outcomes=["exploded"],
        events=SLOW,
    ),
    Case(
        name="rise of 0.7 from 190 of 300",
        curve=rising(300, 190, 300, 0.7),
        outcomes=["exploded"],
        events=SLOW,
    ),
    Case(name="rise of 2.6 from 160 of 300", curve=rising(300, 160, 300, 2.6), outcomes=["exploded"]),
    Case(name="to 7.0 for the last 30 of 300", curve=jumping(300, 270, 7.0), outcomes=["exploded"]),
    Case(name="to 5.0 for the last 30 of 300", curve=jumping(300, 270, 5.0), outcomes=["exploded"]),
    Case(name="to 4.5 for the last 70 of 300", curve=jumping(300, 230, 4.5), outcomes=["exploded"]),
    Case(name="to 5.0 for the last 30 of 1,000", curve=jumping(1000, 970, 5.0), outcomes=["exploded"]),
    Case(name="2.2 to 3.0 at 240 of 300", curve=jumping(300, 240, 3.0), outcomes=["exploded"]),
    Case(name="2.2 to 3.0 at 200 of 300", curve=jumping(300, 200, 3.0), outcomes=["exploded"]),
    Case(
        name="rise of 0.0005 a step from 200 of 1,000",
        curve=rising(1000, 200, 1000, 0.4),
        outcomes=["exploded"],
    ),
    Case(
        name="rise of 0.001 a step from 200 of 1,000",
        curve=rising(1000, 200, 1000, 0.8),
        outcomes=["exploded"],
    ),
    Case(
        name="5.55 - 0.0005 a step, 1,000 steps", curve=line((0, 5.55), (1000, 5.05)), outcomes=["untrained"]
    ),
    *(
        Case(
            name=f"hump of 1.5 over {width}, noise {sigma}",
            curve=hump(width),
            outcomes=["spiked"],
            sigma=sigma,
        )
        for width in (20, 50, 100)
        for sigma in (0.05, 0.12)
    ),
    Case(name="healthy, 300 steps", curve=falling(300), outcomes=["stable"], events=NONE),
    Case(name="healthy, 1,000 steps", curve=power(1000, 1.8), outcomes=["stable"], events=NONE),
    Case(name="healthy, gamma noise", curve=falling(600), outcomes=["stable"], noise="gamma"),
    Case(
        name="late drop from 2.9 to 2.0",
        curve=np.concatenate([falling(300, 2.9), 2.0 + 0.9 * np.exp(-np.arange(300) / 8)]),
        outcomes=["stable"],
        events=NONE,
    ),
)


def watched(losses: np.ndarray, rng: np.random.Generator, warmup: int = 0) -> Watch:
    """The detectors after a run with these losses and healthy gradients."""
    least = OPTIMIZERS["adamw"].least(OPTIMIZERS["adamw"].config)
    facts = RunFacts(floors=FLOORS, warmup=warmup, steps=len(losses), least=least, sizes={"layer_00": 100})
    watch = Watch(DivergenceConfig(), facts)
    for step, (loss, norm) in enumerate(zip(losses, np.exp(rng.normal(-0.5, 0.2, len(losses))), strict=True)):
        watch.update({"step": step, "loss": float(loss), "grad_norm/global": float(norm)})
    return watch


def said(case: Case, seed: int) -> tuple[str, list[Event]]:
    """The outcome and the events of a case."""
    rng = np.random.default_rng(seed)
    noise = case.sigma * NOISES[case.noise](rng, len(case.curve))
    watch = watched(case.curve + noise, rng, case.warmup)
    return watch.outcome, watch.events


def is_right(case: Case, outcome: str, events: Sequence[Event]) -> bool:
    kinds = {event.kind for event in events}
    return outcome in case.outcomes and (case.events is None or kinds == case.events)


def smallest_jump(curve: np.ndarray, sigma: float, step: int, seed: int) -> float:
    """The least of JUMPS, for one step, that is a spike of the loss; infinite if none is."""
    rng = np.random.default_rng(seed)
    losses = curve[: step + 1] + rng.normal(0, sigma, step + 1)
    watch = watched(losses[:-1], rng)
    if watch.events:
        return np.inf
    state = watch.state_dict()
    for jump in JUMPS:
        watch.load_state_dict(state)
        events = watch.update({"step": step, "loss": float(losses[-1] + jump)})
        if any(event.kind == "spike" for event in events):
            return jump
    return np.inf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="?", type=int, default=6)
    seeds, console = parser.parse_args().seeds, Console(highlight=False)
    table = Table("curve", "outcomes", "first event", "right", box=None)
    for case in CASES:
        results = [said(case, seed) for seed in range(seeds)]
        outcomes = Counter(outcome for outcome, _ in results)
        firsts = Counter(events[0].kind if events else "none" for _, events in results)
        right = sum(is_right(case, *result) for result in results)
        table.add_row(case.name, _counts(outcomes), _counts(firsts), f"{right} of {seeds}")
    console.print(table)
    console.print("smallest jump of one step that is found, by its step: median, largest")
    for name, curve, sigma in (
        ("exponential, noise 0.03", falling(700), 0.03),
        ("power, noise 0.03", power(700), 0.03),
        ("exponential, noise 0.05", falling(700), 0.05),
    ):
        found = [[smallest_jump(curve, sigma, step, seed) for seed in range(seeds)] for step in JUMP_STEPS]
        told = (
            f"{step}: {np.median(each):g}, {max(each):g}"
            for step, each in zip(JUMP_STEPS, found, strict=True)
        )
        console.print(f"  {name}: {'; '.join(told)}")
    for noise in NOISES:
        healthy = Case(name=noise, curve=falling(1000), outcomes=["stable"], noise=noise, sigma=0.05)
        results = [said(healthy, 1000 + seed) for seed in range(seeds)]
        events, steps = sum(len(each) for _, each in results), 1000 * seeds
        wrong = Counter(outcome for outcome, _ in results if outcome != "stable")
        told = f"{_counts(wrong) or 'none'} of {seeds} not stable"
        console.print(f"healthy, {noise} noise of 0.05: {told}, {events} events in {steps:,} steps")


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{word} {count}" for word, count in counts.most_common())


if __name__ == "__main__":
    main()

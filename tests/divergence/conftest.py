"""A watch over made-up series, whose troubles are known."""

import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from normlab.catalogue.optimizers import OPTIMIZERS
from normlab.config import DivergenceConfig
from normlab.divergence import Event, RunFacts, Watch

SIZES = {"embedding": 100, "layer_00": 400, "layer_01": 400, "final_norm": 16, "head": 100}


@pytest.fixture
def watch_of() -> Callable[..., Watch]:
    """`watch_of(warmup=5, spike=SpikeConfig(...))`: facts and settings, changed."""

    def build(**changes: Any) -> Watch:
        facts: dict[str, Any] = {
            "floors": {"unigram": 3.0},
            "warmup": 0,
            "steps": 3000,
            "least": OPTIMIZERS["adamw"].least(OPTIMIZERS["adamw"].config),
            "sizes": SIZES,
        }
        known = {key: changes.pop(key) for key in list(changes) if key in facts}
        return Watch(DivergenceConfig(**changes), RunFacts(**facts | known))

    return build


@pytest.fixture
def fold(watch_of: Callable[..., Watch]) -> Callable[..., list[Event]]:
    """`fold(losses, ...)`: the events, as known at the end, of a run with these losses or rows."""

    def run(rows: Iterable[float | Mapping[str, Any]], **changes: Any) -> list[Event]:
        watch = watch_of(**changes)
        for step, row in enumerate(rows):
            watch.update({"step": step, **(row if isinstance(row, Mapping) else {"loss": row})})
        return watch.events

    return run


@pytest.fixture
def curve() -> Callable[..., list[float]]:
    """`curve(seed, steps)`: a loss that falls from ln 65 to 1.5, convex, with normal noise of 0.03."""

    def losses(seed: int = 0, steps: int = 3000, sigma: float = 0.03) -> list[float]:
        noise = random.Random(seed)
        return [1.5 + 2.674 * (1 + t / 40) ** -0.6 + noise.gauss(0, sigma) for t in range(steps)]

    return losses

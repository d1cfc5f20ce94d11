"""Placements made at random, and one thread for small tensors."""

import random
from collections.abc import Callable, Iterator

import pytest
import torch

from normlab.config import ExceptionConfig, PlacementConfig, ScaleConfig
from normlab.errors import ConfigError


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _scale(draw: random.Random, learns: bool) -> ScaleConfig:
    value = draw.choice(["1", "1", "0.5", "layer**-0.5", "1 + step/10"])
    if "step" in value or not learns:
        return ScaleConfig(value=value)
    return ScaleConfig(
        value=value, learn=draw.choice(["none", "scalar", "vector"]), share=draw.choice(["sublayer", "block"])
    )


def _placement(draw: random.Random) -> PlacementConfig:
    flip = lambda: draw.random() < 0.5  # noqa: E731
    second = draw.random() < 0.3
    exception = {
        "reads": draw.choice(["x", "block", "both"]),
        "skip": draw.choice(["x", "norm_in", "block"]),
        "norm_in": flip(),
        "norm_out": flip(),
        "shared_norm": flip(),
    }
    chosen = draw.sample(sorted(exception), draw.randrange(4))
    return PlacementConfig(
        name="random",
        norm_in=flip(),
        norm_out=flip(),
        norm_post=flip(),
        reads=draw.choice(["x", "both"]) if second else "x",
        skip=draw.choice(["x", "x", "norm_in", "block"]),
        skip_scale=ScaleConfig(tie=True) if draw.random() < 0.2 else _scale(draw, learns=True),
        branch_scale=_scale(draw, learns=True),
        in_scale=_scale(draw, learns=False),
        gpas=draw.choice(["none", "none", "stream", "skip"]),
        second_stream=second,
        second_scale=draw.choice(["1", "0.5"]),
        final_norm=True,
        exceptions=[ExceptionConfig(sublayer="ffn", set={name: exception[name] for name in chosen})],
    )


@pytest.fixture
def random_placement() -> Callable[[int], PlacementConfig]:
    """`random_placement(seed)`: the first legal one that the seed gives."""

    def make(seed: int) -> PlacementConfig:
        draw = random.Random(seed)
        while True:
            try:
                made = _placement(draw)
                made.check(depth=2, width=16, steps=6)
                return made
            except ConfigError:
                continue

    return make

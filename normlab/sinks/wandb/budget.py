"""Which metrics of a row go to wandb, whose pages grow slow with the number of series.

A metric is detail where the row has one of the whole that it is part of: `grad_norm/layer_03/attn.qkv` of
`grad_norm/layer_03`, a head of its layer, a sub-layer of its block, a site's count of a flag. Detail stays in
`metrics.jsonl`, so that wandb gets one series a layer and family (two where there are only sub-layers).
"""

from collections.abc import Mapping
from functools import cache
from typing import TypeVar

#: Series of a run in wandb at most: for each layer, and besides.
A_LAYER, BESIDES = 44, 60

Value = TypeVar("Value")


def coarse(row: Mapping[str, Value]) -> dict[str, Value]:
    """A row without its detail."""
    keys = row.keys()
    return {key: value for key, value in row.items() if keys.isdisjoint(_wholes(key))}


@cache
def _wholes(key: str) -> tuple[str, ...]:
    """What `a/b/c` can be a part of: `a` and `a/b`."""
    parts = key.split("/")
    return tuple("/".join(parts[:length]) for length in range(1, len(parts)))

"""The least memory that a run takes, from its config alone: what cannot fit is refused at once."""

import math
import os
from collections.abc import Mapping
from pathlib import Path

from normlab.catalogue.activations import ACTIVATIONS
from normlab.config import RunConfig
from normlab.errors import ConfigError
from normlab.model.ffn import ffn_width

#: Numbers that the backward pass keeps of a block for each of the stream's, at the least: the inputs of both
#: sub-layers, queries, keys, values, attention's output and the two sums.
_KEPT = 8
#: Bytes of a token id in a batch.
_ID = 8
#: Where a container's limit stands (Linux, cgroup 2).
_LIMIT = Path("/sys/fs/cgroup/memory.max")
#: Whole-number settings that memory grows with, and their defaults: the one furthest above is named first.
_KEYS = {
    "train.eval_batches": 8,
    "train.batch_size": 16,
    "model.context": 64,
    "depth": 12,
    "model.width": 64,
    "data.vocab_size": 1024,
}


def check_memory(config: RunConfig, there: int) -> None:
    """Refuse a run that takes more than `there` bytes.

    Raises:
        ConfigError: names the setting that is furthest above its default, and its largest value that fits.
    """
    sizes = {
        "train.eval_batches": config.train.eval_batches,
        "train.batch_size": config.train.batch_size,
        "model.context": config.model.context,
        "depth": config.depth,
        "model.width": config.model.width,
        "data.vocab_size": config.data.vocab_size,
    }
    least = least_bytes(config, sizes)
    if least <= there:
        return
    need = f"takes at least {_gib(least)} of memory, and there are {_gib(there)}"
    for key in sorted(sizes, key=lambda key: sizes[key] / _KEYS[key], reverse=True):
        if most := _largest(config, sizes, key, there):
            raise ConfigError(key, f"{sizes[key]} {need}; {most} is the most that fits")
    raise ConfigError("model.width", f"{need}; make depth, model.width and train.batch_size smaller")


def least_bytes(config: RunConfig, sizes: Mapping[str, int]) -> int:
    """Bytes that weights, gradients, activations, logits and batches take at the least.

    Args:
        sizes: the settings of `_KEYS`, as they are or as they might be.
    """
    model, train = config.model, config.train
    width, depth, context = sizes["model.width"], sizes["depth"], sizes["model.context"]
    batch, each = sizes["train.batch_size"], 8 if train.precision == "fp64" else 4
    gated = ACTIVATIONS[config.activation.name].gated
    hidden = math.ceil(width * ffn_width(model, gated) / model.width)
    keys = math.ceil(width * model.kv_width / model.width)
    vocab = sizes["data.vocab_size"] if config.data.tokenizer == "bpe" else 1
    weights = depth * (width * (2 * width + 2 * keys) + (3 if gated else 2) * width * hidden)
    weights += vocab * width * (1 if model.tie else 2)
    tokens = max(batch // train.accumulation // max(train.processes, 1), 1) * context
    kept = 1 if train.activation_checkpointing else _KEPT + hidden / width
    activations = tokens * width * depth * kept + 2 * tokens * vocab
    batches = batch * (context + 1) * (1 + sizes["train.eval_batches"])
    return int(each * (2 * weights + activations) + _ID * batches)


def machine_bytes() -> int:
    """The memory of this machine, or of the container that this process is in."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = _LIMIT.read_text(encoding="ascii").strip()
    except OSError:
        return there
    return min(there, int(limit)) if limit.isdecimal() else there


def _largest(config: RunConfig, sizes: Mapping[str, int], key: str, there: int) -> int:
    """The largest value of `key` with which it fits, the others being as they are; 0 where there is none."""
    step = config.model.heads if key == "model.width" else 1
    low, high = 0, sizes[key] // step
    while high - low > 1:
        middle = (low + high) // 2
        if least_bytes(config, {**sizes, key: middle * step}) <= there:
            low = middle
        else:
            high = middle
    return low * step


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"

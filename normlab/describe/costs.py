"""Parameters, FLOPs and memory of a config, from what `counts` has counted."""

from dataclasses import dataclass

from normlab.config import RunConfig
from normlab.describe.counts import Counts

#: Bytes a number, by `train.precision`; bf16 is autocast over float32.
_BYTES = {"fp32": 4, "bf16": 4, "fp64": 8}
#: What N of the published 6 N leaves out.
EDGES = ("embedding", "positions", "head")
FLOPS = (
    "matrix products alone, 2 for each multiply-add, attention's over the whole context; training is 3 times "
    "the forward pass. 6 N: Kaplan et al. 2020, arXiv 2001.08361, N the non-embedding parameters; it leaves "
    "out the head and attention's products of queries, keys and values"
)
MEMORY = (
    "activations: what autograd keeps of the forward pass of one micro-batch, the loss too, with torch's CPU "
    "kernels. Not counted: gradients of activations, the kernels' workspace, what an allocator holds back"
)


@dataclass(frozen=True, kw_only=True)
class Flops:
    """Counted as `FLOPS` says."""

    #: Forward, a token, by part.
    parts: dict[str, int]
    forward: int
    training: int
    six_n: int
    tokens_a_step: int
    a_step: int
    a_run: int


def non_embedding(counted: Counts) -> int:
    """The parameters without embeddings, positions and head."""
    return sum(numbers for part, numbers in counted.parameters.items() if part not in EDGES)


def flops(config: RunConfig, counted: Counts) -> Flops:
    """FLOPs a token, a step and a run."""
    forward = sum(counted.flops.values())
    tokens = config.train.batch_size * config.model.context
    return Flops(
        parts=counted.flops,
        forward=forward,
        training=3 * forward,
        six_n=6 * non_embedding(counted),
        tokens_a_step=tokens,
        a_step=3 * forward * tokens,
        a_run=3 * forward * tokens * config.train.steps,
    )


@dataclass(frozen=True, kw_only=True)
class Held:
    """Memory for one purpose."""

    name: str
    size: int
    note: str = ""


def memory(config: RunConfig, counted: Counts) -> list[Held]:
    """Bytes, by what they are for, and their sum last; counted as `MEMORY` says."""
    train = config.train
    each = _BYTES[train.precision]
    weights = each * sum(counted.parameters.values())
    sequences = train.batch_size // train.accumulation
    parts = [
        Held(name="weights", size=weights, note=f"{each} bytes a number"),
        Held(name="gradients", size=weights),
        Held(name="optimizer state", size=each * counted.state, note=config.optimizer.name),
        Held(name="buffers", size=counted.buffers),
        Held(
            name="activations",
            size=counted.activations,
            note=f"{sequences} sequences of {config.model.context} tokens, {train.precision}",
        ),
    ]
    return [*parts, Held(name="total", size=sum(part.size for part in parts))]

"""What the blocks of a config are made of: which are alike, and every scale's value in each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from normlab.config import SCALES, RunConfig, ScaleConfig, SublayerConfig, laws
from normlab.config.placement import PLACES

#: The letter that a scale has in equations.
LETTERS = dict(zip(SCALES, "abc", strict=True))


@dataclass(frozen=True, kw_only=True)
class Value:
    """A scale at one place: a number, or the numbers at the first and the last step."""

    first: float
    last: float
    #: `fixed`, `learned` (the number is its start), `scheduled` by the step, or `tied` to the branch's scale.
    kind: str = "fixed"

    @property
    def plain(self) -> bool:
        """A fixed 1, which no equation shows."""
        return self.kind == "fixed" and self.first == 1

    def text(self) -> str:
        """As a table shows it."""
        if self.kind == "tied":
            return "1 - b"
        if self.kind == "scheduled":
            return f"{number(self.first)} to {number(self.last)}"
        return number(self.first) + (" learned" if self.kind == "learned" else "")


@dataclass(frozen=True, kw_only=True)
class Factor:
    """A scale as an equation and a drawing show it: a number or a letter, and what the letter is."""

    text: str
    legend: str = ""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A sub-layer of blocks that are alike."""

    #: 0 attention, 1 feed-forward.
    place: int
    record: SublayerConfig
    #: By the names of `SCALES`; those that are a fixed 1 are left out.
    factors: dict[str, Factor]


@dataclass(frozen=True, kw_only=True)
class BlockRange:
    """Blocks of one structure; their scales may differ."""

    #: From 1, ascending.
    layers: tuple[int, ...]
    parts: tuple[Part, Part]


def number(value: float) -> str:
    """Four significant digits, whole numbers in full."""
    whole = value == int(value) and abs(value) < 1e9
    return str(int(value)) if whole else f"{value:.4g}"


def ranges(layers: Iterable[int]) -> str:
    """`1-3, 7`."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and runs[-1][-1] == layer - 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def at(config: RunConfig, layer: int, place: int) -> dict[str, float]:
    """What the laws see at a sub-layer."""
    return laws.variables(config.depth, config.model.width, layer, place) | config.placement.parameters


def records(config: RunConfig, layer: int) -> tuple[SublayerConfig, SublayerConfig]:
    """Both sub-layers of a block."""
    attn, ffn = (config.placement.sublayer_at(at(config, layer, place), place) for place in (0, 1))
    return attn, ffn


def value(config: RunConfig, scale: ScaleConfig, where: dict[str, float]) -> Value:
    """What `scale` is at one place."""
    scheduled = laws.STEP in laws.names(scale.value)
    first, last = (
        laws.value(scale.value, {**where, laws.STEP: step}) for step in (0, config.train.steps - 1)
    )
    kind = "tied" if scale.tie else "learned" if scale.learn != "none" else "fixed"
    return Value(first=first, last=last, kind="scheduled" if scheduled else kind)


#: One block: for each sub-layer, its scales.
Values = tuple[dict[str, Value], dict[str, Value]]


def values(config: RunConfig) -> list[Values]:
    """Every scale of every block."""
    found = []
    for layer in range(1, config.depth + 1):
        attn, ffn = (
            {name: value(config, getattr(record, name), at(config, layer, place)) for name in SCALES}
            for place, record in enumerate(records(config, layer))
        )
        found.append((attn, ffn))
    return found


def runs(rows: Sequence[object]) -> list[tuple[int, int]]:
    """Where neighbours are equal: (first, last), counted from 1."""
    starts = [1, *(i for i, (one, two) in enumerate(pairwise(rows), 2) if one != two)]
    return [(start, end - 1) for start, end in pairwise([*starts, len(rows) + 1])]


def groups(config: RunConfig) -> list[BlockRange]:
    """The blocks by structure, in the order in which each first comes."""
    by_record: dict[tuple[SublayerConfig, SublayerConfig], list[int]] = {}
    for layer in range(1, config.depth + 1):
        by_record.setdefault(records(config, layer), []).append(layer)
    found = []
    for pair, layers in by_record.items():
        attn, ffn = (_part(config, place, pair, layers) for place in (0, 1))
        found.append(BlockRange(layers=tuple(layers), parts=(attn, ffn)))
    return found


def _part(
    config: RunConfig, place: int, pair: tuple[SublayerConfig, SublayerConfig], layers: Sequence[int]
) -> Part:
    record, factors = pair[place], {}
    for name in SCALES:
        scale: ScaleConfig = getattr(record, name)
        shared = scale.share == "block" and getattr(pair[1 - place], name) == scale
        seen = [value(config, scale, at(config, layer, place)) for layer in layers]
        if not all(each.plain for each in seen):
            owner = "block" if shared else "sub-layer"
            factors[name] = _factor(
                config, scale, (LETTERS[name], owner), dict(zip(layers, seen, strict=True))
            )
    return Part(place=place, record=record, factors=factors)


def _factor(config: RunConfig, scale: ScaleConfig, naming: tuple[str, str], seen: dict[int, Value]) -> Factor:
    """A number where it is the same in all these blocks, else a letter with its law.

    Args:
        naming: the letter, and whose one learned factor is.
        seen: its value by block.
    """
    letter, owner = naming
    first = next(iter(seen.values()))
    if first.kind == "tied":
        return Factor(text="(1 - b)")
    law = "" if _is_number(scale.value) else scale.value
    if first.kind == "learned":
        return Factor(text=letter, legend=f"{letter}: {_learned(config, scale, owner)}, {_starts(law, seen)}")
    if first.kind == "scheduled":
        begin = _over({layer: each.first for layer, each in seen.items()})
        end = _over({layer: each.last for layer, each in seen.items()})
        steps = f"{begin} at step 0; {end} at step {config.train.steps - 1}"
        return Factor(text=letter, legend=f"{letter} = {law}: {steps}")
    if len({each.first for each in seen.values()}) == 1:
        return Factor(text=number(first.first))
    return Factor(
        text=letter,
        legend=f"{letter} = {law}: {_over({layer: each.first for layer, each in seen.items()})}",
    )


def _is_number(law: str) -> bool:
    return not laws.names(law)


def _learned(config: RunConfig, scale: ScaleConfig, owner: str) -> str:
    what = {"scalar": "one number a", "vector": "one number a channel of a"}[scale.learn]
    stored = ""
    if scale.stored:
        size = number(laws.value(scale.stored, at(config, 1, 0)))
        stored = f", kept as {size} (which sets how far a step goes)"
    return f"learned, {what} {owner}{stored}"


def _starts(law: str, seen: dict[int, Value]) -> str:
    starts = _over({layer: each.first for layer, each in seen.items()})
    return f"{starts} at the start" + (f" by {law}" if law else "")


def _over(numbers: dict[int, float]) -> str:
    """One number, or those of the first and the last of these blocks."""
    layers = list(numbers)
    if len(set(numbers.values())) == 1:
        return number(numbers[layers[0]])
    return (
        f"{number(numbers[layers[0]])} in block {layers[0]} and "
        f"{number(numbers[layers[-1]])} in block {layers[-1]}"
    )


def place_name(place: int) -> str:
    """`attn` or `ffn`."""
    return PLACES[place]

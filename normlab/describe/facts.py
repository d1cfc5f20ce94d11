"""Everything there is to say of one config, as data: the page, the comparison and the JSON are made of it."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from normlab.catalogue import naming
from normlab.catalogue.groups import check_names
from normlab.catalogue.norms import NORMS, leak
from normlab.catalogue.placements import PLACEMENTS
from normlab.config import RunConfig
from normlab.config.row import Row
from normlab.describe import blocks, constants, costs, counts, diagram, equations
from normlab.describe.constants import Constant, InitialStd
from normlab.describe.notes import notes
from normlab.describe.vocabulary import Vocabulary, vocabulary


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A norm or a placement: its row in the table, and what the config has otherwise."""

    name: str
    meaning: str
    equation: str
    source: str
    facts: dict[str, str]
    #: Settings that are not the row's: key -> (the row's, the config's).
    changed: dict[str, tuple[Any, Any]]


@dataclass(frozen=True, kw_only=True)
class Structure:
    """Blocks that are alike: their equations, and one of them drawn."""

    blocks: str
    #: x' after attention and after the feed-forward layer.
    attn: equations.Equations
    ffn: equations.Equations
    #: Inside the two.
    inside: tuple[equations.Equations, equations.Equations]
    drawing: list[str]


@dataclass(frozen=True, kw_only=True)
class Description:
    """One config."""

    knobs: dict[str, Any]
    vocabulary: Vocabulary
    placement: Choice
    norm: Choice
    #: The placement's constants for each architecture that its source has them for.
    architectures: list[constants.Architecture]
    structures: list[Structure]
    ends: equations.Equations
    constants: list[Constant]
    #: Runs of equal blocks.
    scales: list[tuple[str, dict[str, blocks.Value]]]
    starts: list[tuple[str, dict[str, InitialStd]]]
    starts_outside: dict[str, InitialStd]
    #: Learned numbers by part, tied ones once; then of each block.
    parameters: dict[str, int]
    parameters_of_blocks: list[tuple[str, dict[str, int]]]
    non_embedding: int
    flops: costs.Flops
    #: Bytes, the sum last.
    memory: list[costs.Held]
    notes: list[str]

    @property
    def total(self) -> int:
        """All parameters."""
        return sum(self.parameters.values())

    def record(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = dataclasses.asdict(self)
        for key in ("scales", "starts", "parameters_of_blocks"):
            plain[key] = [{"blocks": label, **row} for label, row in plain[key]]
        return {**plain, "total": self.total, "conventions": {"flops": costs.FLOPS, "memory": costs.MEMORY}}


def describe(config: RunConfig, vocab: int | None = None) -> Description:
    """What there is to know of `config` without training it.

    Args:
        vocab: tokens in the vocabulary; None for what the config says of it.

    Raises:
        ConfigError: a variant or tokenizer that is not there, a norm that cannot have this width.
    """
    check_names(config)
    tokens = vocabulary(config.data, vocab)
    counted = counts.count(config, tokens.tokens)
    inside, outside = constants.starts(config, counted.matrices)
    return Description(
        knobs=_knobs(config),
        vocabulary=tokens,
        placement=_placement(config, counted),
        norm=_norm(config),
        architectures=constants.architectures(config),
        structures=[_structure(config, group) for group in blocks.groups(config)],
        ends=equations.ends(config),
        constants=constants.constants(config, counted.matrices),
        scales=constants.scales(config),
        starts=inside,
        starts_outside=outside,
        parameters=counted.parameters,
        parameters_of_blocks=constants.by_run(counted.blocks),
        non_embedding=costs.non_embedding(counted),
        flops=costs.flops(config, counted),
        memory=costs.memory(config, counted),
        notes=notes(config),
    )


def _knobs(config: RunConfig) -> dict[str, Any]:
    model = config.model
    return {
        "placement": config.placement.name,
        "norm": config.norm.name,
        "activation": config.activation.name,
        "depth": config.depth,
        "width": model.width,
        "heads": model.heads,
        "positions": model.positions,
        "context": model.context,
    }


def _placement(config: RunConfig, counted: counts.Counts) -> Choice:
    """The row of that name, if there is one; a user's own placement has none."""
    row = PLACEMENTS.get(config.placement.name)
    warmup, measured = (row.warmup, row.warmup_measured) if row else ("-", "-")
    facts = {
        "norms a block": _between(counted.norms),
        "learned besides norms": f"{_between(counted.extra)} a block",
        "needs warm-up": f"{_said(warmup)} as published, {_said(measured, 'not tried')} as measured",
    }
    return _choice(config.placement, row, facts)


def _said(fact: str, nothing: str = "not said") -> str:
    return nothing if fact == "-" else fact


def _between(numbers: Sequence[int]) -> str:
    """`2`, or `2-4` where blocks differ."""
    least, most = min(numbers), max(numbers)
    return str(least) if least == most else f"{least}-{most}"


def _norm(config: RunConfig) -> Choice:
    row = NORMS[config.norm.name]
    facts = dataclasses.replace(row, config=config.norm).facts
    leaks = leak(config.norm)
    return _choice(config.norm, row, facts | {"causal in training": f"no: {leaks}" if leaks else "yes"})


def _choice(config: Any, row: Row[Any] | None, facts: Mapping[str, str]) -> Choice:
    was, now = (
        dict(naming.flat(dataclasses.asdict(each))) for each in (row.config if row else config, config)
    )
    return Choice(
        name=config.name,
        meaning=row.meaning if row else "",
        equation=row.equation if row else "",
        source=row.source if row else "",
        facts=dict(facts),
        changed={key: (was.get(key), now.get(key)) for key in {**was, **now} if was.get(key) != now.get(key)},
    )


def _structure(config: RunConfig, group: blocks.BlockRange) -> Structure:
    attn, ffn = (equations.sublayer(config, part) for part in group.parts)
    return Structure(
        blocks=blocks.ranges(group.layers),
        attn=attn,
        ffn=ffn,
        inside=equations.branches(config, group),
        drawing=diagram.draw(config, group),
    )

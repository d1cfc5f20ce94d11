"""The laws of a config with their values at its depth, and what follows from them in each block."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from normlab.catalogue import inits
from normlab.catalogue.placements import PLACEMENTS
from normlab.config import SCALES, RunConfig, laws
from normlab.describe import blocks, equations
from normlab.describe.counts import DrawnMatrix

#: What a scale is called beside its letter.
_PATHS = dict(zip(SCALES, ("skip", "branch", "input"), strict=True))


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A law and its value here, or its values in the first and the last block."""

    name: str
    law: str
    value: str


@dataclass(frozen=True, kw_only=True)
class InitialStd:
    """The initial standard deviation of a projection, and its ratio to what the distribution alone gives."""

    std: float
    gain: float


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A placement's constants for one architecture: the skip's factor and the gain, and their values."""

    name: str
    architecture: str
    skip_law: str
    skip: str
    gain_law: str
    gain: str
    #: Whether the config has this one.
    here: bool


def architectures(config: RunConfig) -> list[Architecture]:
    """The rows that are the same placement for other architectures; none where its source has one alone."""
    row = PLACEMENTS.get(config.placement.name)
    if row is None or not row.architecture:
        return []
    found = []
    for name, other in PLACEMENTS.items():
        if other.architecture:
            here = name == config.placement.name
            record = config.placement if here else other.config
            at = laws.variables(config.depth, config.model.width) | record.parameters
            skip, gain = record.skip_scale.value, record.gains.get("ffn.out", "1")
            found.append(
                Architecture(
                    name=name,
                    architecture=other.architecture,
                    skip_law=skip,
                    skip=blocks.number(laws.value(skip, at)),
                    gain_law=gain,
                    gain=blocks.number(laws.value(gain, at)),
                    here=here,
                )
            )
    return found


def constants(config: RunConfig, matrices: Sequence[DrawnMatrix]) -> list[Constant]:
    """Every law that is more than a fixed 1, each once."""
    found = [*_scales(config), *_model(config), *_gains(config, matrices)]
    return list(dict.fromkeys(found))


def _scales(config: RunConfig) -> Iterator[Constant]:
    for name, number in config.placement.parameters.items():
        yield Constant(name=name, law="", value=blocks.number(number))
    several = blocks.groups(config)
    for group in several:
        for part in group.parts:
            for field in part.factors:
                scale = getattr(part.record, field)
                first, last = (
                    blocks.value(config, scale, blocks.at(config, layer, part.place))
                    for layer in (group.layers[0], group.layers[-1])
                )
                where = f", blocks {blocks.ranges(group.layers)}" if len(several) > 1 else ""
                yield Constant(
                    name=f"{blocks.LETTERS[field]} ({_PATHS[field]}{where})",
                    law="1 - b" if scale.tie else scale.value,
                    value=_between(first.text(), last.text()),
                )
    if config.placement.second_stream:
        rho = blocks.number(equations.rho(config))
        yield Constant(name="rho (second stream)", law=config.placement.second_scale, value=rho)


def _between(first: str, last: str) -> str:
    return first if first == last else f"{first} ... {last}"


def _model(config: RunConfig) -> Iterator[Constant]:
    for name in ("embedding_scale", "logit_scale"):
        law = getattr(config.model, name)
        value = laws.value(law, blocks.at(config, 1, 0))
        if value != 1:
            yield Constant(name=f"model.{name}", law=law, value=blocks.number(value))
    if config.placement.unit_embedding:
        factor = blocks.number(inits.embedding_factor(config))
        yield Constant(name="factor on E (unit_embedding)", law="1 / std of E", value=factor)


def _gains(config: RunConfig, matrices: Sequence[DrawnMatrix]) -> Iterator[Constant]:
    """The distribution, then each law on single projections with those that share it."""
    row = inits.INITS[config.init.name]
    settings = {
        key: value for key, value in dataclasses.asdict(config.init).items() if isinstance(value, int | float)
    }
    used = ", ".join(
        f"{key} {blocks.number(settings[key])}" for key in settings if key in laws.names(row.matrix)
    )
    edge = laws.value(row.edge, blocks.at(config, 1, 0) | settings)
    yield Constant(name="std of matrices", law=row.matrix, value=used)
    yield Constant(name="std of the ends", law=row.edge, value=blocks.number(edge))
    for key in ("embedding_std", "position_std", "head_std"):
        if key in settings:
            yield Constant(name=f"init.{key}", law="", value=blocks.number(settings[key]))
    chosen = inits.selected(config.init, config.placement.gains)
    for sign, table in (("*=", chosen.gain), ("=", chosen.std)):
        by_law: dict[tuple[str, str], list[str]] = {}
        for projection, law in table.items():
            seen = [
                blocks.number(laws.value(law, _at(config, matrix)))
                for matrix in matrices
                if matrix.projection == projection
            ]
            if seen:
                by_law.setdefault((law, _between(seen[0], seen[-1])), []).append(projection)
        for (law, text), projections in by_law.items():
            yield Constant(name=f"std of {', '.join(projections)} {sign}", law=law, value=text)


def _at(config: RunConfig, matrix: DrawnMatrix) -> dict[str, float]:
    """What the laws of initial weights see at a matrix, as in `normlab.model.gpt.initialize`."""
    place = 1 if matrix.projection.startswith("ffn") else 0
    seen = blocks.at(config, matrix.layer, place)
    return inits.variables(seen, fan_in=matrix.fan_in, fan_out=matrix.fan_out)


def scales(config: RunConfig) -> list[tuple[str, dict[str, blocks.Value]]]:
    """Each run of equal blocks with its scales, by `attn.skip_scale` and so on."""
    return by_run(
        [
            {
                f"{blocks.place_name(place)}.{name}": value
                for place, scales in enumerate(block)
                for name, value in scales.items()
            }
            for block in blocks.values(config)
        ]
    )


def by_run(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    """What each block has, neighbours that have the same in one: (`1-24`, that)."""
    return [(blocks.ranges(range(first, last + 1)), rows[first - 1]) for first, last in blocks.runs(rows)]


def starts(
    config: RunConfig, matrices: Sequence[DrawnMatrix]
) -> tuple[list[tuple[str, dict[str, InitialStd]]], dict[str, InitialStd]]:
    """The initial weights of each run of equal blocks, and of what is outside the blocks."""
    chosen, none = inits.selected(config.init, config.placement.gains), inits.InitGains(name="none")
    rows: list[dict[str, InitialStd]] = [{} for _ in range(config.depth)]
    outside: dict[str, InitialStd] = {}
    for matrix in matrices:
        std, own = (
            inits.std(config.init, gains, matrix.projection, _at(config, matrix)) for gains in (chosen, none)
        )
        into = rows[matrix.layer - 1] if "." in matrix.projection else outside
        into[matrix.projection] = InitialStd(std=std, gain=std / own if own else 1.0)
    return by_run(rows), outside

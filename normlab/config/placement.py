"""The record of a placement: a sub-layer, exceptions from it, the ends of the model."""

import bisect
import functools
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from normlab.config import laws
from normlab.config.sublayer import ONLY_IN, SCALE_WORDS, SCALES, SUBLAYER_WORDS, ScaleConfig, SublayerConfig
from normlab.errors import ConfigError, nearest, require, require_one_of

#: The matrices whose initial scale a placement may set.
PROJECTIONS = ("attn.q", "attn.k", "attn.v", "attn.out", "ffn.gate", "ffn.in", "ffn.out", "embedding", "head")
WEIGHTS = ("free", "sigma_reparam", "unit")


@dataclass(frozen=True, kw_only=True)
class ExceptionConfig:
    """Fields that differ in some layers or in one kind of sub-layer."""

    #: A law of depth and layer: the exception holds where it is not 0.
    where: str = "1"
    #: `attn`, `ffn` or `both`.
    sublayer: str = "both"
    #: Fields of the sub-layer by name, e.g. {norm_in: false, branch_scale: {value: "0.5"}}.
    set: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Named:
    """First among the fields of a class that has others to inherit."""

    name: str


@dataclass(frozen=True, kw_only=True)
class PlacementConfig(SublayerConfig, _Named):
    """Where norms and scales sit: a record of every sub-layer, exceptions from it, the model's ends."""

    embedding_norm: bool = False
    #: Let the token embedding enter with standard deviation 1: times one over that which `init` gives it.
    unit_embedding: bool = False
    final_norm: bool = False
    #: Carry a second stream y' = y + rho * f beside x, and end with x + N(y).
    second_stream: bool = False
    #: rho, a law of depth; the second stream starts as rho times the embedding.
    second_scale: str = "1"
    #: With a second stream: a norm on the embedding where the first stream starts, and not the second.
    first_norm: bool = False
    #: With a second stream: a norm of their sum at the end, N(x + N(y)).
    joint_norm: bool = False
    #: Set the learned skip_scale from the variances that a first batch gives (Admin).
    profile: bool = False
    #: How matrices are kept: `free`, `sigma_reparam` (in the blocks, gamma / sigma(W) * W), or `unit`
    #: (vectors along the width get length 1 after each step).
    weights: str = "free"
    #: With `sigma_reparam`, the head's matrix too, as its authors have it.
    sigma_head: bool = False
    #: A learned factor for each token of the vocabulary on its logit (nGPT).
    head_gain: bool = False
    #: Laws that multiply the initial standard deviation of a projection, by its name.
    gains: dict[str, str] = field(default_factory=dict)
    #: Constants that the laws here may speak of; one called `fraction` lies between 0 and 1.
    parameters: dict[str, float] = field(default_factory=dict)
    #: Later ones win.
    exceptions: list[ExceptionConfig] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._check_unit(self)  # first: what the sub-layer would suggest is not legal there
        super().__post_init__()
        for name, number in self.parameters.items():
            key = f"placement.parameters.{name}"
            require(laws.is_name(name), key, "is no name for a constant, or a law's own; use another")
            require(math.isfinite(number), key, f"must be a finite number, got {number}")
            ok = name != "fraction" or 0 <= number <= 1
            require(ok, key, f"a fraction lies between 0 and 1, got {number}")
        require_one_of(self.weights, WEIGHTS, "placement.weights")
        for projection in self.gains:
            require_one_of(projection, PROJECTIONS, "placement.gains")
        for index, exception in enumerate(self.exceptions):
            check_fields(exception, f"placement.exceptions[{index}]")
        for key, law in self._laws():
            follows = key.endswith(".value")
            self._value(law, key, laws.variables(depth=2, width=64) | ({laws.STEP: 0} if follows else {}))
        self._check_parameters_are_used()
        require(
            not self.sigma_head or self.weights == "sigma_reparam",
            "placement.sigma_head",
            "is for placement.weights=sigma_reparam; set that too",
        )
        require(
            not self.unit_embedding or self.weights != "unit",
            "placement.unit_embedding",
            "sets the size of the embedding, and so does placement.weights=unit; use one of them",
        )
        self._check_streams()

    def _check_streams(self) -> None:
        """The second stream, and what is measured before the first step."""
        require(
            not self.second_stream or self.final_norm,
            "placement.second_stream",
            "ends in x + N(y); set placement.final_norm=true",
        )
        require(
            self.second_stream or self.second_scale.strip() == "1",
            "placement.second_scale",
            "is rho of the second stream; set placement.second_stream=true",
        )
        for name in ("first_norm", "joint_norm"):
            require(
                self.second_stream or not getattr(self, name),
                f"placement.{name}",
                "is for two streams; set placement.second_stream=true",
            )

    def _check_parameters_are_used(self) -> None:
        used = {name for _, law in self._laws() for name in laws.names(law)}
        for name in self.parameters:
            others = [other for other in (*self.parameters, *used) if other != name]
            require(
                name in used,
                f"placement.parameters.{name}",
                f"no law of this placement speaks of it.{nearest(name, dict.fromkeys(others))} "
                f"~placement.parameters.{name} takes it away",
            )

    def _laws(self) -> Iterator[tuple[str, str]]:
        """Every law here, under the key that it is typed as."""
        records: list[tuple[str, Any]] = [("placement", vars(self))]
        records += [(f"placement.exceptions[{i}].set", each.set) for i, each in enumerate(self.exceptions)]
        for key, record in records:
            for name in SCALES:
                scale = record.get(name, {})
                scale = vars(scale) if isinstance(scale, ScaleConfig) else scale
                yield from ((f"{key}.{name}.{part}", str(scale[part])) for part in _LAWS if scale.get(part))
        yield "placement.second_scale", self.second_scale
        yield from ((f"placement.gains.{name}", law) for name, law in self.gains.items())
        yield from (
            (f"placement.exceptions[{i}].where", each.where) for i, each in enumerate(self.exceptions)
        )

    def _value(self, law: str, key: str, at: Mapping[str, float], where: str = "") -> float:
        try:
            return laws.value(law, {**at, **self.parameters})
        except laws.LawError as error:
            raise ConfigError(key, f"{where}{error}") from None

    def _check_unit(self, record: SublayerConfig) -> None:
        require(
            record.gpas == "none" or self.weights != "unit",
            "placement.gpas",
            "would shrink a stream that placement.weights=unit (nGPT) keeps at one length; "
            "use placement.gpas=none",
        )

    def check(self, depth: int, width: int, steps: int) -> None:
        """Refuse what contradicts itself, or has no value, at some layer of a model or some step.

        Raises:
            ConfigError: with the key that was typed, and the layer.
        """
        posts = False
        for layer in range(1, depth + 1):
            at = [laws.variables(depth, width, layer, place) for place in (0, 1)]
            where = f"at layer {layer} of {depth}: "
            try:
                attn, ffn = (self.sublayer_at(here, place) for place, here in enumerate(at))
                _check_block(attn, ffn)
                self._check_record(attn)
                self._check_record(ffn)
            except ConfigError as error:
                raise ConfigError(error.key, f"{where if self.exceptions else ''}{error.problem}") from None
            for record, here in zip((attn, ffn), at, strict=True):
                self._check_values(record, here, steps, where)
            posts |= attn.norm_post or ffn.norm_post
        require(
            posts or not self.second_stream,
            "placement.second_stream",
            "is a sum of branches, and so is the first if no norm is on it; set placement.norm_post=true",
        )

    def _check_record(self, record: SublayerConfig) -> None:
        """One sub-layer against what the whole model has."""
        require(
            record.reads != "both" or self.second_stream,
            "placement.reads",
            "both needs placement.second_stream=true; use x",
        )
        self._check_unit(record)
        skip = record.skip_scale
        own = skip.learn != "none" and skip.share == "sublayer" and not skip.stored
        require(
            not self.profile or own,
            "placement.profile",
            "sets a learned scale of each sub-layer; use placement.skip_scale.learn=vector",
        )
        require(
            not self.profile or record.norm_post,
            "placement.profile",
            "follows the sizes of skips that a norm has set to 1 (Admin); set placement.norm_post=true",
        )

    def _check_values(self, record: SublayerConfig, at: Mapping[str, float], steps: int, where: str) -> None:
        """Every law has a value at this sub-layer, at the first and the last step."""
        for name in SCALES:
            scale: ScaleConfig = getattr(record, name)
            key = f"placement.{name}"
            follows = laws.STEP in laws.names(scale.value)
            require(
                not follows or scale.learn == "none",
                f"{key}.value",
                "a learned scale starts from its value and cannot follow the step; use learn=none",
            )
            for step in (0, steps - 1) if follows else (0,):
                self._value(scale.value, f"{key}.value", {**at, laws.STEP: step}, where)
            if scale.stored:
                stored = self._value(scale.stored, f"{key}.stored", at, where)
                require(stored > 0, f"{key}.stored", f"{where}must be above 0, got {stored:g}")
        self._value(self.second_scale, "placement.second_scale", at, where)
        for projection, law in self.gains.items():
            gain = self._value(law, f"placement.gains.{projection}", at, where)
            require(gain >= 0, f"placement.gains.{projection}", f"{where}must be 0 or more, got {gain:g}")

    def unfinished(self, depth: int, width: int, steps: int) -> str:
        """What a scale that follows the step still has before it at a run's end, as text; empty for nothing.

        A scale whose law settles at no number has no end to reach.
        """
        if not any(laws.STEP in laws.names(law) for _, law in self._laws()):
            return ""
        for place, layer, name in itertools.product((1, 0), range(depth, 0, -1), SCALES):
            at = laws.variables(depth, width, layer, place)
            law = getattr(self.sublayer_at(at, place), name).value
            if laws.STEP not in laws.names(law):
                continue
            value = functools.partial(self._at_step, law, at)
            last, settled = value(steps - 1), value(_FOREVER)
            if last == settled or settled != value(2 * _FOREVER):
                continue
            end = bisect.bisect_left(range(_FOREVER), True, key=lambda step: value(step) == settled)
            return (
                f"placement={self.name}: {PLACES[place]}'s {name} in block {layer} is {last:.3g} at the last "
                f"step, and would be {settled:g} at step {end}; {self._shorter(steps, end)}train.steps="
                f"{2 * end} would have it in full for half of the run"
            )
        return ""

    def _at_step(self, law: str, at: Mapping[str, float], step: int) -> float:
        return laws.value(law, {**at, **self.parameters, laws.STEP: step})

    def _shorter(self, steps: int, end: int) -> str:
        """The ramp that ends in the middle of the run, where the placement has one."""
        if "ramp" not in self.parameters:
            return ""
        return f"placement.parameters.ramp={self.parameters['ramp'] * steps / (2 * end):.3g} or "

    @property
    def common(self) -> SublayerConfig:
        """The sub-layer that the exceptions start from."""
        return SublayerConfig(**{item.name: getattr(self, item.name) for item in fields(SublayerConfig)})

    def sublayer_at(self, at: Mapping[str, float], place: int) -> SublayerConfig:
        """The record of the sub-layer `place` (0 attention, 1 feed-forward) where the laws see `at`."""
        record = self.common
        for index, exception in enumerate(self.exceptions):
            if exception.sublayer in ("both", PLACES[place]) and laws.value(
                exception.where, {**at, **self.parameters}
            ):
                record = apply(exception, record, f"placement.exceptions[{index}]")
        return record


#: A step that no run comes to.
_FOREVER = 10**9
#: The sub-layers of a block.
PLACES = ("attn", "ffn")


def apply(exception: ExceptionConfig, record: SublayerConfig, key: str) -> SublayerConfig:
    """`record` with the fields that `exception` sets.

    Raises:
        ConfigError: they contradict each other.
    """
    changes = {
        name: replace(getattr(record, name), **_texts(value)) if name in SCALES else value
        for name, value in exception.set.items()
    }
    try:
        return replace(record, **changes)
    except ConfigError as error:
        own = error.key.removeprefix("placement.")
        if own.partition(".")[0] in changes:
            raise ConfigError(f"{key}.set.{own}", error.problem) from None
        raise ConfigError(f"{key}.set", f"contradicts {error.key}, which says: {error.problem}") from None


def check_fields(exception: ExceptionConfig, key: str) -> None:
    """Refuse fields that are unknown, of another type, or mean nothing where the exception holds."""
    kinds = (*PLACES, "both")
    require_one_of(exception.sublayer, kinds, f"{key}.sublayer")
    known = {item.name: item.default for item in fields(SublayerConfig)}
    require(len(exception.set) > 0, f"{key}.set", "is empty; name what differs, e.g. {norm_in: false}")
    for name, value in exception.set.items():
        require_one_of(name, known, f"{key}.set")
        if name in SCALES:
            _check_scale_fields(value, f"{key}.set.{name}")
            continue
        before: Any = known[name]
        fits = isinstance(value, int | float if isinstance(before, float) else type(before))
        fits = fits and isinstance(value, bool) == isinstance(before, bool)
        require(fits, f"{key}.set.{name}", f"must be {_KINDS[type(before)]}, got {value}")
        if name in SUBLAYER_WORDS:
            require_one_of(value, SUBLAYER_WORDS[name], f"{key}.set.{name}")
        for place, names in ONLY_IN.items():
            ok = name not in names or exception.sublayer in (place, "both")
            require(ok, f"{key}.set.{name}", f"acts in {_NAMES[place]} alone; use sublayer: {place}")


_KINDS = {bool: "true or false", str: "a word", float: "a number"}
_NAMES = {"attn": "attention", "ffn": "the feed-forward layer"}
_LAWS = ("value", "stored")


def _check_scale_fields(value: Any, key: str) -> None:
    require(isinstance(value, Mapping), key, f"must be a mapping such as {{value: 2}}, got {value}")
    for name, part in value.items():
        require_one_of(name, [item.name for item in fields(ScaleConfig)], key)
        ok = name != "tie" or isinstance(part, bool)
        require(ok, f"{key}.tie", f"must be true or false, got {part}")
        if name in SCALE_WORDS:
            require_one_of(part, SCALE_WORDS[name], f"{key}.{name}")


def _texts(scale: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value if name == "tie" else str(value) for name, value in scale.items()}


def _check_block(attn: SublayerConfig, ffn: SublayerConfig) -> None:
    """The two sub-layers of a block against each other."""
    require(
        ffn.reads != "block" or not attn.norm_post,
        "placement.norm_post",
        "parallel sub-layers (reads=block) have one sum and no norm within it; use norm_out, or reads=x",
    )
    require(
        not ffn.shared_norm or attn.norm_in,
        "placement.shared_norm",
        "attention has no N_in to share; set placement.norm_in=true for it too",
    )
    require(
        attn.skip != "block",
        "placement.skip",
        "block would carry the stream twice in attention, which is what the block was given; set it for "
        "sublayer: ffn alone, as placement=b2t does",
    )
    for name in ("skip_scale", "branch_scale"):
        ours, theirs = getattr(attn, name), getattr(ffn, name)
        require(
            ours == theirs or "block" not in (ours.share, theirs.share),
            f"placement.{name}.share",
            "block means one scale for both sub-layers, and theirs differ; use share=sublayer",
        )

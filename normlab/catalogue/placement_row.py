"""A row of the placements' table, and what its record adds up to: norms and learned numbers a block."""

from dataclasses import dataclass

from normlab.config import PlacementConfig, SublayerConfig, laws
from normlab.config.row import Row


@dataclass(frozen=True, kw_only=True)
class PlacementRow(Row[PlacementConfig]):
    """A placement, and what its paper says of its training."""

    #: Whether it needs a warm-up as published: `yes`, `no`, or `-` where the source does not say.
    warmup: str = "-"
    #: Whether normlab's own runs do, at its defaults (12 blocks, AdamW at 2.5e-3): `-` where none tried it.
    warmup_measured: str = "-"
    #: The distribution that its gains are published on, at gain 1; empty where the source says none.
    init: str = ""
    #: The preset that is the published model.
    preset: str = ""
    #: Which part of which model its constants are for, where the source has others for others.
    architecture: str = ""

    def norms(self, depth: int = 12) -> int:
        """Norm modules on the stream and in the branches of a whole model."""
        return norms(self.config, depth)

    @property
    def facts(self) -> dict[str, str]:
        return {
            "norms a block": self.norms_per_block,
            "learned besides norms": self.extra_parameters,
            "needs warm-up, published": self.warmup,
            "needs warm-up, measured": self.warmup_measured,
        }

    @property
    def norms_per_block(self) -> str:
        """Norm modules a block, as `2`, or `2-4` where blocks differ."""
        counts = [
            sum(_norms(self.config, laws.variables(12, 64, layer, place), place) for place in (0, 1))
            for layer in range(1, 13)
        ]
        return f"{counts[0]}" if len(set(counts)) == 1 else f"{min(counts)}-{max(counts)}"

    @property
    def extra_parameters(self) -> str:
        """Learned numbers that no norm has, a block: D is the width, H the heads, F the hidden width."""
        found: dict[str, int] = {}
        for place in (0, 1):
            record = self.config.sublayer_at(laws.variables(12, 64, 12, place), place)
            for unit, count in _learned(record, place):
                found[unit] = found.get(unit, 0) + count
        if self.config.weights == "sigma_reparam":
            found["1"] = found.get("1", 0) + 4
        parts = [unit if count == 1 else _times(count, unit) for unit, count in found.items() if count]
        return " + ".join(parts) or "0"


def _learned(record: SublayerConfig, place: int) -> list[tuple[str, int]]:
    """What a sub-layer learns besides matrices and norms: how many times 1, D, H or F numbers."""
    found = [
        ({"scalar": "1", "vector": "D"}[scale.learn], 1)
        for scale in (record.skip_scale, record.branch_scale)
        if scale.learn != "none" and (place == 0 or scale.share == "sublayer")
    ]
    own: dict[int, list[tuple[str, int]]] = {
        0: [("1", record.gpas != "none"), ("H", record.head_scale + record.cosine), ("D", record.qk_scale)],
        1: [("F", record.hidden_scale)],
    }
    # Before the projections, before the activation and before the output projection.
    return [*found, *own[place], ("1", (2, 3)[place] * record.scalar_biases)]


def norms(config: PlacementConfig, depth: int) -> int:
    """Norm modules on the stream and in the branches of a whole model."""
    total = config.embedding_norm + config.final_norm + config.first_norm + config.joint_norm
    for layer in range(1, depth + 1):
        for place in (0, 1):
            total += _norms(config, laws.variables(depth, 64, layer, place), place)
    return total


def _times(count: int, unit: str) -> str:
    return str(count) if unit == "1" else f"{count}{unit}"


def _norms(config: PlacementConfig, at: dict[str, float], place: int) -> int:
    record = config.sublayer_at(at, place)
    inner = record.mid_norm + (2 * (record.qk_norm != "none") + (record.v_norm != "none")) * (place == 0)
    own_in = record.norm_in and not record.shared_norm
    return own_in + record.norm_out + record.norm_post + (record.reads == "both") + inner

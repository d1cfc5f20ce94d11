"""What a probe measures on what: its own settings, and the models it goes through."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from normlab.config import RunConfig
from normlab.errors import require, require_one_of

TOKENS = ("random", "text")


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """The settings that a probe has besides a run's. The field names are the words of the command line."""

    #: `random`: tokens and targets drawn evenly and independently; `text`: the first batch of `data`.
    tokens: str = "random"
    #: Vocabulary of random tokens; a text brings its own.
    vocab: int = 65
    #: Standard deviation of the weight noise, as a share of each matrix's own.
    noise: float = 0.01
    #: Rates of the one SGD step and the one sign step, small enough for the change to grow with them.
    sgd_lr: float = 1e-2
    sign_lr: float = 2e-5

    def __post_init__(self) -> None:
        require_one_of(self.tokens, TOKENS, "tokens")
        require(self.vocab >= 2, "vocab", f"must be 2 or more, got {self.vocab}")
        for key in ("noise", "sgd_lr", "sign_lr"):
            value = getattr(self, key)
            require(0 < value < float("inf"), key, f"must be a finite number above 0, got {value}")


#: The words of the command line that only a probe has, with their types.
WORDS: dict[str, type] = {"seeds": int} | {
    field.name: type(field.default) for field in dataclasses.fields(ProbeConfig)
}


@dataclass(frozen=True, kw_only=True)
class PlannedModel:
    """One model of a plan, apart from its seed."""

    #: What its group of models has in common: the placement and what else varies, but not the depth.
    group: Mapping[str, Any]
    config: RunConfig


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The models to measure: every cell with every seed."""

    settings: ProbeConfig
    cells: Sequence[PlannedModel]
    seeds: Sequence[int]
    #: The command's words, for the record.
    words: Sequence[str] = ()

    @property
    def groups(self) -> list[Mapping[str, Any]]:
        """Each group once, in order."""
        found: list[Mapping[str, Any]] = []
        for cell in self.cells:
            if cell.group not in found:
                found.append(cell.group)
        return found

    @property
    def depths(self) -> list[int]:
        """The depths that any group has, rising."""
        return sorted({cell.config.depth for cell in self.cells})

    def models(self) -> list[tuple[PlannedModel, RunConfig]]:
        """Every model: seed by seed, so that a probe that is stopped has whole seeds."""
        return [
            (cell, dataclasses.replace(cell.config, seed=seed)) for seed in self.seeds for cell in self.cells
        ]


def name(group: Mapping[str, Any]) -> str:
    """A group as text: `post`, or `post gain=0.5` where more varies than the placement."""
    leaves = [key.rpartition(".")[2] for key in group]
    more = []
    for key, leaf in zip(group, leaves, strict=True):
        if key != "placement":
            more.append(f"{leaf if leaves.count(leaf) == 1 else key}={group[key]}")
    return " ".join([str(group["placement"]), *more])

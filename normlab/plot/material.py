"""What figures are made from: runs in groups of replicates, with their rows as arrays, and probes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from normlab.catalogue.naming import spell
from normlab.compare.matching import Group, Grouping, Knobs, replicates
from normlab.compare.study import check_texts
from normlab.errors import UserError, nearest
from normlab.figures.columns import Columns, columns, families
from normlab.figures.loss import BANDS
from normlab.measure.families import USUAL, family
from normlab.runs.reader import Run
from normlab.terminal.wording import listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class UnfitError(UserError):
    """These runs do not give this figure; the message says what it needs."""


@dataclass(frozen=True, kw_only=True)
class PlotOptions:
    """What the figures are asked for."""

    #: The steps of `profile` and `growth`; the first, the last and powers of ten where there are none.
    steps: Sequence[int] = ()
    #: The knobs of `outcome`, and the one of `sensitivity`.
    over: Sequence[str] = ()
    #: The family by layer of `profile`, `heat` and `growth`; each has its own where this is empty.
    metric: str = ""
    #: What the band of seeds is: see `BANDS`.
    band: str = "range"
    #: Put in the place of a figure's own; empty for none.
    title: str | None = None
    #: Draw losses on different texts together all the same.
    force: bool = False

    def __post_init__(self) -> None:
        if self.metric:
            family(self.metric)
        if self.band not in BANDS:
            raise UserError(
                f"--band {self.band}: is not one of {', '.join(BANDS)}.{nearest(self.band, BANDS)}"
            )
        if any(step < 0 for step in self.steps):
            raise UserError(f"--steps {min(self.steps)}: steps count from 0")


@dataclass(kw_only=True)
class Material:
    """Runs and probes, and what they are called together."""

    name: str
    runs: Sequence[Run]
    probes: Sequence[Path] = ()
    wanted: PlotOptions = field(default_factory=PlotOptions)

    @cached_property
    def grouping(self) -> Grouping:
        """The runs that have rows, by what differs between them, whatever became of them.

        Raises:
            UnfitError: there is none.
        """
        if not self.runs:
            raise UnfitError("there is a probe here, and no run")
        # Of one run nothing is compared, so that its config may be lost.
        known = [run for run in self.runs if run.config or len(self.runs) == 1]
        there = [run for run in known if len(self.columns(run)["step"].steps)]
        if not there:
            raise UnfitError("no run has a logged step yet")
        found = replicates(there)
        notes = [*found.notes, *self._left_out(there)]
        return Grouping(knobs=found.knobs, groups=found.groups, notes=notes)

    def _left_out(self, there: Sequence[Run]) -> list[str]:
        lost = [run for run in self.runs if run not in there]
        names = listed([run.path.name for run in lost], 3)
        short = [run for run in there if run.status != "finished"]
        notes = [f"{len(lost)} runs without rows or config are left out: {names}"] if lost else []
        damaged = [run for run in self.runs if not run.config]
        notes += [f"{run.path.name}: {note}" for run in damaged[:3] for note in run.notes[:1]]
        notes += [f"{run.place}: {run.status}; drawn as far as it goes" for run in short[:3]]
        return notes + ([f"{len(short) - 3} more did not finish"] if len(short) > 3 else [])

    @cached_property
    def _columns(self) -> dict[Path, Columns]:
        return {}

    @cached_property
    def families(self) -> list[str]:
        """The families by layer that any row has."""
        ends = [row for run in self.runs for row in run.read_ends(1)]
        return families(dict.fromkeys(key for row in ends for key in row))

    def columns(self, run: Run) -> Columns:
        """The rows of a run as arrays, read once."""
        if run.path not in self._columns:
            wanted = {*USUAL, *([self.wanted.metric] if self.wanted.metric else [])}
            self._columns[run.path] = columns(run.read_rows(), wanted)
        return self._columns[run.path]

    def title(self, words: str) -> str:
        """The title of a figure: `words` and whose it is, or what is wanted."""
        return f"{words}  {self.name}" if self.wanted.title is None else self.wanted.title

    def label(self, group: Group) -> str:
        """What a group is called; a run alone by its own name."""
        return short_label(group.knobs) if group.knobs else self.name

    @property
    def floors(self) -> Mapping[str, float]:
        """The floors of the text, of the first run that has any."""
        return next((floors for run in self.runs if (floors := run.floors)), {})

    def check_one_text(self, groups: Sequence[Group]) -> None:
        """Raise a UserError if losses of different texts would stand beside each other, unless forced to."""
        runs = [run for group in groups for run in group.runs.values() if run.floors]
        check_texts(runs, force=self.wanted.force)


def short_label(knobs: Knobs) -> str:
    """`deepnorm warmup=100 lr=0.001`: last words of keys where those suffice, a placement by itself."""
    leaves = [key.rpartition(".")[2] for key in knobs]
    parts = []
    for key, leaf in zip(knobs, leaves, strict=True):
        name = leaf if leaves.count(leaf) == 1 else key
        parts.append(spell(knobs[key]) if key == "placement" else f"{name}={spell(knobs[key])}")
    return " ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Figures by their names, and what to know of them."""

    figures: Mapping[str, "Figure"]
    notes: Sequence[str] = ()

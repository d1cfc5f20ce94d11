"""`normlab compare`: run directories become the sheets of a comparison, in the form that is wanted."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from normlab.compare import axes, differences, formats, settings, tables
from normlab.compare.quantities import CAP
from normlab.compare.sheet import Sheet
from normlab.compare.study import CompareOptions, Study
from normlab.errors import UserError
from normlab.runs import wandb_runs
from normlab.runs.reader import Run, load
from normlab.terminal.wording import printable


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where runs come from."""

    #: Run directories, sweeps, folders above them, offline folders of wandb.
    paths: Sequence[Path]
    #: wandb projects, as ENTITY/PROJECT or ENTITY/PROJECT/GROUP.
    addresses: Sequence[str] = ()

    def directories(self, folder: Path) -> list[Path]:
        """The folders to read; what comes from wandb is written to `folder` first.

        Raises:
            UserError: what wandb cannot read or does not have.
        """
        here = [place for path in self.paths for place in wandb_runs.local(path, folder)]
        return here + [place for address in self.addresses for place in wandb_runs.fetch(address, folder)]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was found."""

    study: Study
    sheets: Sequence[Sheet]
    #: What to know of the figures, and what was left out.
    notes: Sequence[str]

    def record(self) -> dict[str, Any]:
        """Plain values, for JSON: the sheets by name."""
        return {
            "knobs": list(self.study.grouping.knobs),
            "baseline": dict(self.study.base),
            "metric": self.study.wanted.metric,
            "margin": self.study.wanted.margin,
            "target": self.study.wanted.target,
            "notes": list(self.notes),
            **{sheet.name: sheet.records() for sheet in self.sheets},
        }


def compare(runs: Sequence[Run], wanted: CompareOptions | None = None) -> Comparison:
    """Group, measure and test `runs`.

    Raises:
        UserError: no run is finished, the texts differ, or the baseline is none of the groups.
    """
    study = Study(runs, wanted or CompareOptions())
    sheets = [tables.losses(study), tables.outcomes(study), tables.training(study)]
    if len(study.groups) > 1:
        sheets += [differences.differences(study), *axes.sheets(study), settings.settings(study)]
    sheets.append(tables.runs(study))
    return Comparison(
        study=study,
        sheets=[sheet.printable() for sheet in sheets],
        notes=[printable(note) for note in _notes(study)],
    )


def _notes(study: Study) -> list[str]:
    notes = list(study.grouping.notes)
    if any(study.figures(run).capped for run in study.runs):
        notes.append(CAP)
    single = sum(len(each.runs) == 1 for each in study.groups)
    if single:
        whose = (
            "one seed"
            if single == len(study.groups)
            else f"{single} of {len(study.groups)} groups have one seed"
        )
        notes.append(f"{whose}: nothing can be concluded about spread; train more, as in 'seed=range(5)'")
    if len(study.groups) == 1:
        notes.append("nothing differs between these runs but the seed: there is nothing to compare")
    if "train.steps" in study.grouping.knobs:
        notes.append("the runs took different numbers of steps: a longer run has a lower loss for that alone")
    if len(study.texts) > 1:
        notes.append("the texts differ (--force): losses on different texts say nothing of the models")
    caveats = {str(run.summary["val/caveat"]) for run in study.runs if run.summary.get("val/caveat")}
    notes += [f"validation loss is {caveat}" for caveat in sorted(caveats)]
    damaged = [f"{run.place}: {note}" for run in study.runs for note in run.notes]
    return notes + damaged


def print_comparison(
    sources: Sources, wanted: CompareOptions, form: str = "", table: str = "", *, everything: bool = False
) -> None:
    """Compare the runs and print it: to people, or as `json`, `csv`, `markdown` or `latex`.

    CSV is one table: `table`, else the runs.

    Raises:
        UserError: what `load` and `compare` raise, or a `table` that there is not.
    """
    with TemporaryDirectory(prefix="normlab-") as folder:
        found = compare(load(*sources.directories(Path(folder))), wanted)
    sheets = [sheet for sheet in found.sheets if not table or sheet.name == table]
    if not sheets:
        raise UserError(
            f"--table {table}: there is none in this comparison; there are "
            + ", ".join(sheet.name for sheet in found.sheets)
        )
    if form == "json":
        sys.stdout.write(formats.as_json(found.record()) + "\n")
    elif form == "csv":
        chosen = sheets[0] if table else found.sheets[-1]
        sys.stdout.write(formats.as_csv(chosen) + "\n")
    elif form:
        write = {"markdown": formats.as_markdown, "latex": formats.as_latex}[form]
        sys.stdout.write(write(sheets, found.notes) + "\n")
    else:
        shown = [sheet for sheet in sheets if everything or table or sheet.name != "runs"]
        formats.show(shown, found.notes, Console(highlight=False), everything=everything)

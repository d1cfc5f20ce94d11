"""`normlab report`: reads runs, writes the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from normlab.compare.compare import Comparison, Sources, compare
from normlab.compare.study import CompareOptions, check_texts
from normlab.disk.whole_files import replace_file
from normlab.errors import UserError
from normlab.report import cards
from normlab.report.answer import answer
from normlab.report.contents import choose
from normlab.report.render import ReportPage, render
from normlab.runs.reader import Runs, load
from normlab.terminal.wording import counted


@dataclass(frozen=True, kw_only=True)
class PageTarget:
    """Where a page goes."""

    path: Path
    title: str = ""
    #: Replace a file that is there.
    overwrite: bool = False
    #: What the others are measured against, as for `normlab compare`.
    baseline: Sequence[str] = ()
    #: Put runs on different texts side by side.
    force: bool = False

    def check(self) -> None:
        """Raise UserError unless the file can be written."""
        if self.path.is_dir():
            raise UserError(
                f"-o {self.path}: is a folder; name a file in it, such as {self.path / 'report.html'}"
            )
        if not self.path.parent.is_dir():
            raise UserError(f"-o {self.path}: there is no folder {self.path.parent}")
        if self.path.exists() and not self.overwrite:
            raise UserError(
                f"-o {self.path}: is there already; --overwrite replaces it, or choose another name"
            )


def print_report(paths: Sequence[Path], target: PageTarget) -> None:
    """Write a page of the runs in `paths` and say where it is.

    Raises:
        UserError: a path without runs, runs on different texts, a target that is taken.
    """
    target.check()
    with TemporaryDirectory(prefix="normlab-") as folder:
        report = make(load(*Sources(paths=paths).directories(Path(folder))), target)
        content = render(report).encode()
    replace_file(target.path, content)
    count = len(report.cards)
    print(f"{target.path}: {counted(count, 'run')}, {len(content) / 1e6:.1f} MB")
    if report.contents.lacks:
        print(f"for its size it lacks {report.contents.lacks}")


def make(runs: Runs, target: PageTarget) -> ReportPage:
    """Read the runs and put together what the page says of them.

    Raises:
        UserError: the texts differ.
    """
    check_texts([run for run in runs if run.finished or run.floors], force=target.force)
    found = cards.read(runs)  # all rows, of which the comparison takes the ends
    comparison, trouble = _compared(runs, target)
    return ReportPage(
        title=target.title or _title(runs),
        answer=answer(found, comparison, trouble),
        cards=found,
        contents=choose(found),
        comparison=comparison,
    )


def words(runs: Runs, target: PageTarget) -> list[str]:
    """The question and the answer alone, a paragraph each.

    Raises:
        UserError: the texts differ.
    """
    told = make(runs, target).answer
    lines = [f"{name}: {text}" if name else text for name, text in told.lines]
    return [told.question.text, *lines, told.question.setting]


def _compared(runs: Runs, target: PageTarget) -> tuple[Comparison | None, str]:
    """The comparison; or none, and why, where no run is finished."""
    if not any(run.finished for run in runs):
        return None, "no run is finished."
    return compare(runs, CompareOptions(baseline=target.baseline, force=target.force)), ""


def _title(runs: Runs) -> str:
    """The name of the sweep or the run, else what differs."""
    if len(runs) == 1:
        return runs[0].path.resolve().name
    sweeps = {run.summary.get("sweep") for run in runs}
    name = sweeps.pop() if len(sweeps) == 1 else None
    return str(name) if name else ", ".join(key for key in runs.knobs if key != "seed") or "Replicates"

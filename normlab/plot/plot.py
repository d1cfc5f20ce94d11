"""`normlab plot`: figures of runs, sweeps and probes as files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from normlab.compare.compare import Sources
from normlab.errors import UserError
from normlab.figures import image_files
from normlab.figures.style import look
from normlab.plot.kinds import KINDS, check_kind
from normlab.plot.material import Drawn, Material, PlotOptions, UnfitError
from normlab.probe.reading import find_probes
from normlab.runs.reader import find, load
from normlab.terminal.wording import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Where figures go that have no folder of their own.
_ELSEWHERE = Path("outputs", "figures")


@dataclass(frozen=True, kw_only=True)
class FigureTarget:
    """Where figures go, and in which formats."""

    out: Path | None = None
    formats: Sequence[str] = ("png",)


def split(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The words of the command line as paths and kinds; a folder called as a kind is typed `./loss`.

    Raises:
        UserError: a word that is neither.
    """
    kinds = [word for word in words if word in KINDS]
    paths = [word for word in words if word not in KINDS]
    for word in paths:
        if not Path(word).exists() and Path(word).name == word:
            check_kind(word)
    return [Path(word) for word in paths], list(dict.fromkeys(kinds))


def plot(sources: Sources, kinds: Sequence[str], wanted: PlotOptions, output: FigureTarget) -> None:
    """Draw the `kinds`, all that fit where there are none, and print the files.

    Raises:
        UserError: no run nor probe, a figure that was asked for and cannot be made, a file in the way.
            Nothing is written then.
    """
    with TemporaryDirectory(prefix="normlab-") as folder, look():
        material = _material(sources, Path(folder), wanted)
        drawn, unfit = _draw(material, kinds)
        figures = {name: figure for each in drawn for name, figure in each.figures.items()}
        targets = image_files.targets(output.out or _home(sources.paths), list(figures), output.formats)
        _write(figures, targets)
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    for _, _, path in targets:
        console.print(Text(printable(str(path))), soft_wrap=True)
    for note in dict.fromkeys(note for each in drawn for note in each.notes):
        errors.print(Text(f"note: {printable(note)}", "yellow"), soft_wrap=True)
    if unfit:
        errors.print(Text(f"not for these: {', '.join(unfit)}; named, each says what it needs", "dim"))


def _material(sources: Sources, folder: Path, wanted: PlotOptions) -> Material:
    """The runs and probes of all sources.

    Raises:
        RunDirectoryError: a path that is not there, or holds neither.
    """
    probes = {path: list(find_probes(path)) for path in sources.paths}
    # A folder of probes alone holds no run, and that is no error.
    with_runs = [path for path in sources.paths if not probes[path] or next(find(path), None) is not None]
    directories = Sources(paths=with_runs, addresses=sources.addresses).directories(folder)
    names = [*map(str, sources.addresses), *(path.resolve().name for path in sources.paths)]
    runs = list(load(*directories))
    name = names[0] if len(names) == 1 else f"{len(runs)} runs"
    return Material(name=name, runs=runs, probes=list(chain(*probes.values())), wanted=wanted)


def _draw(material: Material, kinds: Sequence[str]) -> tuple[list[Drawn], Mapping[str, str]]:
    """The figures that are wanted, all that fit where none is named; and why others do not."""
    if kinds:
        return [KINDS[name].draw(material) for name in kinds], {}
    drawn: list[Drawn] = []
    unfit: dict[str, str] = {}
    for name, kind in KINDS.items():
        try:
            drawn.append(kind.draw(material))
        except UnfitError as error:
            unfit[name] = str(error)
    if not drawn:
        raise UserError(
            "nothing can be drawn of this:\n" + "\n".join(f"  {k}: {v}" for k, v in unfit.items())
        )
    return drawn, unfit


def _home(paths: Sequence[Path]) -> Path:
    """`figures/` in the folder that is drawn; of several, `outputs/figures`."""
    return paths[0] / "figures" if len(paths) == 1 and paths[0].is_dir() else _ELSEWHERE


def _write(figures: Mapping[str, "Figure"], targets: Sequence[tuple[str, str, Path]]) -> None:
    for name, form, path in targets:
        image_files.write(figures[name], form, path)

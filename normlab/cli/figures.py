"""The commands that draw runs: `normlab plot` into files, `normlab show` on the terminal."""

from pathlib import Path
from typing import Annotated

import typer

from normlab.cli.finished_runs import refusals
from normlab.cli.page import draw
from normlab.errors import UserError


def _complete_kind(incomplete: str) -> list[str]:
    from normlab.plot.kinds import KINDS

    folders = [f"{path}/" for path in sorted(Path().glob(f"{incomplete}*")) if path.is_dir()]
    return [*(name for name in KINDS if name.startswith(incomplete)), *folders]


def _complete_metric() -> list[str]:
    from normlab.measure.families import FAMILIES

    return list(FAMILIES)


def plot(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="RUN_OR_SWEEP... [KIND]...", autocompletion=_complete_kind)
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE_OR_DIR")] = None,
    formats: Annotated[str, typer.Option("--format", autocompletion=lambda: ["png", "svg", "pdf"])] = "png",
    steps: Annotated[str, typer.Option("--steps")] = "",
    over: Annotated[str, typer.Option("--over")] = "",
    metric: Annotated[str, typer.Option("--metric", autocompletion=_complete_metric)] = "",
    band: Annotated[str, typer.Option("--band", autocompletion=lambda: ["range", "ci"])] = "range",
    title: Annotated[str | None, typer.Option("--title")] = None,
    force: Annotated[bool, typer.Option("--force")] = False,
    wandb: Annotated[list[str] | None, typer.Option("--wandb", metavar="ENTITY/PROJECT[/GROUP]")] = None,
    help_: Annotated[bool, typer.Option("--help", "-h")] = False,
) -> None:
    """Draw runs, sweeps and probes as figures for print: PNG, SVG and PDF."""
    if help_:
        from normlab.cli.pages_runs import plot_page

        draw(plot_page())
        return
    with refusals():
        from normlab.compare.compare import Sources
        from normlab.figures import image_files
        from normlab.plot.material import PlotOptions
        from normlab.plot.plot import FigureTarget, split
        from normlab.plot.plot import plot as draw_figures

        paths, kinds = split(words or [])
        if not paths and not wandb:
            raise UserError("which runs? Give run directories or sweeps; normlab runs lists them")
        wanted = PlotOptions(
            steps=_numbers(steps),
            over=[word for word in over.split(",") if word],
            metric=metric,
            band=band,
            title=title,
            force=force,
        )
        output = FigureTarget(out=out, formats=image_files.formats(formats))
        draw_figures(Sources(paths=paths, addresses=wandb or []), kinds, wanted, output)


def _numbers(words: str) -> list[int]:
    try:
        return [int(word) for word in words.split(",") if word]
    except ValueError:
        raise UserError(f"--steps {words}: give whole numbers with commas between, as in 1,10,100") from None


def show(
    run_dir: Annotated[
        Path, typer.Argument(metavar="RUN_DIR", help="The run's folder, for instance outputs/runs/...")
    ],
    width: Annotated[
        int | None, typer.Option("--width", help="Columns, where the terminal's are not wanted.")
    ] = None,
) -> None:
    """Show a run on the terminal: the loss with floors and events, gradient and stream by layer, events."""
    from normlab.runs.show import print_run

    with refusals():
        print_run(run_dir, width)


def register(app: typer.Typer) -> None:
    """Put the commands among those of `app`."""
    app.command(add_help_option=False)(plot)
    app.command()(show)

"""The commands that read runs: `normlab compare`, `report`, `runs`, `sync` and `workspace`."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from normlab.cli.page import draw
from normlab.errors import UserError, shown


def _complete_metric() -> list[str]:
    from normlab.compare.quantities import QUANTITIES

    return list(QUANTITIES)


_Words = list[str] | None
#: What is wrong with a path that was given, not with the disk.
_PATHS = {
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
}


def compare(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="RUN_OR_SWEEP...")] = None,
    baseline: Annotated[_Words, typer.Option("--baseline", metavar="KEY=VALUE")] = None,
    metric: Annotated[str, typer.Option("--metric", autocompletion=_complete_metric)] = "val/final",
    margin: Annotated[float, typer.Option("--margin")] = 0.02,
    target: Annotated[float | None, typer.Option("--target")] = None,
    table: Annotated[str, typer.Option("--table")] = "",
    everything: Annotated[bool, typer.Option("--all")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
    as_csv: Annotated[bool, typer.Option("--csv")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown")] = False,
    as_latex: Annotated[bool, typer.Option("--latex")] = False,
    force: Annotated[bool, typer.Option("--force")] = False,
    wandb: Annotated[_Words, typer.Option("--wandb", metavar="ENTITY/PROJECT[/GROUP]")] = None,
    help_: Annotated[bool, typer.Option("--help", "-h")] = False,
) -> None:
    """Compare finished runs: losses, outcomes, gradients, and what of it is more than chance."""
    if help_:
        from normlab.cli.pages_runs import compare_page

        draw(compare_page())
        return
    forms = {"json": as_json, "csv": as_csv, "markdown": as_markdown, "latex": as_latex}
    with refusals():
        if not paths and not wandb:
            raise UserError("which runs? Give run directories or sweeps; normlab runs lists them")
        chosen = [name for name, wanted in forms.items() if wanted]
        if len(chosen) > 1:
            raise UserError(f"--{' and --'.join(chosen)}: choose one")
        from normlab.compare.compare import Sources, print_comparison
        from normlab.compare.study import CompareOptions

        wanted = CompareOptions(
            baseline=baseline or [], metric=metric, margin=margin, target=target, force=force
        )
        sources = Sources(paths=paths or [], addresses=wandb or [])
        print_comparison(sources, wanted, "".join(chosen), table, everything=everything)


def report(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="RUN_OR_SWEEP...")] = None,
    out: Annotated[Path, typer.Option("--out", "-o")] = Path("report.html"),
    title: Annotated[str, typer.Option("--title")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite")] = False,
    baseline: Annotated[_Words, typer.Option("--baseline", metavar="KEY=VALUE")] = None,
    force: Annotated[bool, typer.Option("--force")] = False,
    to_wandb: Annotated[bool, typer.Option("--to-wandb")] = False,
    project: Annotated[str | None, typer.Option("--project")] = None,
    entity: Annotated[str | None, typer.Option("--entity")] = None,
    help_: Annotated[bool, typer.Option("--help", "-h")] = False,
) -> None:
    """Write one HTML page of runs: what came out, curves, heat maps, events, how to make each again."""
    if help_:
        from normlab.cli.pages_runs import report_page

        draw(report_page())
        return
    with refusals():
        if not paths:
            raise UserError("which runs? Give run directories or sweeps; normlab runs lists them")
        from normlab.report.report import PageTarget, print_report, words

        target = PageTarget(path=out, title=title, overwrite=overwrite, baseline=baseline or [], force=force)
        if not to_wandb:
            print_report(paths, target)
            return
        from normlab.runs.reader import load
        from normlab.runs.wandb_workspace import WandbProject, save_report

        runs = load(*paths)
        typer.echo(save_report(runs, WandbProject(entity=entity, project=project), words(runs, target)))


def runs(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DIR] [KEY=VALUE]...",
            help="Where to look, outputs/ unless said; and which runs: outcome=stuck placement=post,pre",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list and nothing else")] = False,
) -> None:
    """List the runs there are, newest first, with what became of them."""
    from normlab.runs.run_list import print_runs

    filters = [word for word in words or [] if "=" in word]
    folders = [Path(word) for word in words or [] if "=" not in word]
    with refusals():
        print_runs(folders or [Path("outputs")], filters, as_json=as_json)


def sync(
    paths: Annotated[list[Path], typer.Argument(metavar="RUN_OR_SWEEP...", help="Run directories, sweeps")],
    project: Annotated[
        str | None, typer.Option("--project", help="Another project than the runs' own")
    ] = None,
    entity: Annotated[str | None, typer.Option("--entity", help="Another entity than the runs' own")] = None,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Make folders that wandb sync uploads, without a server or a key"),
    ] = False,
) -> None:
    """Send runs to wandb that were made offline or without it: rows, events, pictures, summary.

    The same again sends only what is new. Exit code: 0 done, 1 a run did not get there, 2 bad input.
    """
    with refusals():
        from normlab.runs.sync import SyncTarget
        from normlab.runs.sync import sync as send

        failed = send(paths, SyncTarget(project=project, entity=entity, offline=offline))
        if failed:
            raise typer.Exit(1)


workspace = typer.Typer(no_args_is_help=True, help="The comparison of runs as a saved view in wandb.")


@workspace.callback()
def _workspace() -> None:
    pass


@workspace.command()
def create(
    paths: Annotated[list[Path], typer.Argument(metavar="RUN_OR_SWEEP...", help="Run directories, sweeps")],
    project: Annotated[
        str | None, typer.Option("--project", help="Another project than the runs' own")
    ] = None,
    entity: Annotated[str | None, typer.Option("--entity", help="Another entity than the runs' own")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what would be sent, and send nothing; needs no key")
    ] = False,
) -> None:
    """Make a saved view of these runs in wandb: losses with floors, layers, events, grouped by what differs.

    Send the runs there first, with normlab sync. Needs pip install 'normlab\\[wandb-workspace]'.
    """
    with refusals():
        from normlab.runs.reader import load
        from normlab.runs.wandb_workspace import WandbProject, save_workspace, spec

        place, runs = WandbProject(entity=entity, project=project), load(*paths)
        if as_json:
            import json

            typer.echo(json.dumps(spec(runs, place), indent=1))
        else:
            typer.echo(save_workspace(runs, place))


@contextmanager
def refusals() -> Iterator[None]:
    """Bad input as one message and exit code 2, a disk that fails as 1."""
    try:
        yield
    except UserError as error:
        typer.echo(f"error: {shown(error)}", err=True)
        raise typer.Exit(2) from None
    except OSError as error:
        if error.filename is None:
            raise
        typer.echo(f"error: {shown(error.filename)}: {error.strerror}", err=True)
        raise typer.Exit(2 if error.errno in _PATHS else 1) from None


def register(app: typer.Typer) -> None:
    """Put the commands among those of `app`."""
    app.command(add_help_option=False)(compare)
    app.command(add_help_option=False)(report)
    app.command()(runs)
    app.command()(sync)
    app.add_typer(workspace, name="workspace")

"""`normlab sweep ...`; what a command does is imported when it runs, as in `cli/app.py`."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from normlab.cli.page import draw
from normlab.errors import UserError, shown

app = typer.Typer(rich_markup_mode="rich")


def _show_help(wanted: bool) -> None:
    if wanted:
        from normlab.cli.pages_runs import sweep_page

        draw(sweep_page())
        raise typer.Exit


@app.callback(invoke_without_command=True, add_help_option=False)
def _sweep(
    context: typer.Context,
    help_: Annotated[
        bool, typer.Option("--help", "-h", is_eager=True, callback=_show_help, hidden=True)
    ] = False,
) -> None:
    _show_help(context.invoked_subcommand is None)


def _complete(context: typer.Context, incomplete: str) -> list[str]:
    from normlab.cli.complete import complete

    folders = [f"--config-dir={folder}" for folder in context.params.get("config_dir") or []]
    return complete([*folders, *(context.params.get("words") or [])], incomplete)


def _complete_critical(context: typer.Context, incomplete: str) -> list[str]:
    from normlab.cli.complete import critical_words

    return [*critical_words(incomplete), *_complete(context, incomplete)]


@app.command()
def status(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The sweep's folder, for instance outputs/sweeps/NAME")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """How far a sweep has come: jobs, time left, outcomes. On a terminal it goes on while the sweep does."""
    from normlab.sweep.status import print_status

    try:
        print_status(directory, as_json=as_json)
    except UserError as error:
        print(f"error: {shown(error)}", file=sys.stderr)
        raise typer.Exit(2) from None


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def plan(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="As for normlab train -m", autocompletion=_complete),
    ] = None,
    config_dir: Annotated[list[str] | None, typer.Option("--config-dir", "-cd")] = None,
) -> None:
    """What normlab train -m with these words would do: jobs, what is done already, parameters, time, disk.

    Every name and value of every job is checked; nothing is trained but a few steps to time them.
    """
    from normlab.launch import plan as plan_sweep

    flags = [f"--config-dir={folder}" for folder in config_dir or []]
    raise typer.Exit(plan_sweep([*flags, *(words or []), *context.args]))


@app.command(
    "critical-lr",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def critical_lr(
    context: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", autocompletion=_complete_critical)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
    config_dir: Annotated[list[str] | None, typer.Option("--config-dir", "-cd")] = None,
    help_: Annotated[bool, typer.Option("--help", "-h")] = False,
) -> None:
    """The largest learning rate at which each variant trains, by bisection."""
    if help_:
        from normlab.cli.pages import critical_page

        draw(critical_page())
        return
    from normlab.compare.critical import print_critical
    from normlab.launch import critical_lr as search

    flags = [f"--config-dir={folder}" for folder in config_dir or []]
    with _aside() if as_json else nullcontext():
        found = search([*flags, *(words or []), *context.args])
    if found.directory is not None:
        print_critical(found.variants, found.record(), found.directory, as_json=as_json)
    if found.code and found.directory is not None:
        print(f"to go on: {found.resume_command}", file=sys.stderr)
    raise typer.Exit(found.code)


@contextmanager
def _aside() -> Iterator[None]:
    """What this process and its children print goes to standard error meanwhile."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)

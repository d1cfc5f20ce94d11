"""The command line: commands and help. What a command does is imported when it runs: help must be quick."""

import atexit
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast

import typer

from normlab.cli import figures, finished_runs, sweep
from normlab.cli.finished_runs import refusals
from normlab.cli.page import draw
from normlab.errors import UserError, nearest, quoted, shown
from normlab.machine import ranks
from normlab.terminal.screen import open_missing

app = typer.Typer(
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
#: What Typer raises for words that no command takes.
_UsageError = cast(type[Exception], typer.BadParameter.__bases__[0])

app.add_typer(sweep.app, name="sweep", help="Plan a sweep, or see how far one has come.")


def main() -> None:
    """The `normlab` command."""
    open_missing()
    try:
        _main()
    except SystemExit as end:
        if ranks.size() == 1 and not ranks.met:
            raise
        _leave(end.code if isinstance(end.code, int) else int(bool(end.code)))


def _leave(code: int) -> None:
    """End without taking the interpreter down, after all that waits for the end.

    Threads of gloo outlive a run of several processes; one that asks for the interpreter while it goes down
    would abort the process.
    """
    atexit._run_exitfuncs()
    sys.stderr.flush()
    _flush()
    os._exit(code)


def _main() -> None:
    try:
        code = app(prog_name="normlab", standalone_mode=False)
    except _UsageError as error:
        print(f"error: {shown(_explained(error))}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.filename is not None or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        _unwritable(error)
    finally:
        _flush()
    sys.exit(code if isinstance(code, int) else 0)


def _explained(error: Any) -> str:
    """What is wrong with the words after `normlab`, on one line, with the nearest that would do."""
    context, message = error.ctx, error.format_message()
    path = context.command_path if context else "normlab"
    if hasattr(error, "possibilities"):
        options = [option for each in context.command.params for option in each.opts]
        message = f"there is no option {quoted(error.option_name)}.{nearest(error.option_name, options)}"
    elif found := re.match(r"No such command '(.*?)'", message, re.DOTALL):
        commands = context.command.list_commands(context)
        message = f"there is no command {quoted(found[1])}.{nearest(found[1], commands)}"
    end = "" if message.endswith("?") else "."
    return f"{message.rstrip('.')}{end} See {path} --help"


def _flush() -> None:
    """A reader that has left, as in `normlab list | head`, is no error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard()
    except OSError as error:
        _unwritable(error)


def _discard() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unwritable(error: OSError) -> NoReturn:
    _discard()
    print(f"error: the output cannot be written: {error.strerror}", file=sys.stderr)
    sys.exit(1)


def _show_main_help(wanted: bool) -> None:
    if wanted:
        from normlab.cli.pages import main_page

        draw(main_page())
        raise typer.Exit


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"normlab {version('normlab')}")
        raise typer.Exit


@app.callback(invoke_without_command=True, add_help_option=False)
def _normlab(
    context: typer.Context,
    help_: Annotated[
        bool, typer.Option("--help", "-h", is_eager=True, callback=_show_main_help, hidden=True)
    ] = False,
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_show_version)] = False,
) -> None:
    if context.invoked_subcommand is None:
        _show_main_help(True)


def _complete_train(context: typer.Context, incomplete: str) -> list[str]:
    from normlab.cli.complete import complete

    folders = [f"--config-dir={folder}" for folder in context.params.get("config_dir") or []]
    return complete([*folders, *(context.params.get("words") or [])], incomplete)


@app.command(
    add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def train(
    context: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[FLAGS] [KEY=VALUE]...", autocompletion=_complete_train)
    ] = None,
    multirun: Annotated[bool, typer.Option("--multirun")] = False,
    cfg: Annotated[str | None, typer.Option("--cfg", autocompletion=lambda: ["job", "hydra", "all"])] = None,
    config_dir: Annotated[list[str] | None, typer.Option("--config-dir")] = None,
    hydra_help: Annotated[bool, typer.Option("--hydra-help")] = False,
    help_: Annotated[bool, typer.Option("--help")] = False,
) -> None:
    """Train one model, or with -m a sweep."""
    # The long flags are declared so that shells complete them; the short ones pass through among the words.
    flags = ["--multirun"] * multirun + ["--hydra-help"] * hydra_help
    flags += [f"--cfg={cfg}"] if cfg is not None else []
    flags += [f"--config-dir={folder}" for folder in config_dir or []]
    typed = [*flags, *(words or []), *context.args]
    if help_ or "-h" in typed:
        from normlab.cli.pages import train_page

        draw(train_page())
        return
    if "--version" in typed:
        _show_version(True)
    from normlab.launch import launch

    raise typer.Exit(launch(typed))


@app.command(
    add_help_option=False,
    # Everything from the first override on is taken as typed: what follows --against is the other config.
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
    },
)
def describe(
    context: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", autocompletion=_complete_train)
    ] = None,
    against: Annotated[list[str] | None, typer.Option("--against", autocompletion=_complete_train)] = None,
    config_dir: Annotated[list[str] | None, typer.Option("--config-dir")] = None,
    vocab: Annotated[str | None, typer.Option("--vocab")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
    help_: Annotated[bool, typer.Option("--help", "-h")] = False,
) -> None:
    """Tell what a config is and costs, without training it; or what differs between two."""
    typed = [*(words or []), *context.args]
    if help_ or {"--help", "-h"} & set(typed):
        from normlab.cli.pages import describe_page

        draw(describe_page())
        return
    if "--version" in typed:
        _show_version(True)
    # What stood before the first override, put back in front; the others say --against among their words.
    flags = ["--json"] * as_json + ([f"--vocab={vocab}"] if vocab is not None else [])
    flags += [f"--config-dir={folder}" for folder in config_dir or []]
    flags += [word for other in against or [] for word in ("--against", other)]
    from normlab.describe import print_description

    try:
        print_description([*flags, *typed])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


def _complete_probe(context: typer.Context, incomplete: str) -> list[str]:
    from normlab.cli.complete import probe_words

    return [*probe_words(incomplete), *_complete_train(context, incomplete)]


@app.command(add_help_option=False)
def probe(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", autocompletion=_complete_probe)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o")] = None,
    config_dir: Annotated[list[str] | None, typer.Option("--config-dir", "-cd")] = None,
    help_: Annotated[bool, typer.Option("--help", "-h")] = False,
) -> None:
    """Measure how models behave with depth before any training."""
    if help_:
        from normlab.cli.pages import probe_page

        draw(probe_page())
        return
    from normlab.launch import probe as run_probe

    flags = [f"--config-dir={folder}" for folder in config_dir or []]
    raise typer.Exit(run_probe([*flags, *(words or [])], out, as_json=as_json))


def _show_resume_help(wanted: bool) -> None:
    if wanted:
        from normlab.cli.pages_runs import resume_page

        draw(resume_page())
        raise typer.Exit


@app.command(add_help_option=False)
def resume(
    run_dir: Annotated[
        Path, typer.Argument(metavar="RUN_DIR", help="The run's folder, for instance outputs/runs/...")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="What is to change, for instance train.steps=600"),
    ] = None,
    help_: Annotated[
        bool, typer.Option("--help", "-h", is_eager=True, callback=_show_resume_help, hidden=True)
    ] = False,
) -> None:
    """Continue a run from its last checkpoint, as if it had never stopped."""
    from normlab.launch import resume as resume_run

    raise typer.Exit(resume_run(run_dir, overrides or []))


def _complete_thresholds(context: typer.Context, incomplete: str) -> list[str]:
    from normlab.cli.complete import complete_thresholds

    return complete_thresholds(context.params.get("overrides") or [], incomplete)


@app.command()
def replay(
    run_dir: Annotated[
        Path, typer.Argument(metavar="RUN_DIR", help="The run's folder, for instance outputs/runs/...")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[divergence.KEY=VALUE]...",
            help="Other thresholds, for instance divergence.spike.z=6: normlab list detectors",
            autocompletion=_complete_thresholds,
        ),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Replace the run's events and outcome; the old ones are kept.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Look for events in a run's rows once more, with its own thresholds or others; trains nothing."""
    from normlab.runs.replay_view import print_replay

    with refusals():
        print_replay(run_dir, overrides or [], write=write, as_json=as_json)


@app.command()
def explain(
    run_dir: Annotated[
        Path, typer.Argument(metavar="RUN_DIR", help="The run's folder, for instance outputs/runs/...")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Say in plain words what became of a run, why, and what cures it; reads its files, trains nothing."""
    from normlab.explain.page import print_explanation

    with refusals():
        print_explanation(run_dir, as_json=as_json)


finished_runs.register(app)
figures.register(app)


def _complete_list() -> list[str]:
    from normlab.cli.listing import TABLES

    return list(TABLES)


@app.command("list")
def list_(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[WHAT]",
            help="Which table, for instance norms or placements; without it, what tables there are.",
            autocompletion=_complete_list,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list and nothing else.")] = False,
) -> None:
    """Print what can be chosen: names, meanings, equations, sources."""
    from normlab.cli.listing import print_list

    try:
        print_list(what, as_json)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None

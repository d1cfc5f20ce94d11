"""`normlab train`, `normlab resume` and `normlab probe`: from words to an exit code."""

import errno
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra

from normlab import sweep
from normlab.catalogue import groups
from normlab.compose import flags, messages, resolvers, user_files
from normlab.compose.saved_config import from_plain, load_config
from normlab.config import RunConfig
from normlab.disk.whole_files import is_full
from normlab.errors import RunDirectoryError, UserError, shown
from normlab.launch import preflight, probe_plan, stopping
from normlab.launch.run_log import logged, tell
from normlab.launch.signals import (
    FAILED,
    OK,
    REFUSED,
    SIGNALLED,
    Interrupted,
    import_forecast,
    import_probe,
    import_run,
    import_workers,
    terminable,
)
from normlab.launch.task import train
from normlab.machine import ranks
from normlab.rundir.folders import check_directory
from normlab.sweep import plan as plan_view
from normlab.terminal.screen import mirrored

#: What is wrong with a folder's path, rather than with the disk.
_NO_SUCH_PLACE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)
#: Flags with which `normlab train` trains nothing.
_SHOWING = {"--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help"}


@mirrored()
def launch(argv: Sequence[str]) -> int:
    """Run what `normlab train ARGV` means; returns the exit code."""
    return _ranked(lambda: _launch(argv), shows=not _SHOWING.isdisjoint(argv))


def _ranked(action: Callable[[], int], *, shows: bool = False) -> int:
    """The exit code of rank 0's `action`, with which the others help; nobody waits for what only shows."""
    try:
        ranks.check()
    except UserError as error:
        return _refuse(str(error))
    if ranks.rank():
        return OK if shows else guarded(_help, ())
    with _leading():
        return action()


def _launch(argv: Sequence[str]) -> int:
    resolvers.restart_clock()
    try:
        words = flags.split(argv)
        _check_config_dir(words)
        _check_ranks(words)
    except UserError as error:
        return _refuse(str(error))

    def resume_command(directory: Path) -> str:
        return _resume_command(words, directory)

    session = preflight.Session(resume_command=resume_command)
    code = _guarded(lambda: _hydra(words, session), words.overrides, session)
    if session.sweep is not None and code != REFUSED:
        errors = {directory: messages.describe(error) for directory, error in session.failures.items()}
        bad = sweep.finish(session.sweep, session.planned, errors, resume_command(session.sweep))
        return code or (FAILED if bad else OK)
    if session.failures and code == OK:
        return REFUSED if all(isinstance(error, UserError) for error in session.failures.values()) else FAILED
    return code


def plan(argv: Sequence[str]) -> int:
    """Tell what the sweep `normlab train -m ARGV` would do, without doing it; returns the exit code."""
    return guarded(lambda: _plan(argv), argv)


def _plan(argv: Sequence[str]) -> int:
    session = planned(argv)
    plan_view.print_plan(session.planned, session.standings, import_forecast().forecast)
    return OK


def planned(argv: Sequence[str]) -> preflight.Session:
    """The jobs of the sweep `normlab train -m ARGV`, each checked and none begun.

    Raises:
        UserError: words that cannot be used, or of a sweep that does not know its jobs beforehand.
    """
    session = preflight.Session(dry=True)
    with suppress(preflight.Dry):
        _hydra(_of_sweep(argv), session)
    if not session.planned:
        raise UserError(
            "only sweeps of Hydra's own sweeper can be planned: it alone knows its jobs beforehand"
        )
    return session


def attempt(argv: Sequence[str], session: preflight.Session) -> None:
    """Run the trials of `session` as the jobs of the sweep `normlab train -m ARGV`.

    Raises:
        Interrupted: a signal ended one of them.
    """
    with suppress(preflight.Dry):  # all are finished
        _hydra(_of_sweep(argv), session)


def _of_sweep(argv: Sequence[str]) -> flags.Words:
    words = flags.split(argv if {"-m", "--multirun"} & set(argv) else ["--multirun", *argv])
    _check_config_dir(words)
    return words


@mirrored()
def resume(directory: Path, overrides: Sequence[str]) -> int:
    """Continue the run in `directory` from its last checkpoint; returns the exit code."""
    return _ranked(lambda: guarded(lambda: _resume(directory, overrides), overrides))


def _help() -> int:
    """Train what rank 0 trains, if it comes to that."""
    workers = import_workers()
    task = workers.wait_for_task()
    if task is None:
        return OK
    checkpoint = task["checkpoint"]
    stopped_by = workers.help_train(from_plain(task["config"]), Path(checkpoint) if checkpoint else None)
    return OK if stopped_by is None else SIGNALLED + int(stopped_by)


@contextmanager
def _leading() -> Iterator[None]:
    """Whatever becomes of the command, the other ranks do not wait for ever."""
    try:
        yield
    finally:
        if ranks.size() > 1 and (ranks.has_agent() or "normlab.training.world" in sys.modules):
            import_workers().dismiss()


def _check_ranks(words: flags.Words) -> None:
    if ranks.size() > 1 and "--multirun" in words.flags:
        raise UserError(
            "torchrun trains one run on several processes; a sweep starts its jobs itself, and with "
            "train.processes=2 each of them on two"
        )


def probe(argv: Sequence[str], directory: Path | None = None, *, as_json: bool = False) -> int:
    """Measure the models that `normlab probe ARGV` means; returns the exit code."""
    # Without the words: a plan explains its errors by the words of the model concerned.
    return guarded(lambda: _probe(argv, directory, as_json), ())


def _probe(argv: Sequence[str], directory: Path | None, as_json: bool) -> int:
    words = flags.split(argv)
    _check_config_dir(words)
    folder = words.value("--config-dir")
    plan = probe_plan.plan(words.overrides, Path(folder) if folder else None)
    directory = directory or probe_plan.default_directory(plan, datetime.now())
    check_directory(directory)
    stopped_by = import_probe().run(plan, directory, as_json=as_json)
    return OK if stopped_by is None else SIGNALLED + int(stopped_by)


def _resume(directory: Path, overrides: Sequence[str]) -> int:
    config = load_config(_config_file(directory), overrides)
    with logged(directory):
        return _resume_logged(config, directory)


def _resume_logged(config: RunConfig, directory: Path) -> int:
    run = import_run()
    try:
        summary = run.resume(config, directory)
    except UserError:
        raise
    except Exception as error:
        if preflight.wants_raw():
            raise
        tell(error, directory)
        return FAILED
    return SIGNALLED + int(summary["signal"]) if summary["status"] == "interrupted" else OK


def _config_file(directory: Path) -> Path:
    path = directory / "config.yaml"
    if not path.is_file():
        why = "there is no config.yaml in it" if directory.is_dir() else "there is no such folder"
        if (directory / sweep.FILE).exists():
            why = "it is a sweep; give one of the folders in it"
        raise RunDirectoryError(f"{directory} holds no run: {why}")
    return path


def _hydra(words: flags.Words, session: preflight.Session) -> int:
    folder = words.value("--config-dir")
    user_files.check(words.overrides, Path(folder) if folder else None)
    task = hydra.main(version_base="1.3", config_path=str(groups.conf_dir()), config_name="config")(train)
    with _hydra_globals(["normlab train", *words.argv()]), preflight.known_to_hydra(session):
        try:
            with stopping.patient(session.elsewhere):
                task()
        except Exception as error:
            if session.raw or session.sweep is None:
                raise
            print(f"error: the launcher stopped: {messages.describe(error)}", file=sys.stderr)
            return FAILED
    return OK


def _resume_command(words: flags.Words, directory: Path) -> str:
    """The command that goes on with a sweep: the same, with its folder. What failed, it leaves."""
    own = ("sweep.name=", "sweep.retry=")
    typed = [word for word in words.overrides if not word.startswith(own)]
    if not any(word.startswith("hydra.sweep.dir=") for word in typed):
        typed.append(f"sweep.name={directory.name}")
    given = ["-m" if flag == "--multirun" else flag for flag in words.flags]
    return shlex.join(["normlab", "train", *given, *typed])


@mirrored()
def guarded(
    action: Callable[[], int], overrides: Sequence[str], session: preflight.Session | None = None
) -> int:
    """The exit code of a command's `action`, its errors told in one message."""
    return _guarded(action, overrides, session or preflight.Session())


def _guarded(action: Callable[[], int], overrides: Sequence[str], session: preflight.Session) -> int:
    """The exit code of `action`, its errors told in one message."""
    raw = session.raw
    try:
        with terminable():
            return action()
    except (Interrupted, KeyboardInterrupt) as stop:
        if not session.take_back():
            print("interrupted before the first step", file=sys.stderr)
        return SIGNALLED + (stop.signal if isinstance(stop, Interrupted) else signal.SIGINT)
    except preflight.Refused as refusal:
        cause = refusal.__cause__
        if isinstance(cause, OSError) and cause.errno is not None and not raw:
            _refuse(messages.of_disk(cause))
            return REFUSED if is_full(cause) or cause.errno in _NO_SUCH_PLACE else FAILED
        if refusal.__cause__ is not None:
            raise refusal.__cause__ from None
        return _refuse(str(refusal))
    except (*messages.KNOWN, ValueError) as error:
        if raw or not messages.is_known(error):
            raise
        return _refuse(messages.explain(error, overrides))
    except BrokenPipeError:
        raise
    except OSError as error:  # from the folders and files that Hydra makes
        if raw:
            raise
        session.take_back()
        return _refuse(messages.of_disk(error))


def _refuse(message: str) -> int:
    print(f"error: {shown(message)}", file=sys.stderr)
    return REFUSED


def _check_config_dir(words: flags.Words) -> None:
    folder = words.value("--config-dir")
    if folder is not None and not Path(folder).is_dir():
        raise UserError(f"--config-dir {folder}: there is no such folder")


@contextmanager
def _hydra_globals(argv: list[str]) -> Iterator[None]:
    """Hydra reads sys.argv, sets up logging and keeps itself in a global; all is put back.

    Its switch for raising errors instead of printing them is set meanwhile.
    """
    root = logging.getLogger()
    handlers, level, old_argv, old_raw = root.handlers[:], root.level, sys.argv, os.environ.get(preflight.RAW)
    GlobalHydra.instance().clear()
    sys.argv, os.environ[preflight.RAW] = argv, "1"
    try:
        yield
    finally:
        sys.argv = old_argv
        os.environ.pop(preflight.RAW) if old_raw is None else os.environ.update({preflight.RAW: old_raw})
        for handler in set(root.handlers) - set(handlers):
            handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
        GlobalHydra.instance().clear()

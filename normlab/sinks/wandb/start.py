"""How a run of wandb begins: online, offline or not at all, without a question and without a long wait."""

import atexit
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

from normlab.config import TrackerConfig
from normlab.rundir.opening import Opening
from normlab.sinks.wandb.mirror import words

#: Seconds to reach the server at the start, and to finish the upload at the end.
#: (With an alert on the way to a server that is gone, wandb 0.31 heeds no `finish_timeout`.) The first is
#: less than the 10 s that a start may lose: wandb then has to be torn down and opened again, offline.
INIT_TIMEOUT = 5.0
FINISH_TIMEOUT = 60.0
#: The latter where nothing else waits for it.
REPLAY_TIMEOUT = 600.0
#: Seconds for a wandb that has failed to clean up.
GRACE = 5.0
#: What wandb allows for names and tags, in characters.
_NAME, _TAG = 128, 64

#: What WANDB_MODE may say, and what it means; `dryrun` and `run` are wandb's old words.
_MODES = {
    "": "auto",
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}
#: wandb is told its mode, and fails at a word it does not know.
_MODE = ("WANDB_MODE",)
#: What `wandb agent` gives the one run that it knows of. Every job of a sweep is a run of its own.
_OF_AN_AGENT = ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RESUME")
#: Folders that `find_room` has named, for one run after the other.
_rooms: set[str] = set()


class RunStarter:
    """Starts runs in wandb. `complain` takes what did not go as asked, `tell` the line before a wait.

    `replay`: a server that cannot be had is an error, and `finish_timeout` is long.
    """

    #: Whether a run of this process found no server: the next ones of a sweep need not wait for it again.
    unreachable: ClassVar[bool] = False

    def __init__(
        self,
        tracker: TrackerConfig,
        kind: str,
        complain: Callable[[str], None],
        tell: Callable[[str], None],
        *,
        replay: bool = False,
    ) -> None:
        self._tracker = tracker
        self._kind = kind
        self._complain = complain
        self._tell = tell
        self._replay = replay
        self.finish_timeout = REPLAY_TIMEOUT if replay else FINISH_TIMEOUT

    def asked(self) -> str:
        """auto, online, offline or disabled: what the config asks for, or else WANDB_MODE."""
        if self._tracker.mode != "auto":
            return self._tracker.mode
        given = os.environ.get("WANDB_MODE", "").strip()
        mode = _MODES.get(given.lower())
        if mode is None:
            self._complain(
                f"WANDB_MODE must be online, offline or disabled, not {given[:20]!r}: "
                "this run is recorded offline"
            )
        return mode or "offline"

    def run(self, asked: str, identity: str, opening: Opening) -> tuple[Any, str]:
        """A run of wandb, and whether it is online or offline: the latter where no server can be had."""
        find_room(opening.directory)
        with _without(_MODE if opening.sweep is None else (*_MODE, *_OF_AN_AGENT)):
            mode = self._choose(asked)
            if mode == "offline":
                return self._init(mode, identity, opening), mode
            self._tell(f"wandb: trying its server for up to {INIT_TIMEOUT:g} s")
            try:
                return self._init(mode, identity, opening), mode
            except Exception as error:
                RunStarter.unreachable = True
                if self._replay:
                    raise
                self._complain(
                    f"wandb cannot reach its server, so this run is recorded offline ({words(error)})"
                )
            teardown()  # else the identity counts as in use
            return self._init("offline", identity, opening), "offline"

    def _choose(self, mode: str) -> str:
        """online or offline, for what was asked for. Never asks the user."""
        if mode == "offline":
            return "offline"
        _hush()
        if not has_key():
            if mode != "auto":
                self._complain("wandb has no API key, so this run is recorded offline (wandb login sets one)")
            return "offline"
        if mode == "auto" and RunStarter.unreachable:
            self._complain("wandb could not reach its server before, so this run is recorded offline")
            return "offline"
        return "online"

    def _init(self, mode: Any, identity: str, opening: Opening) -> Any:
        import wandb

        _hush()
        opening.directory.mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project=self._tracker.project,
            entity=self._tracker.entity,
            tags=[tag[:_TAG] for tag in self._tracker.tags if tag],
            group=opening.sweep and opening.sweep[:_NAME],
            name=opening.name[:_NAME] or None,
            job_type=self._kind,
            id=identity,
            resume="allow" if mode == "online" else None,
            dir=opening.directory,
            config=opening.config,
            mode=mode,
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                x_disable_stats=True,
                disable_git=True,
                save_code=False,
                init_timeout=INIT_TIMEOUT,
                finish_timeout=self.finish_timeout,
                finish_timeout_raises=True,
            ),
        )


def has_key() -> bool:
    """Whether wandb has an API key. Else it would ask for one on a terminal, and wait for ever."""
    import wandb

    return bool(wandb.login(prompt=False, verify=False))


def find_room(directory: Path) -> None:
    """Give wandb folders of ours where the home folder, in which it has its own, cannot be written.

    A container with the user's id has `/` as home, or none. wandb's server would then print its log, and no
    picture could be kept. What is to be uploaded goes into the run directory, to be there for `wandb sync`.
    """
    try:
        if os.access(Path.home(), os.W_OK):
            return
        lacking = ["WANDB_CACHE_DIR"]
    except RuntimeError:  # which wandb, as it starts, would raise too
        lacking = ["HOME", "WANDB_CACHE_DIR"]
    if lacking := [name for name in lacking if name not in os.environ]:
        folder = tempfile.mkdtemp(prefix="normlab-wandb-")
        os.environ.update(dict.fromkeys(lacking, folder))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    given = os.environ.get("WANDB_DATA_DIR")
    if given is None or given in _rooms:
        os.environ["WANDB_DATA_DIR"] = room = str(directory.absolute() / "wandb" / "data")
        _rooms.add(room)


@contextmanager
def _without(names: Sequence[str]) -> Iterator[None]:
    """Keep these variables of the environment from wandb."""
    given = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(given)


def _hush() -> None:
    """Have wandb print nothing from now on; this holds until it is torn down."""
    import wandb

    wandb.setup(settings=wandb.Settings(silent=True))


def teardown() -> None:
    """Have wandb forget its process, if it was ever imported."""
    wandb = sys.modules.get("wandb")
    if wandb is not None:
        with suppress(Exception):
            within(GRACE, wandb.teardown)


def within(seconds: float, action: Callable[[], object]) -> None:
    """Do what may hang, for so long at most. Raises what it raises, or `TimeoutError`.

    An action that is too late goes on in its thread, which does not keep the process from ending.
    """
    failures: list[Exception] = []

    def attempt() -> None:
        try:
            action()
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer for {seconds:g} s")
    if failures:
        raise failures[0]

"""Which of several processes for one run this is, as torchrun tells them. Rank 0 of 1 where it did not."""

import os

from normlab.errors import UserError

#: What torchrun, or who starts processes by hand, tells each of them.
_NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
#: Whether this process has trained with others: gloo's threads then outlive the run.
met = False


def rank() -> int:
    """This process's number; 0 leads and alone writes."""
    return _number("RANK", 0)


def size() -> int:
    """How many processes train the run."""
    return _number("WORLD_SIZE", 1)


def _number(name: str, usual: int) -> int:
    """A whole number of the environment; an empty variable, or one that is none, counts as not set."""
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else usual


def address() -> str:
    """Where the processes of the run find each other."""
    return f"{os.environ.get('MASTER_ADDR', '')}:{os.environ.get('MASTER_PORT', '')}"


def has_agent() -> bool:
    """Whether what started this process serves the address, so that no rank has to."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def check() -> None:
    """Refuse an environment that speaks of several processes and does not say how they meet.

    A shell in a pod, or one that a launch script was read into, may have some of these variables.

    Raises:
        UserError: what is there, and what is not right of it.
    """
    given = {name: value for name in _NAMES if (value := os.environ.get(name, ""))}
    alone = given.get("RANK", "0") == "0" and given.get("WORLD_SIZE", "1") == "1"
    if alone:
        return
    numbers = all(given.get(name, "").isdecimal() for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
    met = numbers and rank() < size() and int(given["MASTER_PORT"]) < 1 << 16 and "MASTER_ADDR" in given
    if not met:
        told = " ".join(f"{name}={value[:40]}" for name, value in given.items())
        raise UserError(
            f"the environment has {told}, as torchrun sets it for one of several processes, but not all of "
            f"{', '.join(_NAMES)} as it would; use torchrun, or unset RANK WORLD_SIZE for one process"
        )


def command() -> str:
    """What starts normlab as this process was started, as far as a process can tell.

    torchrun alone gives TORCHELASTIC_RUN_ID; of its own words only the number of processes on one machine is
    known here.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return "normlab"
    whole = os.environ.get("LOCAL_WORLD_SIZE") == str(size())
    words = f"--nproc-per-node={size()}" if whole else "..."
    return f"torchrun {words} -m normlab"


def local_rank() -> int:
    """This process's number on its machine: the number of its GPU."""
    return _number("LOCAL_RANK", 0)

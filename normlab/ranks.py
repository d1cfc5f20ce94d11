"""Which of several processes for one run this is, as torchrun tells them. Rank 0 of 1 where it did not."""

import os

#: Whether this process has trained with others: gloo's threads then outlive the run.
met = False


def rank() -> int:
    """This process's number; 0 leads and alone writes."""
    return int(os.environ.get("RANK", 0))


def size() -> int:
    """How many processes train the run."""
    return int(os.environ.get("WORLD_SIZE", 1))


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
    return int(os.environ.get("LOCAL_RANK", 0))

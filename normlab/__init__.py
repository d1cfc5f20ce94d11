"""normlab: how norm type and placement affect training stability."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from normlab.runs.reader import Run, Runs


def __getattr__(name: str) -> str:
    """`__version__`, from the metadata of the package that is installed."""
    if name != "__version__":
        raise AttributeError(f"module 'normlab' has no attribute {name!r}")
    from importlib.metadata import version

    return version("normlab")


def load(*paths: Path | str) -> "Runs":
    """The runs in `paths`: run directories, sweeps, or any folder above them.

    `load("outputs/sweeps/mine").rows` is a pandas frame of every logged step of every run; each run has its
    `config`, `summary`, `events` and `rows`.

    Raises:
        RunDirectoryError: a path that is not there, or holds no run.
    """
    from normlab.runs import reader

    return reader.load(*paths)


def train(overrides: Sequence[str] = (), directory: Path | str | None = None) -> "Run":
    """Train one model, as `normlab train OVERRIDES` does, and return its run: `train(["placement=post"])`.

    Args:
        directory: the run's folder; else `outputs/runs/<time>-<what differs from the defaults>`.
    Raises:
        ConfigError: words that cannot be used.
        UserError: what cannot be trained, or a directory that holds a run.
    """
    from normlab.launch.single import train_one

    return train_one(overrides, directory)

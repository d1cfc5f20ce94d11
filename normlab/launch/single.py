"""`normlab.train`: one run from Python, without Hydra's command line."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from normlab.catalogue import naming
from normlab.compose.from_words import compose
from normlab.compose.saved_config import as_plain
from normlab.runs.reader import Run, read


def train_one(overrides: Sequence[str], directory: Path | str | None = None) -> Run:
    """Train what `overrides` say, in `directory` or where `normlab train` would; returns the run."""
    from normlab import run

    config = compose(overrides)
    folder = Path("outputs/runs", f"{naming.timestamp(datetime.now())}-{naming.slug(as_plain(config))}")
    directory = folder if directory is None else Path(directory)
    run.run(config, directory)
    return read(directory)

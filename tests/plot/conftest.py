"""Fixtures: run directories, and figures that look as in files."""

from collections.abc import Iterator

import pytest
from written_runs import losses as losses
from written_runs import sweep as sweep
from written_runs import write as write

from normlab.figures.style import look


@pytest.fixture(autouse=True)
def _as_in_files() -> Iterator[None]:
    """Figures look as `normlab plot` makes them."""
    with look():
        yield

"""How soon the detectors name a fault: `python scripts/detection.py [--quick]` trains small runs and prints it.

Each run has one fault at a known step, and in most cases in a known layer. The table gives the first event from
that step on, how many steps later it came, and the place that it names. Runs have the default settings but for
their length and depth.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from normlab import run as composition
from normlab.launch.compose import compose_run
from normlab.sinks.run_directory import read_events

#: Steps that a run goes on after its fault.
AFTER = 8


class Case(NamedTuple):
    """A fault, whether it has a layer, and settings for all of its runs."""

    kind: str
    layered: bool
    settings: tuple[str, ...] = ()
    after: int = AFTER

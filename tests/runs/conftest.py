"""Fixtures: run directories with losses that tests know."""

from written_runs import losses as losses
from written_runs import sweep as sweep
from written_runs import write as write

"""Fixtures: a run as the sinks see it."""

from sink_inputs import made as made
from sink_inputs import opening_of as opening_of

"""Fixtures: a stand-in for training."""

from fake_run import fake as fake

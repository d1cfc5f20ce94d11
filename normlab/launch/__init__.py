"""Hydra and nothing else of normlab: words on the command line become one frozen RunConfig."""

from normlab.launch.critical import critical_lr
from normlab.launch.main import launch, plan, probe, resume

__all__ = ["critical_lr", "launch", "plan", "probe", "resume"]

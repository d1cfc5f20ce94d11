"""Start runs, sweeps, searches and probes from the words of a command."""

from normlab.launch.critical import critical_lr
from normlab.launch.main import launch, plan, probe, resume

__all__ = ["critical_lr", "launch", "plan", "probe", "resume"]

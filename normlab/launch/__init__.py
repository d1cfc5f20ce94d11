"""Hydra and nothing else of normlab: words on the command line become one frozen RunConfig."""

from normlab.launch import resolvers, schema
from normlab.launch.compose import compose
from normlab.launch.critical import critical_lr
from normlab.launch.load import as_plain, load_config
from normlab.launch.main import launch, plan, probe, resume
from normlab.launch.schema import to_run_config

__all__ = [
    "as_plain",
    "compose",
    "critical_lr",
    "launch",
    "load_config",
    "plan",
    "probe",
    "resume",
    "to_run_config",
]

schema.register()
resolvers.register()

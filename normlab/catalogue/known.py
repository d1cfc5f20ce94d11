"""Whether what a config names is there; a user's own file can name anything."""

from normlab.catalogue.activations import ACTIVATIONS
from normlab.catalogue.inits import GAINS, INITS
from normlab.catalogue.norms import NORMS
from normlab.catalogue.optimizers import OPTIMIZERS
from normlab.catalogue.schedules import SCHEDULES
from normlab.config import RunConfig
from normlab.errors import require_one_of


def check_names(config: RunConfig) -> None:
    """Raise a ConfigError, with the nearest name, for a variant that no table has.

    A placement can have any name: it is all in its settings.
    """
    require_one_of(config.norm.name, NORMS, "norm")
    require_one_of(config.activation.name, ACTIVATIONS, "activation")
    require_one_of(config.init.name, INITS, "init")
    require_one_of(config.init.gains, ("placement", "none", *GAINS), "init.gains")
    require_one_of(config.optimizer.name, OPTIMIZERS, "optimizer")
    require_one_of(config.schedule.name, SCHEDULES, "schedule")

"""The config that words on the command line stand for, in Python."""

from collections.abc import Sequence
from pathlib import Path

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from normlab.catalogue import groups
from normlab.compose import messages, user_files
from normlab.compose.schema import to_run_config
from normlab.compose.typed import check_words
from normlab.config import RunConfig
from normlab.errors import ConfigError


def compose(overrides: Sequence[str] = (), config_dir: Path | None = None) -> RunConfig:
    """The config of `normlab train OVERRIDES`, as in `compose(["placement=post", "warmup=100"])`.

    Raises:
        ConfigError: words that cannot be used.
    """
    more = [] if config_dir is None else [f"hydra.searchpath=['file://{Path(config_dir).resolve()}']"]
    holder = GlobalHydra.instance()
    before, holder.hydra = holder.hydra, None
    try:
        check_words(overrides)
        user_files.check(overrides, config_dir)
        with initialize_config_dir(str(groups.conf_dir()), version_base="1.3"):
            return to_run_config(hydra_compose("config", [*overrides, *more]))
    except Exception as error:
        text = messages.explain(error, overrides)
        if isinstance(error, ConfigError) and str(error) == text:
            raise
        key, _, problem = text.partition(": ")
        raise ConfigError(key, problem) from error
    finally:
        holder.hydra = before

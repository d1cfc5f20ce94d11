"""Completion of Hydra's own settings, by Hydra."""

from collections.abc import Sequence

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.plugins.completion_plugin import DefaultCompletionPlugin

from normlab.catalogue import groups


def hydra_words(words: Sequence[str], incomplete: str) -> list[str]:
    """What `incomplete` may become, one level deeper where it can be but one."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(groups.conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        group, equals, typed = incomplete.partition("=")
        if equals and "/" in group:  # an option needs no composing, which is slow
            return [f"{group}={name}" for name in loader.get_group_options(group) if name.startswith(typed)]
        query = DefaultCompletionPlugin(loader)._query
        found: list[str] = query("config", " ".join([*words, incomplete]))
        if len(found) == 1 and found[0][-1] in "=./":
            found = query("config", " ".join([*words, found[0]])) or found
        return found

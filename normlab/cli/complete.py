"""Completion of what follows `normlab train`: groups, options, keys, values, lists of values for sweeps."""

import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from normlab.catalogue import groups


def complete(words: Sequence[str], incomplete: str) -> list[str]:
    """The words that `incomplete` may become, where `words` stand before it; none when in doubt.

    bash takes `=` for the end of a word: there the answer is only what follows it.
    """
    in_bash = "COMP_WORDS" in os.environ
    if in_bash:
        words, incomplete = _bash_words()
    words = _own_side(words)
    folder = _config_dir(words)
    try:
        found = _values(words, incomplete, folder) if "=" in incomplete else _keys(words, incomplete, folder)
    except Exception:  # a broken file of the user's must not put a trace into the prompt
        return []
    if in_bash and "=" in incomplete:
        return [word.partition("=")[2] for word in found]
    return found


def complete_thresholds(words: Sequence[str], incomplete: str) -> list[str]:
    """As `complete`, for what follows `normlab replay RUN_DIR`: settings of the detectors alone."""
    from normlab.runs.replay import thresholds

    in_bash = "COMP_WORDS" in os.environ
    if in_bash:
        _, incomplete = _bash_words()
    group = "divergence."
    if "=" in incomplete:
        found = _values([], incomplete, []) if incomplete.partition("=")[0] in thresholds() else []
        return [word.partition("=")[2] for word in found] if in_bash else found
    if not incomplete.startswith(group):
        incomplete = group if group.startswith(incomplete) else incomplete
    keys = {word: word.partition("=")[0] for word in _keys([], incomplete, [])}
    return [word for word, key in keys.items() if any(name.startswith(key) for name in thresholds())]


def probe_words(incomplete: str) -> list[str]:
    """What `incomplete` may become among the words that only `normlab probe` has."""
    from normlab.probe.settings import TOKENS, WORDS

    return _among([f"{key}=" for key in WORDS] + [f"tokens={name}" for name in TOKENS], incomplete)


def critical_words(incomplete: str) -> list[str]:
    """The same of `normlab sweep critical-lr`."""
    from normlab.sweep.bisection import WORDS

    return _among([f"{key}=" for key in WORDS], incomplete)


def _among(choices: Sequence[str], incomplete: str) -> list[str]:
    in_bash = "COMP_WORDS" in os.environ
    if in_bash:
        incomplete = _bash_words()[1]
    found = [word for word in choices if word.startswith(incomplete)]
    return [word.partition("=")[2] if in_bash and "=" in incomplete else word for word in found]


def _bash_words() -> tuple[list[str], str]:
    """The words after the command's name, joined again where bash has cut them at `=` and `:`."""
    at = int(os.environ["COMP_CWORD"])
    pieces = os.environ["COMP_WORDS"].split("\n")[: at + 1]
    pieces += [""] * (at + 1 - len(pieces))
    joined: list[str] = []
    glue = False
    for piece in pieces[2:]:
        breaks = piece in ("=", ":")
        if joined and (breaks or glue):
            joined[-1] += piece
        else:
            joined.append(piece)
        glue = breaks
    return joined[:-1], joined[-1] if joined else ""


def _own_side(words: Sequence[str]) -> list[str]:
    """The words that belong to this one's config: those after `describe`'s --against, and all flags."""
    flag = "--against"
    last = max((place for place, word in enumerate(words) if word.partition("=")[0] == flag), default=-1)
    before = [word for word in words[: last + 1] if "=" not in word or word.startswith("-")]
    return [*before, *words[last + 1 :]]


def _config_dir(words: Sequence[str]) -> list[Path]:
    for word, value in itertools.pairwise(words):
        if word in ("-cd", "--config-dir") and Path(value).is_dir():
            return [Path(value)]
    for word in words:
        flag, _, value = word.partition("=")
        if flag in ("-cd", "--config-dir") and value and Path(value).is_dir():
            return [Path(value)]
    return []


def _keys(words: Sequence[str], incomplete: str, folders: Sequence[Path]) -> list[str]:
    """`group=` and settings, one dot at a time; settings that the chosen options do not have are left out."""
    if incomplete.startswith("hydra"):
        return _hydra(words, incomplete)
    prefix = incomplete[: len(incomplete) - len(incomplete.lstrip("+~"))]
    bare = incomplete[len(prefix) :]
    names = [f"{name}=" for name in (*groups.GROUPS, *groups.RECIPES)] + [
        f"{key}=" for key in _settings(words)
    ]
    found = dict.fromkeys(_next_part(name, bare) for name in names if name.startswith(bare))
    found = {name: None for name in found if name != f"{bare.rpartition('.')[0]}.name="}
    if len(found) == 1 and next(iter(found)).endswith("."):
        return _keys(words, prefix + next(iter(found)), folders)
    if len(found) == 1 and next(iter(found)).endswith("="):
        # With more than one answer the shell puts no space behind the `=`.
        only = next(iter(found))
        found |= dict.fromkeys(_values(words, only, folders) or [f"{only}..."])
    return [prefix + name for name in found]


def _next_part(name: str, typed: str) -> str:
    dot = name.find(".", len(typed))
    return name if dot < 0 else name[: dot + 1]


def _settings(words: Sequence[str]) -> Iterable[str]:
    chosen = _chosen(words)
    for name, key in groups.known_keys().items():
        group = name.partition(".")[0]
        known = chosen.get(group) in groups.GROUPS[group].rows if group in groups.GROUPS else False
        if not known or chosen[group] in key.options:
            yield name


def _values(words: Sequence[str], incomplete: str, folders: Sequence[Path]) -> list[str]:
    key, _, typed = incomplete.partition("=")
    if key.startswith("hydra"):
        return _hydra(words, incomplete)
    done, comma, last = typed.rpartition(",")
    taken = done.split(",") if comma else []
    bare = key.lstrip("+~")
    choices = _choices(bare, folders) or ([] if comma else _standing(words, bare))
    return [
        f"{key}={done}{comma}{choice}"
        for choice in choices
        if choice.startswith(last) and choice not in taken
    ]


def _choices(key: str, folders: Sequence[Path]) -> list[str]:
    if key in groups.GROUPS or key in groups.RECIPES:
        return groups.options(key, *folders)
    if key == "data.tokenizer":
        from normlab.catalogue.tokenizers import TOKENIZERS

        return [name for name in TOKENIZERS if "*" not in name]
    if key in groups.CHOICES:
        return list(groups.CHOICES[key])
    known = groups.known_keys().get(key)
    return ["true", "false"] if known is not None and known.type is bool else []


def _standing(words: Sequence[str], key: str) -> list[str]:
    """The value that a setting has if it is left alone."""
    group, _, rest = key.partition(".")
    value = groups.defaults().get(group)
    if group in groups.GROUPS:
        value = groups.values(group).get(_chosen(words)[group])
    for part in rest.split(".") if rest else []:
        value = value.get(part) if isinstance(value, dict) else None
    return [] if value is None or isinstance(value, dict | list) else [str(value)]


def _chosen(words: Sequence[str]) -> dict[str, str]:
    """The option of each group, as far as `words` say."""
    chosen = dict(groups.default_options())
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name in chosen:
            chosen[name] = value
    return chosen


def _hydra(words: Sequence[str], incomplete: str) -> list[str]:
    """Hydra's own settings, launchers and so on, which depend on what is installed."""
    from normlab.compose.hydra_words import hydra_words

    return hydra_words([word for word in words if "=" in word], incomplete)

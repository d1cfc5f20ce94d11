"""The words after `normlab train`: Hydra's flags and its overrides, in any order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from normlab.compose.typed import check_words
from normlab.errors import QUOTED, UserError, nearest, quoted

#: Flags that take a value; with the values, where there are few.
_VALUED = {
    "--cfg": ("job", "hydra", "all"),
    "--package": (),
    "--config-path": (),
    "--config-name": (),
    "--config-dir": (),
}
_BARE = ("--multirun", "--run", "--resolve", "--hydra-help", "--help")
_SHORT = {
    "-c": "--cfg",
    "-p": "--package",
    "-cp": "--config-path",
    "-cn": "--config-name",
    "-cd": "--config-dir",
    "-m": "--multirun",
    "-r": "--run",
    "-i": "--info",
    "-h": "--help",
}
#: Each says what the command does, so one at a time; Hydra has no config of a sweep to show.
_MODES = ("--run", "--multirun", "--cfg", "--info")
_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


class UsageError(UserError):
    """Words that are not a command."""


@dataclass(kw_only=True)
class Words:
    """A command line taken apart."""

    flags: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)

    def argv(self) -> list[str]:
        """The words as Hydra's parser wants them: it takes overrides in one block only."""
        return [*self.flags, "--", *self.overrides] if self.overrides else list(self.flags)

    def value(self, flag: str) -> str | None:
        """The value of a flag, the last where it stands twice."""
        places = [i for i, word in enumerate(self.flags) if word == flag]
        return self.flags[places[-1] + 1] if places else None


def split(words: Sequence[str]) -> Words:
    """Sort the words into flags and overrides.

    Raises:
        UserError: what `check_words` raises.
        UsageError: an unknown flag, a flag without its value, flags that do not go together, a word that is
            no override.
    """
    check_words(words)
    found = Words()
    rest = iter(words)
    for word in rest:
        if word == "--":
            continue
        if word.startswith("-") and len(word) > 1:
            found.flags += _flag(word, rest)
        elif found.flags[-1:] == ["--info"] and word in _INFO:
            found.flags.append(word)
        else:
            found.overrides.append(_override(word))
    _check_together(found.flags)
    return found


def _check_together(flags: Sequence[str]) -> None:
    modes = [mode for mode in _MODES if mode in flags]
    if len(modes) > 1:
        raise UsageError(f"{' and '.join(modes)} do not go together; give one of them")
    if "--resolve" in flags and "--cfg" not in flags:
        raise UsageError("--resolve goes with --cfg job: normlab train --cfg job --resolve")
    if flags.count("--config-dir") > 1:
        raise UsageError("--config-dir can be given once; put your options into one folder")


def _flag(word: str, rest: Iterator[str]) -> list[str]:
    name, equals, value = word.partition("=")
    name = _SHORT.get(name, name)
    if name in _VALUED:
        value = value if equals else next(rest, "")
        few = _VALUED[name]
        if not value or (few and value not in few):
            raise UsageError(f"{name} needs a value{': ' + ', '.join(few) if few else ''}")
        return [name, value]
    if name == "--info":
        return [name, value] if equals else [name]
    if name in _BARE and not equals:
        return [name]
    every = [*_VALUED, *_BARE, "--info"]
    near = nearest(name, every) if len(name) <= QUOTED else ""
    raise UsageError(f"there is no option {quoted(name)}.{near} See normlab train --help")


def _override(word: str) -> str:
    if "=" in word or word.startswith("~"):
        return word
    raise UsageError(f"'{quoted(word)}' is not KEY=VALUE. See normlab train --help")

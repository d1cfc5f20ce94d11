"""Errors that normlab raises on purpose, and checks of a setting's range, which raise them.

The command line turns an error into one message and an exit code.
"""

import difflib
import math
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right; shown as one message, exit code 2."""


class ConfigError(UserError, ValueError):
    """A setting that cannot be used. `key` is what the user types, for instance `optimizer.lr`."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key, self.problem = key, problem


class DataError(UserError):
    """A text that cannot be read or is not enough to train on."""


class RunDirectoryError(UserError):
    """A run directory that is missing, taken or damaged."""


class HeldError(RunDirectoryError):
    """A run directory in which another process trains now."""


class CheckpointError(UserError):
    """A checkpoint that cannot be read; the message names the file."""


#: Characters of what a user typed that a message repeats.
QUOTED = 80


def quoted(text: str) -> str:
    """What a user typed as a message repeats it: short, and with `?` for what a terminal would obey."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text[: QUOTED + 1])
    return shown if len(text) <= QUOTED else f"{shown[: QUOTED - 3]}..."


def shown(message: object, longest: int = 2000) -> str:
    """A message for the screen: `?` for what would move the cursor, colour the page or turn the direction of
    reading, and no more than `longest` characters."""
    text = "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in str(message))
    return text if len(text) <= longest else f"{text[:longest]}..."


def nearest(word: str, names: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the closest of `names`, or an empty string."""
    found = difflib.get_close_matches(word[:QUOTED].lower(), list(names), n=3, cutoff=0.55)
    return " Did you mean " + " or ".join(f"'{name}'" for name in found) + "?" if found else ""


def require(ok: bool, key: str, problem: str) -> None:
    """Raise `ConfigError(key, problem)` unless `ok`."""
    if not ok:
        raise ConfigError(key, problem)


def require_one_of(value: str, names: Iterable[str], key: str) -> None:
    """Raise a `ConfigError` that lists `names` and suggests the nearest unless `value` is one of them."""
    names = list(names)
    if value not in names:  # the suggestion is slow, and a config of 64 sub-layers asks thousands of times
        raise ConfigError(key, f"'{quoted(value)}' is not one of {', '.join(names)}.{nearest(value, names)}")


class Interrupted(BaseException):
    """A signal ended a run or a start. No Exception: the rest of a sweep must not go on."""

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal


def positive(value: float, key: str, most: float = math.inf) -> None:
    require(math.isfinite(value) and value > 0, key, f"must be a finite number above 0, got {value}")
    require(value <= most, key, f"must be {most:g} or less, got {value}")


def not_negative(value: float, key: str) -> None:
    require(math.isfinite(value) and value >= 0, key, f"must be a finite number, 0 or more, got {value}")


#: No count of anything here is more: what is, is a slip of the hand, or would overflow somewhere.
MOST = 10**12


def at_least(value: int, least: int, key: str, most: int = MOST) -> None:
    require(value >= least, key, f"must be {least} or more, got {value}")
    require(value <= most, key, f"must be {most} or less, got {value}")


def fraction(value: float, key: str) -> None:
    require(0 < value < 1, key, f"must lie between 0 and 1, got {value}")

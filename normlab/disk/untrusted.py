"""Read YAML and JSON that anybody may have written, as plain data: nothing in them is resolved, built or run.

What comes out is None, bool, int, float, str, list and dict with text for keys. Size, depth and count are
limited while reading, so that no file takes long or fills the memory. The files of a run stay far below.
"""

import errno
import json
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from normlab.errors import RunDirectoryError

#: Bytes of a config or a summary, of a table over many jobs, and of one line of a `.jsonl` file.
DOCUMENT, TABLE, LINE = 4 << 20, 32 << 20, 16 << 20
#: Values in a YAML file, and in a JSON text: as many as are read within a second or two.
_YAML_VALUES, _JSON_VALUES = 40_000, 4_000_000
#: Lists and mappings inside each other; a config has five.
DEPTH = 24
#: Digits of a number. Any whole number of that many is a float too.
_DIGITS = 64

_PREFIX = "tag:yaml.org,2002:"
_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9][0-9_]*"
    r"(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)"
)
_SURROGATE = re.compile("[\ud800-\udfff]")


class PlainDataError(ValueError):
    """A text that is no plain data, or too much of it; one line, without the file's name."""


def read_yaml(path: Path) -> Any:
    """The plain value in a YAML file; None where it is empty.

    Raises:
        PlainDataError: it is no file, too large, or not plain YAML.
        OSError: it cannot be read.
    """
    return parse_yaml(read_bytes(path))


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a run's `config.yaml`, whatever they are.

    Raises:
        RunDirectoryError: it is not there, cannot be read, or holds no settings.
    """
    try:
        content = read_yaml(path)
    except FileNotFoundError:
        raise RunDirectoryError(f"{path} is not there") from None
    except OSError as error:
        raise RunDirectoryError(f"{path} cannot be read: {error.strerror}") from None
    except PlainDataError as error:
        raise RunDirectoryError(f"{path} cannot be read: it {error}") from None
    if not isinstance(content, dict):
        raise RunDirectoryError(f"{path} is not the config of a run")
    return content


def read_json(path: Path, largest: int = DOCUMENT) -> Any:
    """The plain value in a JSON file of at most `largest` bytes; raises as `read_yaml`."""
    return parse_json(read_bytes(path, largest))


def read_bytes(path: Path, largest: int = DOCUMENT) -> bytes:
    """The bytes of a regular file: a pipe or a device would be waited for, or have no end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise PlainDataError("is not a file")
    with path.open("rb") as file:
        data = file.read(largest + 1)
    if len(data) > largest:
        raise PlainDataError(f"is larger than {largest >> 20} MiB, which no such file is")
    return data


def open_file(path: Path) -> BinaryIO:
    """A regular file, open for reading; raises OSError for anything else."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    return path.open("rb")


def lines(file: BinaryIO, largest: int = LINE) -> Iterator[bytes]:
    """The lines of a file; of one of more than `largest` bytes only the beginning, which is no JSON."""
    while line := file.readline(largest):
        yield line
        while len(line) == largest and not line.endswith(b"\n"):
            line = file.readline(largest)


def parse_json(data: bytes) -> Any:
    """The plain value in a JSON text.

    Raises:
        PlainDataError: it is not JSON in UTF-8, too deep, too many values, a number of too many digits.
    """
    try:
        value = json.loads(data.decode())
    except UnicodeDecodeError:
        raise PlainDataError("is not UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, character {error.colno}"
        raise PlainDataError(f"is not JSON: {error.msg} at {where}") from None
    except RecursionError:
        raise PlainDataError(_too_deep()) from None
    except ValueError:  # Python reads no number of more than 4,300 digits
        raise PlainDataError(_too_long()) from None
    _measure(value)
    # Half of a pair of escapes is no character, and could not be printed.
    return _whole(value) if b"\\ud" in data or b"\\uD" in data else value


def _measure(value: Any) -> None:
    """Raise a PlainDataError if there is too much in `value`."""
    level, depth, count = [value], 0, 0
    while level:
        count += len(level)
        if depth > DEPTH:
            raise PlainDataError(_too_deep())
        if count > _JSON_VALUES:
            raise PlainDataError(f"has more than {_JSON_VALUES:,} values")
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below.extend(each.values())
            elif isinstance(each, list):
                below.extend(each)
            elif isinstance(each, int) and abs(each) >= 10**_DIGITS:
                raise PlainDataError(_too_long())
        level, depth = below, depth + 1


def _whole(value: Any) -> Any:
    """`value` with a replacement character for each half of a surrogate pair."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value


def _too_deep() -> str:
    return f"has more than {DEPTH} lists or mappings inside each other"


def _too_long() -> str:
    return f"has a number of more than {_DIGITS} digits"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The scanner of YAML, with what makes a plain word a number, true, false or null, and no other type.

    The C one is ten times as fast; not every build of PyYAML has it. `1e-3` is a number, as in Hydra's files.
    """


_KINDS: dict[str, Callable[[Any, yaml.ScalarNode], Any]] = {
    f"{_PREFIX}null": lambda loader, node: None,
    f"{_PREFIX}bool": yaml.constructor.SafeConstructor.construct_yaml_bool,
    f"{_PREFIX}int": yaml.constructor.SafeConstructor.construct_yaml_int,
    f"{_PREFIX}float": yaml.constructor.SafeConstructor.construct_yaml_float,
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, words) for tag, words in pairs if tag in _KINDS and not tag.endswith("float")]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_PREFIX}float", re.compile(f"(?:{_FLOAT.pattern})$"), list("-+.0123456789"))


def parse_yaml(data: bytes) -> Any:
    """The plain value in a YAML text of one document; None where it is empty.

    Raises:
        PlainDataError: it is not YAML in UTF-8, too deep, too many values, or holds what is no plain data:
            aliases, tags, a key that is a list, a key twice.
    """
    try:
        return _Document(data.decode("utf-8-sig")).read()
    except UnicodeDecodeError:
        raise PlainDataError("is not UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise PlainDataError(f"is not YAML: {where}{problem}") from None


class _Document:
    """Builds values from the events of YAML's parser, one at a time, so that limits hold while it reads."""

    def __init__(self, text: str) -> None:
        self._loader = _Loader(text)
        self._values = 0

    def read(self) -> Any:
        """The only document there is."""
        self._loader.get_event()
        if isinstance(self._loader.get_event(), yaml.StreamEndEvent):
            return None
        value = self._value(self._loader.get_event(), 0)
        self._loader.get_event()
        event = self._loader.get_event()
        if not isinstance(event, yaml.StreamEndEvent):
            raise _refuse(event, "another document begins")
        return value

    def _value(self, event: Any, depth: int) -> Any:
        self._values += 1
        if self._values > _YAML_VALUES:
            raise PlainDataError(f"has more than {_YAML_VALUES:,} values")
        if depth > DEPTH:
            raise PlainDataError(_too_deep())
        if isinstance(event, yaml.AliasEvent):
            raise _refuse(event, "an alias (*), which stands for what is elsewhere")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if event.tag not in (None, "!", f"{_PREFIX}map", f"{_PREFIX}seq"):
            raise _refuse(event, "a tag (!) of another type than plain data has")
        build = self._mapping if isinstance(event, yaml.MappingStartEvent) else self._list
        return build(depth + 1)

    def _list(self, depth: int) -> list[Any]:
        values = []
        while not isinstance(event := self._loader.get_event(), yaml.SequenceEndEvent):
            values.append(self._value(event, depth))
        return values

    def _mapping(self, depth: int) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        while not isinstance(event := self._loader.get_event(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise _refuse(event, "a key that is not text")
            key = _SURROGATE.sub("\ufffd", event.value)
            if key in pairs:
                raise _refuse(event, "a key that was there before")
            pairs[key] = self._value(self._loader.get_event(), depth)
        return pairs

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        if event.tag in (None, "!"):
            tag = self._loader.resolve(yaml.ScalarNode, event.value, event.implicit)
        else:
            tag = event.tag
        if tag == f"{_PREFIX}str":
            return _SURROGATE.sub("\ufffd", event.value)
        if tag not in _KINDS:
            raise _refuse(event, "a tag (!) of another type than plain data has")
        if len(event.value) > _DIGITS:
            raise _refuse(event, _too_long().removeprefix("has "))
        try:
            return _KINDS[tag](self._loader, yaml.ScalarNode(tag, event.value))
        except (ValueError, KeyError):
            raise _refuse(event, f"a value that is no {tag.removeprefix(_PREFIX)}") from None


def _refuse(event: Any, what: str) -> PlainDataError:
    return PlainDataError(f"holds, in line {event.start_mark.line + 1}, {what}")

"""Where texts come from: one reader a `data.source`."""

import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normlab.catalogue.datasets import HubData, MarkovData, TextData
from normlab.config import DataConfig
from normlab.data import files, hub, markov
from normlab.data.documents import Documents
from normlab.errors import ConfigError, DataError, require_one_of


@dataclass(frozen=True)
class Source:
    """A text that is not read yet."""

    #: What the text depends on, as plain values: equal requests are equal texts.
    request: dict[str, Any]
    #: (folder for files of its own, characters after which it may stop) -> the texts, in order.
    read: Callable[[Path, int | None], Documents]
    #: What to call it in messages.
    title: str
    #: Nats a letter, where it is known exactly.
    entropy_rate: float | None = None


def open_source(config: DataConfig) -> Source:
    """The source that `config` names, with local files found and hashed.

    Raises:
        ConfigError: an unknown source, or a path with nothing to read.
        DataError: a file that cannot be read.
    """
    require_one_of(config.source, SOURCES, "data.source")
    return SOURCES[config.source](config)


def _stdlib(config: DataConfig) -> Source:
    folder = Path(sysconfig.get_path("stdlib"))
    found = [files.LocalFile(path, ".txt") for path in sorted(folder.glob("*.py")) if path.is_file()]
    if not found:
        raise DataError(f"this Python keeps no *.py files in {folder}. {hub.LOCAL}")
    return _local(found, files.TEXT_COLUMN, "the standard library")


def _text(config: DataConfig) -> Source:
    assert isinstance(config, TextData)
    if not config.path:
        raise ConfigError("data.path", "data=text needs a file, a folder or a glob: data.path=FILE")
    return _local(files.find(config.path), config.text_column, config.path)


def _local(found: list[files.LocalFile], column: str, title: str) -> Source:
    """Files by their kind and content: neither their names nor their times change the tokens."""
    request = {"source": "files", "files": [[f.ending, f.digest()] for f in found], "column": column}
    return Source(request, lambda folder, limit: files.read(found, column, folder), title)


def _hub(config: DataConfig) -> Source:
    assert isinstance(config, HubData)
    return Source(hub.request(config), lambda folder, limit: hub.read(config, folder, limit), config.name)


def _markov(config: DataConfig) -> Source:
    assert isinstance(config, MarkovData)
    fields = ("symbols", "concentration", "length", "chain_seed")
    request = {"source": "markov"} | {field: getattr(config, field) for field in fields}
    rate = markov.entropy_rate(config)
    return Source(request, lambda folder, limit: markov.read(config, folder), "the Markov chain", rate)


SOURCES: dict[str, Callable[[DataConfig], Source]] = {
    "stdlib": _stdlib,
    "text": _text,
    "hub": _hub,
    "markov": _markov,
}

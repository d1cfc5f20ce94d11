"""The shape of a table: rows by name, each a variant's default settings and what there is to know of it."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Generic, TypeVar

C = TypeVar("C", bound=Any)


@dataclass(frozen=True, kw_only=True)
class Row(Generic[C]):
    """A variant. `config` is what `group=name` on the command line selects."""

    config: C
    #: The name on the command line, where it is not the config's own.
    option: str = ""
    #: One line, for `normlab list`.
    meaning: str
    #: The formula, where there is one.
    equation: str = ""
    #: Paper, with its arXiv id where it has one.
    source: str = ""

    @property
    def name(self) -> str:
        return self.option or str(self.config.name)

    @property
    def facts(self) -> dict[str, str]:
        """What else `normlab list` says of a variant of this kind: column -> text."""
        return {}


R = TypeVar("R", bound=Row[Any])


def table(*rows: R) -> dict[str, R]:
    """The rows by name, in the order given."""
    assert len({row.name for row in rows}) == len(rows), "a name stands twice in one table"
    return {row.name: row for row in rows}


def implementation(room: str, name: str) -> Any:
    """The class or function that a row names, in the module or package `room`: `token.LayerNorm`, `gelu`.

    Rows hold names, so that importing a table does not import torch.
    """
    *files, last = name.split(".")
    return getattr(import_module(".".join([room, *files])), last)

"""`normlab list`: every table of variants, for people and as JSON."""

import dataclasses
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from normlab.catalogue import groups
from normlab.catalogue.inits import GAINS
from normlab.catalogue.tokenizers import TOKENIZERS
from normlab.config.row import Row
from normlab.errors import UserError, nearest


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a list."""

    name: str
    meaning: str
    equation: str = ""
    source: str = ""
    default: bool = False
    #: Columns of this table's own.
    facts: dict[str, str] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """One flat object, the table's own columns last."""
        plain = dataclasses.asdict(self)
        return {key: value for key, value in plain.items() if key != "facts"} | self.facts


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A table that can be listed: what it is, how one of it is chosen, and what is in it."""

    meaning: str
    use: str
    entries: Callable[[], list[Entry]]


def _rows(rows: Mapping[str, Row[Any]], default: str = "") -> list[Entry]:
    return [
        Entry(
            name=name,
            meaning=row.meaning,
            equation=row.equation,
            source=row.source,
            default=name == default,
            facts=row.facts,
        )
        for name, row in rows.items()
    ]


def _group(name: str) -> list[Entry]:
    """A config group's rows, then the files in `conf/`."""
    rows = groups.GROUPS[name].rows if name in groups.GROUPS else {}
    default = groups.default_options().get(name, "")
    paths = {option: path for option, path in groups.files(name).items() if option not in rows}
    return _rows(rows, default) + [_file(name, option, path) for option, path in paths.items()]


def _file(group: str, option: str, path: Path) -> Entry:
    comments = _comments(path)
    source = next((line.removeprefix("Source: ") for line in comments if line.startswith("Source: ")), "")
    if group == "data":
        source = f"huggingface.co/datasets/{groups.values(group)[option]['name']}"
    return Entry(name=option, meaning=_heading(path), source=source)


def _heading(path: Path) -> str:
    """The first paragraph of a YAML file's comments, up to its source."""
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.removeprefix("#").strip()
        if line.startswith("# @"):
            continue
        if not line.startswith("#") or not text or text.startswith(("Source: ", "Departures: ")):
            break
        lines.append(text)
    return " ".join(lines)


def _comments(path: Path) -> list[str]:
    """The comment lines of a YAML file that are not Hydra's `# @...` lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.lstrip("# ").strip() for line in lines if re.match(r"\s*#\s*[^@\s]", line)]


def _detectors() -> list[Entry]:
    from normlab.divergence import DETECTORS

    return _rows(DETECTORS)


def _positions() -> list[Entry]:
    default = groups.defaults()["model"]["positions"]
    return [dataclasses.replace(entry, default=entry.name == default) for entry in _POSITIONS]


_POSITIONS = (
    Entry(
        name="learned",
        meaning="a trained vector for each place, added to the embedding",
        equation="x_t = E[token_t] + P[t]",
        source="Gehring et al. 2017, arXiv 1705.03122; Radford et al. 2018 (GPT)",
    ),
    Entry(
        name="rope",
        meaning="queries and keys turned by an angle that grows with the place; model.rope_base",
        equation="(q_t . k_s) depends on t - s: pairs turned by t * base^(-2i/K)",
        source="Su et al. 2021, arXiv 2104.09864",
    ),
    Entry(
        name="sinusoidal",
        meaning="fixed sines and cosines of the place, added to the embedding",
        equation="P[t, 2i] = sin(t / 10000^(2i/D)), P[t, 2i+1] = cos(...)",
        source="Vaswani et al. 2017, arXiv 1706.03762",
    ),
    Entry(
        name="alibi",
        meaning="attention logits that fall with the distance, at each head's own rate",
        equation="logits_ts = q_t . k_s / sqrt(K) - 2^(-8h/H) * |t - s|",
        source="Press et al. 2021, arXiv 2108.12409",
    ),
    Entry(
        name="none",
        meaning="no positions: the causal mask alone tells places apart (model.causal=false: nothing does)",
        source="Haviv et al. 2022, arXiv 2203.16634",
    ),
)

TABLES: dict[str, Listed] = {
    "norms": Listed(meaning="norm types", use="norm=NAME", entries=lambda: _group("norm")),
    "placements": Listed(
        meaning="where norms and scales sit in a block",
        use="placement=NAME",
        entries=lambda: _group("placement"),
    ),
    "activations": Listed(
        meaning="activations of the feed-forward layer, plain and gated",
        use="activation=NAME",
        entries=lambda: _group("activation"),
    ),
    "inits": Listed(
        meaning="distributions of the initial weights", use="init=NAME", entries=lambda: _group("init")
    ),
    "gains": Listed(
        meaning="factors on the initial weights of single projections",
        use="init.gains=NAME",
        entries=lambda: _rows(GAINS),
    ),
    "optimizers": Listed(meaning="optimizers", use="optimizer=NAME", entries=lambda: _group("optimizer")),
    "schedules": Listed(
        meaning="the learning rate after warm-up", use="schedule=NAME", entries=lambda: _group("schedule")
    ),
    "positions": Listed(
        meaning="how a token knows its place", use="model.positions=NAME", entries=_positions
    ),
    "datasets": Listed(meaning="texts to train on", use="data=NAME", entries=lambda: _group("data")),
    "tokenizers": Listed(
        meaning="how text becomes tokens",
        use="data.tokenizer=NAME",
        entries=lambda: _rows(TOKENIZERS, groups.defaults()["data"]["tokenizer"]),
    ),
    "detectors": Listed(
        meaning="what counts as a divergence event", use="divergence.NAME.KEY=VALUE", entries=_detectors
    ),
    "experiments": Listed(
        meaning="studies as files", use="experiment=NAME", entries=lambda: _group("experiment")
    ),
    "presets": Listed(
        meaning="known models' choices as files", use="preset=NAME", entries=lambda: _group("preset")
    ),
}


def print_list(what: str | None, as_json: bool) -> None:
    """Print one table, or without `what` the list of them.

    Raises:
        UserError: there is no such table.
    """
    if what is None:
        _print_overview(as_json)
        return
    name = _table_name(what)
    entries = TABLES[name].entries()
    if as_json:
        _print_json(entry.record() for entry in entries)
    else:
        Console().print(table(name, entries))


def _table_name(what: str) -> str:
    """`norm` and `data` are as good as `norms` and `datasets`."""
    others = {name.removesuffix("s"): name for name in TABLES} | {"data": "datasets"}
    name = others.get(what, what)
    if name not in TABLES:
        raise UserError(f"there is no table '{what}'.{nearest(what, TABLES)} There are: {', '.join(TABLES)}.")
    return name


def _print_overview(as_json: bool) -> None:
    if as_json:
        _print_json(
            {"name": name, "meaning": listed.meaning, "use": listed.use, "count": len(listed.entries())}
            for name, listed in TABLES.items()
        )
        return
    result = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("normlab list", "", "what", "how to choose"):
        result.add_column(column, justify="right" if not column else "left")
    for name, listed in TABLES.items():
        count = str(len(listed.entries()))
        result.add_row(Text(name, style="cyan"), count, listed.meaning, Text(listed.use, style="dim"))
    Console().print(result)


def table(name: str, entries: Iterable[Entry]) -> Table:
    """The entries with equation and source under each meaning, so that it fits 80 columns."""
    listed = TABLES[name]
    title = f"{name}: {listed.meaning} ({listed.use})"
    result = Table.grid(padding=(0, 2, 1, 0))
    result.title, result.title_justify, result.title_style = f"{title}\n", "left", "bold"
    result.add_column(no_wrap=True)
    result.add_column()
    for entry in entries:
        lines = [Text(entry.meaning)]
        lines += [Text(entry.equation, style="green")] if entry.equation else []
        facts = "; ".join(f"{column} {fact}" for column, fact in entry.facts.items())
        lines += [Text(facts, style="dim")] if facts else []
        lines += [Text(entry.source, style="dim italic")] if entry.source else []
        label = Text(entry.name, style="cyan")
        label.append("\ndefault" if entry.default else "", style="bold yellow")
        result.add_row(label, Group(*lines))
    return result


def _print_json(values: Iterable[Mapping[str, Any]]) -> None:
    sys.stdout.write(json.dumps(list(values), indent=2, ensure_ascii=False) + "\n")

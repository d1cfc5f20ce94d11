"""The runs of a page, each with all that the page says of it; rows are turned into arrays and let go."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from normlab.catalogue import naming
from normlab.catalogue.naming import spell
from normlab.disk.untrusted import read_json
from normlab.errors import UserError
from normlab.explain.explanation import Explanation, explained
from normlab.report.heat_table import heat
from normlab.report.metrics import families, series
from normlab.report.pack import packed
from normlab.rundir.writer import ENVIRONMENT
from normlab.runs.reader import Run, Runs
from normlab.runs.recorded import recorded


class PackedCurve(NamedTuple):
    """A metric in full, squeezed."""

    steps: str
    values: str


class PackedMap(NamedTuple):
    """A heat map, squeezed."""

    edges: str
    values: str
    places: tuple[str, ...]
    #: Readings that a column stands for.
    each: int


@dataclass(frozen=True, kw_only=True)
class Card:
    """One run."""

    number: int
    run: Run
    #: What sets it apart from the others: `placement=post warmup=0 seed=1`.
    label: str
    #: The same by knob, as it is typed.
    knobs: Mapping[str, str]
    #: The step after the last row's.
    steps: int
    explanation: Explanation | None
    #: Why there is no explanation.
    trouble: str
    curves: Mapping[str, PackedCurve]
    maps: Mapping[str, PackedMap]

    @property
    def cut_short(self) -> str:
        """How far it came, where that is not all the way."""
        planned = self.run.steps
        if self.run.status == "finished" and (not isinstance(planned, int) or self.steps >= planned):
            return ""
        of = f" of {planned}" if isinstance(planned, int) else ""
        return f"{self.run.status} after {self.steps}{of} steps"

    @cached_property
    def command(self) -> str:
        """What makes this run once more; empty without its config."""
        words = naming.words(self.run.config, aside=True) if self.run.config else []
        return f"normlab train {shlex.join(words)}".rstrip() if self.run.config else ""

    @cached_property
    def made(self) -> str:
        """By which code, on what."""
        try:
            known = read_json(self.run.path / ENVIRONMENT)
            git, packages = known.get("git") or {}, known.get("packages") or {}
            changed = ", changed" if git.get("changed") else ""
            commit = f" ({git['commit'][:10]}{changed})" if git.get("commit") else ""
            parts = [f"normlab {known['normlab']}{commit}", f"torch {packages.get('torch')}"]
            return ", ".join([*parts, str(known.get("device_name")), f"{known.get('threads')} threads"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return ""

    @property
    def why(self) -> str:
        """What explains its trouble, as far as its numbers say."""
        causes = self.explanation.causes if self.explanation else ()
        return next((each.finding.claim for each in causes if each.finding.strength != "beside"), "")

    @property
    def notes(self) -> Sequence[str]:
        """What of its files could not be read."""
        told = self.explanation.notes if self.explanation else ()
        return list(dict.fromkeys([*self.run.notes, *told]))

    @property
    def events(self) -> list[dict[str, Any]]:
        """As they came; those of one step as they stand."""
        return sorted(self.run.events, key=lambda event: int(event["step"]))

    @property
    def loss(self) -> float | None:
        """Its final validation loss, else the training loss at the end."""
        found = [self.run.summary.get(key) for key in ("val/final", "loss/final")]
        return next((float(value) for value in found if isinstance(value, int | float)), None)


def read(runs: Runs) -> list[Card]:
    """A card for each run, in order."""
    labels = _labels(runs)
    return [
        _card(number, run, runs.knobs, label)
        for number, (run, label) in enumerate(zip(runs, labels, strict=True))
    ]


def _labels(runs: Runs) -> list[str]:
    """What differs; with the folder's name where that does not tell a run apart."""
    differ = [
        " ".join(f"{key}={spell(naming.knob(run.config, key))}" for key in runs.knobs) if run.config else ""
        for run in runs
    ]
    names = [run.path.resolve().name for run in runs]
    return [
        text if text and differ.count(text) == 1 else f"{text} ({name})" if text else name
        for text, name in zip(differ, names, strict=True)
    ]


def _card(number: int, run: Run, knobs: Sequence[str], label: str) -> Card:
    explanation, trouble = None, ""
    try:
        known = recorded(run)
        rows = known.rows
        explanation = explained(known)
    except UserError as error:
        rows, trouble = run.read_rows(), str(error)
    found = series(rows)
    maps = {name: each for name in families(found) if (each := heat(found, name))}
    return Card(
        number=number,
        run=run,
        label=label,
        knobs={key: spell(naming.knob(run.config, key)) for key in knobs},
        steps=int(rows[-1]["step"]) + 1 if rows else 0,
        explanation=explanation,
        trouble=trouble,
        curves={name: PackedCurve(packed(one[0]), packed(one[1])) for name, one in found.items()},
        maps={
            name: PackedMap(packed(each.edges), packed(each.values), tuple(each.places), each.each)
            for name, each in maps.items()
        },
    )

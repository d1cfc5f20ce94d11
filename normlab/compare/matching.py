"""Which runs are replicates of one another and which are pairs: groups by what differs, seeds in them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from normlab.catalogue import naming
from normlab.catalogue.groups import defaults
from normlab.catalogue.naming import same, spell, spell_short
from normlab.errors import UserError, nearest
from normlab.runs.reader import Run
from normlab.terminal.wording import listed

#: Settings that make no other experiment: they choose the replicate, the machine or what is looked at.
REPLICATES = ("seed", *naming.ASIDE)
#: The learning rate, which is no baseline where there is another knob: the best one differs by variant.
RATE = "optimizer.lr"

Knobs = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that differ in nothing but the seed."""

    knobs: Knobs
    #: By seed, as it is typed.
    runs: Mapping[str, Run]

    @property
    def label(self) -> str:
        """`placement=post warmup=0`."""
        return label(self.knobs)


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """All groups, and in which settings they differ."""

    knobs: Sequence[str]
    groups: Sequence[Group]
    #: What was left out, and why.
    notes: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Runs of two groups with the same seed and the same batches."""

    pairs: Sequence[tuple[Run, Run]]
    #: Why runs with the same seed are no pair.
    problem: str = ""


def group(runs: Sequence[Run]) -> Grouping:
    """The finished runs by their knobs; what is not finished is left out and said.

    Raises:
        UserError: none is finished.
    """
    done = [run for run in runs if run.finished]
    notes = _unfinished(runs)
    if not done:
        raise UserError(f"no finished run to compare: {'; '.join(notes)}")
    found = replicates(done)
    return replace(found, notes=[*notes, *found.notes])


def replicates(runs: Sequence[Run]) -> Grouping:
    """All `runs` by their knobs, whatever became of them; each has a config."""
    notes: list[str] = []
    texts = {text_of(run) for run in runs}
    # One text may lie in different places on different machines.
    aside = (*REPLICATES, "data.path") if len(texts) == 1 and texts != {""} else REPLICATES
    knobs = [key for key in naming.swept([run.config for run in runs]) if not _within(key, aside)]
    found: dict[tuple[str, ...], dict[str, Run]] = {}
    for run in runs:
        members = found.setdefault(tuple(spell(naming.knob(run.config, key)) for key in knobs), {})
        notes += _add(members, run)
    groups = [
        Group(
            knobs={key: naming.knob(next(iter(members.values())).config, key) for key in knobs}, runs=members
        )
        for members in found.values()
    ]
    return Grouping(knobs=knobs, groups=_in_order(knobs, groups), notes=notes)


def text_of(run: Run) -> str:
    """What tells its text from others: the floors, to a millionth of a nat; empty where there are none."""
    return ", ".join(f"{key} {value:.6f}" for key, value in sorted(run.floors.items()))


def _within(key: str, prefixes: Iterable[str]) -> bool:
    return any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)


def _unfinished(runs: Sequence[Run]) -> list[str]:
    """How many runs do not count and why; of those with a damaged config also what is wrong with it."""
    left = [run for run in runs if not run.finished]
    if not left:
        return []
    counts = Counter(run.status if run.status != "finished" else "without a config" for run in left)
    names = listed([run.path.name for run in left], 3)
    damaged = [run for run in left if run.status == "finished"]
    return [
        f"left out: {', '.join(f'{n} {word}' for word, n in counts.items())} ({names})",
        *(f"{run.path.name}: {note}" for run in damaged[:3] for note in run.notes[:1]),
    ]


def _add(members: dict[str, Run], run: Run) -> list[str]:
    """Put `run` among the replicates; of two with one seed the newer stays: the same run twice is one."""
    seed = spell(run.config.get("seed"))
    old = members.get(seed)
    if old is None:
        members[seed] = run
        return []
    older, newer = sorted((old, run), key=lambda each: (each.path.stat().st_mtime, str(each.path)))
    members[seed] = newer
    return [f"left out: {older.path} repeats {newer.path.name} (same settings, same seed), which counts once"]


def _in_order(knobs: Sequence[str], groups: Sequence[Group]) -> list[Group]:
    """By the first knob, then the second: numbers rising, words as they come."""
    words = {key: list(dict.fromkeys(spell(each.knobs[key]) for each in groups)) for key in knobs}

    def place(key: str, value: Any) -> float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if number else words[key].index(spell(value))

    return sorted(groups, key=lambda each: [place(key, each.knobs[key]) for key in knobs])


def pair(this: Group, other: Group) -> Pairs:
    """Pair by seed and by the hash of the batches: runs that saw other batches are no pair."""
    seeds = [seed for seed in this.runs if seed in other.runs]
    candidates = [(this.runs[seed], other.runs[seed]) for seed in seeds]
    pairs = [(run, twin) for run, twin in candidates if _order(run) and _order(run) == _order(twin)]
    if not seeds:
        return Pairs(pairs=[], problem="no seed in common")
    lost = len(seeds) - len(pairs)
    problem = f"{lost} of {len(seeds)} seeds saw other batches" if lost else ""
    return Pairs(pairs=pairs, problem=problem)


def _order(run: Run) -> Any:
    return run.summary.get("batch_order")


def baseline(grouping: Grouping, words: Sequence[str]) -> Knobs:
    """The knobs that make a group's counterpart: of `words` such as `placement=pre`, else `reference`.

    Raises:
        UserError: a word that is no knob of these groups, or a value that none has.
    """
    if not words:
        return reference(grouping)
    chosen = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"--baseline {word}: is not KEY=VALUE, as in --baseline placement=pre")
        if key not in grouping.knobs:
            known = ", ".join(grouping.knobs) or "nothing"
            raise UserError(
                f"--baseline {word}: {key} does not differ between these runs; what differs: {known}."
                + nearest(key, grouping.knobs)
            )
        values = {spell(each.knobs[key]): each.knobs[key] for each in grouping.groups}
        found = next((known for known in values if same(known, value)), None)
        if found is None:
            raise UserError(
                f"--baseline {word}: no run has that; {key} is {', '.join(values)}." + nearest(value, values)
            )
        chosen[key] = values[found]
    return chosen


def reference(grouping: Grouping) -> Knobs:
    """One knob with the value that the others are measured against, all other knobs the same.

    It is the first knob of words, such as the placement, else the first of numbers, the learning rate last;
    of these, the first in which any two groups differ alone. The value is normlab's default where that is
    among the words, else the first, which of numbers is the lowest.
    """
    knobs = sorted(grouping.knobs, key=lambda key: (_numeric(grouping, key), key == RATE))
    found = [{key: _usual(grouping, key)} for key in knobs]
    matched = (knobs for knobs in found if any(_is_tested(grouping, each, knobs) for each in grouping.groups))
    return next(matched, found[0] if found else {})


def _numeric(grouping: Grouping, key: str) -> bool:
    values = [each.knobs[key] for each in grouping.groups]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _usual(grouping: Grouping, key: str) -> Any:
    values = [each.knobs[key] for each in grouping.groups]
    usual = naming.knob(defaults(), key)
    return usual if usual in values and not _numeric(grouping, key) else values[0]


def _is_tested(grouping: Grouping, this: Group, knobs: Knobs) -> bool:
    other = counterpart(grouping, this, knobs)
    return other is not None and other is not this


def counterpart(grouping: Grouping, this: Group, knobs: Knobs) -> Group | None:
    """The group that is `this` but for the baseline's `knobs`; None where there is none."""
    wanted = {key: spell(value) for key, value in wanted_knobs(this, knobs).items()}
    return next(
        (each for each in grouping.groups if {k: spell(v) for k, v in each.knobs.items()} == wanted), None
    )


def wanted_knobs(this: Group, knobs: Knobs) -> Knobs:
    """The knobs of the counterpart of `this`."""
    return {**this.knobs, **knobs}


def label(knobs: Knobs) -> str:
    """`placement=post warmup=0`; `all runs` where nothing differs."""
    return " ".join(f"{key}={spell_short(value)}" for key, value in knobs.items()) or "all runs"

"""Groups with their figures measured: what the sheets of a comparison are made from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from normlab.compare.matching import (
    Group,
    Grouping,
    Knobs,
    baseline,
    counterpart,
    group,
    label,
    pair,
    text_of,
    wanted_knobs,
)
from normlab.compare.quantities import QUANTITIES, Figures, Quantity, check_metric, measure
from normlab.compare.sheet import Column, Marked, knob_columns
from normlab.compare.verdict import Divergence, PairEvidence, divergence
from normlab.errors import UserError, require
from normlab.runs.reader import Run
from normlab.statistics import Difference, Time, difference, difference_of_times, mean

#: Loss differences that count as none: see `--margin`.
MARGIN = 0.02


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What a comparison is asked for."""

    #: Knobs of the baseline, such as `placement=pre`; one is chosen where there are none: see `reference`.
    baseline: Sequence[str] = ()
    #: The quantity whose differences are tested.
    metric: str = "val/final"
    #: Parity is a difference below this, in the unit of the metric.
    margin: float = MARGIN
    #: A training loss, for the tokens that it takes to reach it.
    target: float | None = None
    #: Compare losses on different texts all the same.
    force: bool = False

    def __post_init__(self) -> None:
        check_metric(self.metric)
        usual = f"must be a finite number above 0, not {self.margin:g}; 0.02 is usual"
        require(0 < self.margin < math.inf, "--margin", usual)
        if self.metric == "tokens_to_target":
            example = "it needs a training loss to reach; give one, as in --target 2.5"
            require(self.target is not None, "--metric tokens_to_target", example)
        if self.target is not None:
            reached = f"must be a finite loss, not {self.target:g}; a mean training loss, such as 2.5"
            require(math.isfinite(self.target), "--target", reached)


@dataclass(frozen=True, kw_only=True)
class Against:
    """A group beside its counterpart. `problem` says why there is no difference, or what it leaves out."""

    group: Group
    other: Group | None
    found: Difference | None
    #: Of all pairs, whatever the metric.
    divergence: Divergence
    problem: str = ""


def evidence(against: Against, *, of_trained: bool) -> PairEvidence:
    """What a verdict rests on, p values uncorrected."""
    found, fates = against.found, against.divergence
    return PairEvidence(
        divergence=fates,
        difference=found,
        p_rate=fates.p if fates.testable else None,
        p=found.p if found else None,
        p_parity=found.p_parity if found else None,
        of_trained=of_trained,
    )


class Study:
    """The finished runs of a comparison, grouped and measured.

    Raises:
        UserError: no run is finished, the texts differ, or the baseline is none of the groups.
    """

    def __init__(self, runs: Sequence[Run], wanted: CompareOptions) -> None:
        self.wanted = wanted
        self.grouping: Grouping = group(runs)
        self.groups = self.grouping.groups
        self.runs = [run for each in self.groups for run in each.runs.values()]
        self.texts = check_texts(self.runs, force=wanted.force)
        self.base: Knobs = baseline(self.grouping, wanted.baseline)
        self._figures: Mapping[Path, Figures] = {run.path: measure(run, wanted.target) for run in self.runs}

    def figures(self, run: Run) -> Figures:
        """The figures of a run."""
        return self._figures[run.path]

    def of(self, group: Group) -> list[Figures]:
        """The figures of a group's runs."""
        return [self.figures(run) for run in group.runs.values()]

    def values(self, group: Group, name: str) -> list[float]:
        """A quantity over the runs of a group that have it."""
        found = (figures.values[name] for figures in self.of(group))
        return [value for value in found if value is not None]

    def mean(self, group: Group, name: str) -> Marked | None:
        """The mean of a loss over a group's runs, with how many were capped."""
        estimate = mean(self.values(group, name))
        capped = sum(figures.capped for figures in self.of(group)) if QUANTITIES[name].of_end else 0
        return (
            None
            if estimate is None
            else Marked(estimate=estimate, capped=capped, missing=len(group.runs) - estimate.n)
        )

    def counterpart(self, group: Group) -> Group | None:
        """The group that this one is measured against; None for a baseline itself, or where there is none."""
        other = counterpart(self.grouping, group, self.base)
        return None if other is group else other

    def against(self) -> list[Against]:
        """Every group that is no baseline beside its counterpart, in the metric that is wanted."""
        return [
            self.compare(each, counterpart(self.grouping, each, self.base))
            for each in self.groups
            if counterpart(self.grouping, each, self.base) is not each
        ]

    def compare(self, this: Group, other: Group | None) -> Against:
        """A group beside another, over pairs of one seed and the same batches."""
        if other is None:
            problem = f"no run with {label(wanted_knobs(this, self.base))}"
            return Against(group=this, other=None, found=None, divergence=divergence([]), problem=problem)
        matched, name = pair(this, other), self.wanted.metric
        pairs = [(self.figures(run), self.figures(twin)) for run, twin in matched.pairs]
        found, lost = self._difference(pairs)
        problem = matched.problem or (f"{lost} of {len(pairs)} pairs have no {name}" if lost else "")
        if self.quantity.time and all(run.values[name] == math.inf for both in pairs for run in both):
            found, problem = None, problem or "no run gets there"
        return Against(
            group=this,
            other=other,
            found=found,
            divergence=divergence([(ours.trained, theirs.trained) for ours, theirs in pairs]),
            problem=problem,
        )

    def _difference(self, pairs: Sequence[tuple[Figures, Figures]]) -> tuple[Difference | None, int]:
        """Over pairs, for a loss those in which both trained; and how many of them have no value."""
        quantity = self.quantity
        if quantity.of_trained:
            pairs = [both for both in pairs if all(figures.trained for figures in both)]
        values = [
            (ours.values[quantity.name], theirs.values[quantity.name], ours, theirs) for ours, theirs in pairs
        ]
        if quantity.time:
            known = [
                (_time(a, ours), _time(b, theirs))
                for a, b, ours, theirs in values
                if a is not None and b is not None
            ]
            return difference_of_times([a for a, _ in known], [b for _, b in known]), len(pairs) - len(known)
        usable = [
            (a, b)
            for a, b, _, _ in values
            if a is not None and b is not None and math.isfinite(a) and math.isfinite(b)
        ]
        found = difference([a for a, _ in usable], [b for _, b in usable], self.wanted.margin)
        return found, len(pairs) - len(usable)

    @property
    def quantity(self) -> Quantity:
        """The metric that is tested."""
        return QUANTITIES[self.wanted.metric]

    def knob_columns(self, without: Sequence[str] = ()) -> list[Column]:
        """The columns that say which group a row is about."""
        return knob_columns([key for key in self.grouping.knobs if key not in without])


def _time(value: float, figures: Figures) -> Time:
    """When it came; or that it did not in all that the run was to see, however early it stopped."""
    if math.isfinite(value):
        return Time(value=value, happened=True)
    return Time(value=math.inf if figures.tokens is None else figures.tokens, happened=False)


def check_texts(runs: Sequence[Run], *, force: bool) -> dict[str, Run]:
    """One run for each text. Raises UserError if there are several and it is not forced."""
    texts: dict[str, Run] = {}
    for run in runs:
        texts.setdefault(text_of(run), run)
    if len(texts) > 1 and not force:
        raise UserError(_different(texts))
    return texts


def _different(texts: Mapping[str, Run]) -> str:
    lines = [f"  {run.path.name}: {floors or 'no floors on record'}" for floors, run in texts.items()]
    return "\n".join(
        [
            "these runs were trained on different texts or tokenizers, whose losses cannot be compared:",
            *lines[:5],
            *([f"  and {len(lines) - 5} more"] if len(lines) > 5 else []),
            "compare those of one text, or say --force and read the loss over the floors",
        ]
    )

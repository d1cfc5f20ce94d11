"""A table over the variants of a sweep, the seeds of each together: for sweeps of many jobs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from normlab.divergence import OUTCOMES
from normlab.sweep.jobs import SweepJob
from normlab.sweep.record import swept, values
from normlab.sweep.table import STYLES, cell, outcome
from normlab.terminal.wording import fixed, printable

#: Jobs that have a row each, at most.
ROWS = 16
#: Runs with another outcome have no loss that says how well a variant trains.
_TRAINED = ("stable", "spiked")
_SEED = "seed"


def has_replicates(jobs: Sequence[SweepJob]) -> bool:
    """Whether there are more jobs than rows, and seeds to put together."""
    keys = swept(jobs)
    return len(jobs) > ROWS and _SEED in keys and len(keys) > 1


def replicates_table(jobs: Sequence[SweepJob]) -> Table:
    """One row a variant: knobs, runs, outcomes, mean final validation loss of the runs that trained."""
    knobs = [key for key in swept(jobs) if key != _SEED]
    groups: dict[tuple[str, ...], list[SweepJob]] = {}
    for job in jobs:
        groups.setdefault(tuple(cell(value) for value in values(job, knobs).values()), []).append(job)
    result = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
    for knob in knobs:
        result.add_column(Text(printable(knob.rpartition(".")[2])), overflow="fold")
    for column in ("runs", "outcomes", "val"):
        result.add_column(column, justify="left" if column == "outcomes" else "right")
    for shown, members in groups.items():
        result.add_row(*map(Text, shown), str(len(members)), _outcomes(members), _loss(members))
    result.caption = "val: mean of the runs that trained ± half of Student's 95 % interval over the seeds"
    result.caption_justify = "left"
    return result


def _outcomes(members: Sequence[SweepJob]) -> Text:
    """`2 stuck, 1 stable`, the worst first."""
    counts = Counter(map(outcome, members))
    known = [*OUTCOMES, "stable"]
    ordered = sorted(counts, key=lambda word: known.index(word) if word in known else -1)
    parts = [Text(f"{counts[word]} {word}", style=STYLES.get(word, "bold red")) for word in ordered]
    return Text(", ").join(parts)


def _loss(members: Sequence[SweepJob]) -> str:
    from normlab import statistics  # scipy, which no start waits for

    trained = [job.summary for job in members if outcome(job) in _TRAINED]
    losses = [summary["val/final"] for summary in trained if _is_loss(summary)]
    found = statistics.mean(losses)
    if found is None:
        return "-"
    half = "" if found.half is None else f" ± {fixed(found.half, 3)}"
    several = f" (n={found.n})" if found.n < len(members) else ""
    return f"{fixed(found.value, 3)}{half}{several}"


def _is_loss(summary: Mapping[str, Any]) -> bool:
    value = summary.get("val/final")
    return isinstance(value, int | float) and abs(value) < 1e300

"""The sheets of a comparison along an axis: sensitivity to the learning rate, and slopes against depth."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from normlab.analysis import statistics
from normlab.analysis.critical import DEPTH, bounded, scaling
from normlab.analysis.matching import Group, label
from normlab.analysis.sheet import Column, Marked, Sheet, number
from normlab.analysis.statistics import Estimate
from normlab.analysis.study import Study
from normlab.stability import STABLE, Border, border, is_stable
from normlab.sweep.bisection import Variant

RATE = "optimizer.lr"
#: Neighbouring rates may be this much more than their mean ratio apart.
_UNEVEN = 1.5

#: Groups along an axis, by its value.
Axis = Mapping[float, Group]


def sheets(study: Study) -> list[Sheet]:
    """A sheet for each axis on which there are two values or more."""
    found = []
    if RATE in study.grouping.knobs:
        found.append(sensitivity(study))
    if DEPTH in study.grouping.knobs:
        found.append(slopes(study))
    if {RATE, DEPTH} <= set(study.grouping.knobs):
        found.append(scaling(_variants(study)))
    return found


def _variants(study: Study) -> list[Variant]:
    return [
        Variant(knobs=rest, outcomes={rate: _outcomes(study, group) for rate, group in axis.items()})
        for rest, axis in along(study, RATE)
    ]


def _outcomes(study: Study, group: Group) -> list[str]:
    return [figures.word for figures in study.of(group)]


def along(study: Study, key: str) -> list[tuple[dict[str, Any], Axis]]:
    """The groups that differ in `key` alone, together: their other knobs, and they by their value of it."""
    found: dict[str, tuple[dict[str, Any], dict[float, Group]]] = {}
    for each in study.groups:
        value, rest = each.knobs[key], {name: other for name, other in each.knobs.items() if name != key}
        if isinstance(value, int | float):
            found.setdefault(label(rest), (rest, {}))[1][float(value)] = each
    return [(rest, dict(sorted(axis.items()))) for rest, axis in found.values()]


def sensitivity(study: Study) -> Sheet:
    """LR sensitivity (Wortsman 2309.14322), S = mean over rates of [min(loss, ln V) - best loss].

    The loss is the final validation loss, the best one the lowest over the same seed's rates. A seed counts
    if it ran at every rate. The critical rate is the largest one below which, it included, at least `STABLE`
    of the seeds train at every rate.
    """
    rows, notes = [], []
    if any(key != RATE and key.partition(".")[0] == "optimizer" for key in study.grouping.knobs):
        notes.append("optimizers differ: a rate does not mean the same to them, nor does S")
    for rest, axis in along(study, RATE):
        curves, lost = _curves(study, axis)
        notes += [f"{label(rest)}: {lost} seeds did not run at every rate and are left out of S"] * (lost > 0)
        notes += [f"{label(rest)}: the rates are not evenly spaced; S weighs each alike"] * _uneven(
            list(axis)
        )
        best = {rate: statistics.mean([curve[rate] for curve in curves]) for rate in axis}
        lowest = min((rate for rate in axis if best[rate]), key=lambda rate: best[rate].value, default=None)  # type: ignore[union-attr]
        rows.append(
            {
                **rest,
                "rates": {"low": min(axis), "high": max(axis), "count": len(axis)},
                "n": len(curves),
                # Of one rate there is nothing to be sensitive to.
                "sensitivity": statistics.mean([_sensitivity(curve) for curve in curves if len(curve) > 1]),
                "best_rate": lowest,
                "best_loss": best.get(lowest) if lowest is not None else None,
                "critical": critical(study, axis),
            }
        )
    columns = [
        Column(name="rates", title="rates", text=_range, right=False, rank=2),
        Column(name="n", title="n"),
        Column(name="sensitivity", title="S", text=_plus_minus),
        Column(name="best_rate", title="best rate", text=number("g")),
        Column(name="best_loss", title="loss there", text=_plus_minus, rank=1),
        Column(name="critical", title="critical rate", text=bounded),
    ]
    return Sheet(
        name="sensitivity",
        title="Learning rate",
        caption="S: mean over the rates of min(final val loss, ln V) - lowest over the "
        f"rates, nats (Wortsman 2309.14322). critical rate: the largest at and below which {STABLE:.0%} of "
        "the seeds train. ± half of Student's 95 % interval over n seeds",
        columns=[*study.knob_columns(without=[RATE]), *columns],
        rows=rows,
        notes=notes,
    )


def _curves(study: Study, axis: Axis) -> tuple[list[dict[float, float]], int]:
    """For each seed that ran at every rate its final validation loss by rate; and how many seeds did not."""
    seeds = dict.fromkeys(seed for group in axis.values() for seed in group.runs)
    curves = []
    for seed in seeds:
        runs = {rate: group.runs.get(seed) for rate, group in axis.items()}
        losses = {rate: run and study.figures(run).values["val/final"] for rate, run in runs.items()}
        whole = {rate: loss for rate, loss in losses.items() if isinstance(loss, float)}
        curves += [whole] if len(whole) == len(axis) else []
    return curves, len(seeds) - len(curves)


def _sensitivity(curve: Mapping[float, float]) -> float:
    best = min(curve.values())
    return sum(loss - best for loss in curve.values()) / len(curve)


def _uneven(rates: Sequence[float]) -> bool:
    steps = [math.log(high / low) for low, high in itertools.pairwise(rates) if low > 0]
    return bool(steps) and max(steps) > _UNEVEN * sum(steps) / len(steps)


def critical(study: Study, axis: Axis) -> Border:
    """Where stability ends along an axis."""
    return border({value: is_stable(_outcomes(study, group)) for value, group in axis.items()})


def _range(rates: dict[str, Any]) -> str:
    return f"{rates['count']}, {rates['low']:g} to {rates['high']:g}"


def _plus_minus(found: Estimate) -> str:
    return f"{found.value:.3f}" + ("" if found.half is None else f" ± {found.half:.3f}")


def slopes(study: Study) -> Sheet:
    """How figures grow with depth: least-squares slopes, one a seed that ran at every depth."""
    rows = []
    for rest, axis in along(study, DEPTH):
        depths = list(axis)
        rows.append(
            {
                **rest,
                "depths": {"low": depths[0], "high": depths[-1], "count": len(depths)},
                "loss": _loss_slope(study, axis),
                "start": _slope(study, axis, "first_to_last/start", logarithmic=True),
                "end": _slope(study, axis, "first_to_last/end", logarithmic=True),
                "critical": critical(study, axis),
            }
        )
    columns = [
        Column(name="depths", title="depths", text=_range, right=False, rank=2),
        Column(name="loss", title="loss a doubling", text=_marked),
        Column(name="start", title="g1/gL start", text=_plus_minus_n),
        Column(name="end", title="g1/gL end", text=_plus_minus_n, rank=1),
        Column(name="critical", title="trains to", text=bounded),
    ]
    return Sheet(
        name="depth",
        title="Depth",
        caption="loss a doubling: nats of final val loss for each doubling of depth. g1/gL: log-log slope. "
        "One slope a seed that ran at every depth, ± half of Student's 95 % interval (seeds). trains to: the "
        f"largest depth to which {STABLE:.0%} of the seeds train",
        columns=[*study.knob_columns(without=[DEPTH]), *columns],
        rows=rows,
    )


def _loss_slope(study: Study, axis: Axis) -> Marked | None:
    found = _slope(study, axis, "val/final", logarithmic=False)
    capped = sum(figures.capped for group in axis.values() for figures in study.of(group))
    return None if found is None else Marked(estimate=found, capped=capped)


def _slope(study: Study, axis: Axis, name: str, *, logarithmic: bool) -> Estimate | None:
    if len(axis) < 2:
        return None
    found = []
    for seed in dict.fromkeys(seed for group in axis.values() for seed in group.runs):
        runs = [group.runs.get(seed) for group in axis.values()]
        values = [run and study.figures(run).values[name] for run in runs]
        usable = [value for value in values if isinstance(value, float) and (value > 0 or not logarithmic)]
        if len(usable) == len(axis):
            heights = [math.log2(value) for value in usable] if logarithmic else usable
            found.append(statistics.slope([math.log2(depth) for depth in axis], heights))
    return statistics.mean(found)


def _marked(found: Marked) -> str:
    return _plus_minus_n(found.estimate) + "*" * bool(found.capped)


def _plus_minus_n(found: Estimate) -> str:
    half = "" if found.half is None else f" ± {found.half:.3f}"
    return f"{found.value:+.3f}{half} ({found.n})"

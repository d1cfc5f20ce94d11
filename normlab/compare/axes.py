"""The sheets of a comparison along an axis: sensitivity to the learning rate, and slopes against depth."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from normlab import statistics
from normlab.compare.border import fit_border
from normlab.compare.critical import DEPTH, border_interval, bounded, scaling
from normlab.compare.matching import Group, label
from normlab.compare.sheet import Column, Marked, Sheet, number
from normlab.compare.study import Study
from normlab.statistics import Estimate
from normlab.sweep.bisection import Variant

RATE = "optimizer.lr"
#: Neighbouring rates may be this much more than their mean ratio apart.
_UNEVEN = 1.5

#: Beyond any rate or depth that a run can have.
FARTHEST = 1e100
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
    return [Variant(knobs=rest, outcomes=_trials(study, axis)) for rest, axis in along(study, RATE)]


def _trials(study: Study, axis: Axis) -> dict[float, dict[Any, str]]:
    """What became of each run along an axis, by value and seed."""
    return {
        value: {seed: study.figures(run).word for seed, run in group.runs.items()}
        for value, group in axis.items()
    }


def along(study: Study, key: str) -> list[tuple[dict[str, Any], Axis]]:
    """The groups that differ in `key` alone, together: their other knobs, and they by their value of it."""
    found: dict[str, tuple[dict[str, Any], dict[float, Group]]] = {}
    least = 0.0 if key in (RATE, DEPTH) else -FARTHEST
    for each in study.groups:
        value, rest = each.knobs[key], {name: other for name, other in each.knobs.items() if name != key}
        if isinstance(value, int | float) and least < value < FARTHEST:  # a foreign config may have anything
            found.setdefault(label(rest), (rest, {}))[1][float(value)] = each
    return [(rest, dict(sorted(axis.items()))) for rest, axis in found.values()]


def sensitivity(study: Study) -> Sheet:
    """LR sensitivity (Wortsman 2309.14322): S = mean over rates of min(loss, ln V) - loss at the best rate.

    The loss is the final validation loss. The lowest of several noisy losses is below any rate's mean, so a
    seed's best rate is chosen by the mean of the *other* seeds, and its own loss there is subtracted
    (cross-fitting); the loss at the best rate likewise. A seed counts if it ran at every rate.
    """
    rows, notes = [], []
    if any(key != RATE and key.partition(".")[0] == "optimizer" for key in study.grouping.knobs):
        notes.append("optimizers differ: a rate does not mean the same to them, nor does S")
    for rest, axis in along(study, RATE):
        curves, lost = _curves(study, axis)
        if lost:
            notes.append(f"{label(rest)}: {lost} seeds did not run at every rate and are left out of S")
        if _uneven(list(axis)):
            notes.append(f"{label(rest)}: the rates are not evenly spaced; S weighs each alike")
        if len(curves) == 1 and len(axis) > 1:
            notes.append(f"{label(rest)}: one seed: its best rate is chosen by itself, which flatters it")
        best = at_best_rate(curves)
        border = fit_border(_trials(study, axis))
        rows.append(
            {
                **rest,
                "rates": {"low": min(axis), "high": max(axis), "count": len(axis)},
                "n": len(curves),
                # Of one rate there is nothing to be sensitive to.
                "sensitivity": statistics.mean(lr_sensitivity(curves)) if len(axis) > 1 else None,
                "best_rate": _best_rate(curves),
                "best_loss": statistics.mean(best),
                "critical": border,
                "interval": border,
            }
        )
    columns = [
        Column(name="rates", title="rates", text=_range, right=False, rank=2),
        Column(name="n", title="n"),
        Column(name="sensitivity", title="S", text=_plus_minus),
        Column(name="best_rate", title="best rate", text=number("g")),
        Column(name="best_loss", title="loss there", text=_plus_minus, rank=1),
        Column(name="critical", title="critical rate", text=bounded),
        Column(name="interval", title="95 % interval", text=border_interval, rank=1),
    ]
    return Sheet(
        name="sensitivity",
        title="Learning rate",
        caption="S: mean over the rates of min(final val loss, ln V) - loss at the best rate, nats "
        "(Wortsman 2309.14322); a seed's best rate is the other seeds'. ± half of Student's 95 % interval "
        "over n seeds. critical rate: at which half of the runs train, by a logistic fit to all",
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


def lr_sensitivity(curves: Sequence[Mapping[float, float]]) -> list[float]:
    """S of each seed, from its losses by rate: their mean less its loss at the best rate of the others."""
    means = [sum(curve.values()) / len(curve) for curve in curves]
    return [mean - best for mean, best in zip(means, at_best_rate(curves), strict=True)]


def at_best_rate(curves: Sequence[Mapping[float, float]]) -> list[float]:
    """Each seed's loss at the rate that is best on average over the other seeds; its own best of one seed."""
    found = []
    for place, curve in enumerate(curves):
        others = [*curves[:place], *curves[place + 1 :]] or [curve]
        rate = _best_rate(others)
        found += [] if rate is None else [curve[rate]]
    return found


def _best_rate(curves: Sequence[Mapping[float, float]]) -> float | None:
    """The rate with the lowest mean loss; None without a curve."""
    if not curves:
        return None
    return min(curves[0], key=lambda rate: sum(curve[rate] for curve in curves))


def _uneven(rates: Sequence[float]) -> bool:
    steps = [math.log(high / low) for low, high in itertools.pairwise(rates) if low > 0]
    return bool(steps) and max(steps) > _UNEVEN * sum(steps) / len(steps)


def _range(rates: dict[str, Any]) -> str:
    return f"{rates['count']}, {rates['low']:g} to {rates['high']:g}"


def _plus_minus(found: Estimate) -> str:
    return f"{found.value:.3f}" + ("" if found.half is None else f" ± {found.half:.3f}")


def slopes(study: Study) -> Sheet:
    """How figures grow with depth: least-squares slopes, one a seed that ran at every depth."""
    rows = []
    for rest, axis in along(study, DEPTH):
        depths = list(axis)
        border = fit_border(_trials(study, axis))
        rows.append(
            {
                **rest,
                "depths": {"low": depths[0], "high": depths[-1], "count": len(depths)},
                "loss": _loss_slope(study, axis),
                "start": _slope(study, axis, "first_to_last/start", logarithmic=True),
                "end": _slope(study, axis, "first_to_last/end", logarithmic=True),
                "critical": border,
                "interval": border,
            }
        )
    columns = [
        Column(name="depths", title="depths", text=_range, right=False, rank=2),
        Column(name="loss", title="loss a doubling", text=_marked),
        Column(name="start", title="g1/gL start", text=_plus_minus_n),
        Column(name="end", title="g1/gL end", text=_plus_minus_n, rank=1),
        Column(name="critical", title="trains to", text=bounded),
        Column(name="interval", title="95 % interval", text=border_interval, rank=1),
    ]
    return Sheet(
        name="depth",
        title="Depth",
        caption="loss a doubling: nats of final val loss for each doubling of depth. g1/gL: log-log slope. "
        "One slope a seed that ran at every depth, ± half of Student's 95 % interval (seeds). trains to: the "
        "depth at which half of the runs train, by a logistic fit to all, with its interval",
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
    return _plus_minus_n(found.estimate) + ("*" if found.capped else "")


def _plus_minus_n(found: Estimate) -> str:
    half = "" if found.half is None else f" ± {found.half:.3f}"
    return f"{found.value:+.3f}{half} ({found.n})"

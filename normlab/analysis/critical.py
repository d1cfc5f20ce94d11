"""Critical learning rates, and how they scale with depth: of a search, or of a comparison's grid."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from normlab.analysis import formats, statistics
from normlab.analysis.matching import label
from normlab.analysis.sheet import Column, Sheet, interval, knob_columns
from normlab.analysis.statistics import Estimate
from normlab.disk import replace_file
from normlab.stability import STABLE, UNTRAINED, Border, border
from normlab.sweep.bisection import Variant

DEPTH = "depth"
#: Where a search leaves what it found, in the folder of its sweep.
FILE = "critical.json"


def critical(variants: Sequence[Variant]) -> Sheet:
    """The largest stable rate of each variant, and what became of the runs beyond."""
    tried = [variant for variant in variants if variant.outcomes]
    rows = [_row(variant, border(variant.stable)) for variant in tried]
    columns = [
        *knob_columns(_keys(tried)),
        Column(name="critical", title="critical rate", text=bounded),
        Column(name="fails", title="fails at", text=lambda rate: f"{rate:g}"),
        Column(name="outcomes", title="with", text=_counts, right=False, least=12),
    ]
    return Sheet(
        name="critical",
        title="Critical learning rate",
        caption=f"the largest rate at and below which {STABLE:.0%} of the seeds train at every rate tried: "
        "end below the unigram entropy of the text, and neither nonfinite nor exploded nor stuck",
        columns=columns,
        rows=rows,
        notes=[note for variant in variants for note in _notes(variant)],
    )


def _row(variant: Variant, found: Border) -> dict[str, Any]:
    fails = found.fails
    return {
        **variant.knobs,
        "critical": found,
        "fails": fails,
        "outcomes": None if fails is None else Counter(variant.outcomes[fails]),
    }


def _notes(variant: Variant) -> list[str]:
    name = label(variant.knobs)
    notes = [f"{name}: not at its end, {variant.stopped}"] * bool(variant.stopped)
    found = border(variant.stable) if variant.outcomes else None
    if found and found.above:
        rates = _listed(found.above)
        notes.append(f"{name}: not monotone: it fails at {found.fails:g}, and is stable again at {rates}")
    if found and found.bound == "<" and set(variant.outcomes[found.at]) & {UNTRAINED, "stuck"}:
        notes.append(
            f"{name}: {found.at:g} may be too low to learn in so few steps, and a search that begins so "
            "finds no stable rate above: give a higher critical.lowest, or more train.steps"
        )
    return notes


def scaling(variants: Sequence[Variant]) -> Sheet:
    """The log-log slope of the critical rate against depth, of the variants that differ in depth alone.

    Each rate is only known to lie between the last stable and the first unstable one; the slope is that of
    their geometric middles, its bounds are the least and the largest that rates within these can give: a
    slope is the sum of w_i log(rate_i), w_i = (x_i - mean x) / sum (x - mean x)^2, x = log depth.
    """
    series: dict[str, tuple[dict[str, Any], dict[float, Border]]] = {}
    for variant in variants:
        rest = {key: value for key, value in variant.knobs.items() if key != DEPTH}
        if variant.outcomes:
            borders = series.setdefault(label(rest), (rest, {}))[1]
            borders[float(variant.knobs[DEPTH])] = border(variant.stable)
    rows = [{**rest, **_slope(dict(sorted(borders.items())))} for rest, borders in series.values()]
    unbounded = {
        name: [depth for depth, each in borders.items() if each.bound != "="]
        for name, (_, borders) in series.items()
    }
    notes = [
        f"{name}: no slope, since the rates tried do not enclose the critical one at depth {_listed(depths)}"
        for name, depths in unbounded.items()
        if depths
    ]
    columns = [
        *knob_columns([key for key in _keys(variants) if key != DEPTH]),
        Column(name="depths", title="depths", text=_listed),
        Column(name="slope", title="slope", text=_slope_text),
        Column(name="bounds", title="bounds by the grid", text=interval("+.2f")),
    ]
    return Sheet(
        name="critical_depth",
        title="Critical learning rate against depth",
        caption="slope of log rate against log depth: -1 halves the rate with twice the depth. bounds by the "
        "grid: of all slopes that the rates tried leave open. ± half of Student's 95 % interval, of three "
        "depths or more",
        columns=columns,
        rows=rows,
        notes=notes,
    )


def _slope(borders: Mapping[float, Border]) -> dict[str, Any]:
    depths = list(borders)
    if len(depths) < 2 or any(each.bound != "=" for each in borders.values()):
        return {"depths": depths, "slope": None, "bounds": None}
    edges = [(each.at, float(each.fails or each.at)) for each in borders.values()]
    return {"depths": depths, **statistics.bracketed_power(depths, edges)}


def _keys(variants: Sequence[Variant]) -> list[str]:
    return list(variants[0].knobs) if variants else []


def bounded(found: Border) -> str:
    """`0.01`, `≥ 0.1`, `< 0.0001`."""
    sign = {"=": "", "<": "< ", ">=": "≥ "}[found.bound]
    return f"{sign}{found.at:g}"


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _counts(words: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in words.items())


def _slope_text(found: Estimate) -> str:
    return f"{found.value:+.2f}" + ("" if found.half is None else f" ± {found.half:.2f}")


def print_critical(
    variants: Sequence[Variant], content: Mapping[str, Any], directory: Path, *, as_json: bool = False
) -> None:
    """Print both tables, the second where the depth varies; or as JSON, along with `content`.

    The JSON is also left in `directory`.
    """
    sheets = [critical(variants), *([scaling(variants)] if DEPTH in _keys(variants) else [])]
    records = {sheet.name: sheet.records() for sheet in sheets}
    notes = [note for sheet in sheets for note in sheet.notes]
    more = {"knobs": _keys(variants), **records, "trials": _trials(variants), "notes": notes}
    text = formats.as_json({**content, **more})
    replace_file(directory / FILE, (text + "\n").encode())
    if as_json:
        print(text)
    else:
        formats.show([sheet.printable() for sheet in sheets], [], Console(highlight=False), everything=False)


def _trials(variants: Sequence[Variant]) -> list[dict[str, Any]]:
    return [
        {**variant.knobs, "rate": rate, "stable": variant.stable[rate], "outcomes": words}
        for variant in variants
        for rate, words in sorted(variant.outcomes.items())
    ]

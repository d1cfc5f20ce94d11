"""Critical learning rates, and how they scale with depth: of a search, or of a comparison's grid."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from normlab.compare import formats
from normlab.compare.border import Border, BorderSlope, fit_border, slope_of_borders
from normlab.compare.matching import label
from normlab.compare.sheet import Column, Sheet, knob_columns, number
from normlab.disk.whole_files import replace_file
from normlab.sweep.bisection import Variant

DEPTH = "depth"
#: Where a search leaves what it found, in the folder of its sweep.
FILE = "critical.json"


def critical(variants: Sequence[Variant]) -> Sheet:
    """The rate at which half of each variant's runs train, and what became of the runs beyond."""
    tried = [(variant, fit_border(variant.outcomes)) for variant in variants if variant.outcomes]
    columns = [
        *knob_columns(_keys(variants)),
        Column(name="critical", title="critical rate", text=bounded),
        Column(name="interval", title="95 % interval", text=border_interval),
        Column(name="fails", title="fails at", text=lambda rate: f"{rate:g}"),
        Column(name="outcomes", title="with", text=_counts, right=False, least=12),
    ]
    return Sheet(
        name="critical",
        title="Critical learning rate",
        caption="the rate at which half of the runs train: end 0.1 nat below the unigram entropy of the text "
        "or lower, and neither nonfinite nor exploded nor stuck. A logistic fit to all runs with its profile "
        "interval, from three seeds on no narrower than Student's over the seeds. fails "
        "at: the lowest rate above the highest at which at least half do",
        columns=columns,
        rows=[_row(variant, found) for variant, found in tried],
        notes=[note for variant in variants for note in _notes(variant)],
    )


def _row(variant: Variant, found: Border) -> dict[str, Any]:
    fails = found.fails
    return {
        **variant.knobs,
        "critical": found,
        "interval": found,
        "fails": fails,
        "outcomes": None if fails is None else Counter(variant.outcomes[fails].values()),
    }


def _notes(variant: Variant) -> list[str]:
    name = label(variant.knobs)
    notes = [f"{name}: not at its end, {variant.stopped}"] if variant.stopped else []
    if not variant.outcomes:
        return notes
    found = fit_border(variant.outcomes)
    if found.gaps:
        gaps = _listed(found.gaps)
        notes.append(f"{name}: not monotone: it fails at {gaps}, and trains again at {found.trains:g}")
    if found.slow:
        notes.append(f"{name}: {_listed(found.slow)} too low to learn in so few steps: left out of the fit")
    if found.trains is None and "nonfinite" not in (words := _all_words(variant)) and "exploded" not in words:
        notes.append(f"{name}: no rate tried trains, and none breaks: give more train.steps")
    if found.seeds == 1:
        notes.append(f"{name}: one seed: its interval does not hold how far seeds differ")
    return notes


def _all_words(variant: Variant) -> set[str]:
    return {word for words in variant.outcomes.values() for word in words.values()}


def scaling(variants: Sequence[Variant]) -> Sheet:
    """The log-log slope of the critical rate against depth, of the variants that differ in depth alone."""
    series: dict[str, tuple[dict[str, Any], dict[float, Border]]] = {}
    for variant in variants:
        rest = {key: value for key, value in variant.knobs.items() if key != DEPTH}
        if variant.outcomes:
            borders = series.setdefault(label(rest), (rest, {}))[1]
            borders[float(variant.knobs[DEPTH])] = fit_border(variant.outcomes)
    rows = [{**rest, **_slope(dict(sorted(borders.items())))} for rest, borders in series.values()]
    unbounded = {
        name: [depth for depth, each in borders.items() if each.value is None]
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
        Column(name="slope", title="slope", text=number("+.2f")),
        Column(name="interval", title="95 % interval", text=_slope_interval),
    ]
    return Sheet(
        name="critical_depth",
        title="Critical learning rate against depth",
        caption="slope of log rate against log depth: -1 halves the rate with twice the depth. Its interval "
        "holds those of the rates",
        columns=columns,
        rows=rows,
        notes=notes,
    )


def _slope(borders: Mapping[float, Border]) -> dict[str, Any]:
    found = slope_of_borders(list(borders), list(borders.values()))
    return {"depths": list(borders), "slope": found, "interval": found}


def _keys(variants: Sequence[Variant]) -> list[str]:
    return list(variants[0].knobs) if variants else []


def bounded(found: Border) -> str:
    """`0.013`; `≥ 0.1` and `< 0.0001` where the values tried do not enclose it.

    `none trains` where none does and the lowest has only learnt too little.
    """
    if found.value is not None:
        return f"{found.value:.2g}"
    if found.trains is not None:
        return f"≥ {found.trains:g}"
    return "none trains" if found.fails is None else f"< {found.fails:g}"


def border_interval(found: Border) -> str:
    """`[0.0098, 0.016]`; `-` for an end that the trials leave open."""
    return _ends(found.low, found.high, ".2g")


def _slope_interval(found: BorderSlope) -> str:
    return _ends(found.low, found.high, "+.2f")


def _ends(low: float | None, high: float | None, form: str) -> str:
    return f"[{'-' if low is None else f'{low:{form}}'}, {'-' if high is None else f'{high:{form}}'}]"


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _counts(words: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in words.items())


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
        {**variant.knobs, "rate": rate, "trained": variant.shares[rate], "outcomes": list(words.values())}
        for variant in variants
        for rate, words in sorted(variant.outcomes.items())
    ]

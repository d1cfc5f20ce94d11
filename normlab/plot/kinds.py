"""The table of figures: one row a kind, with how it is made from what there is."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from normlab.catalogue.naming import spell
from normlab.compare.axes import RATE
from normlab.compare.matching import Group, Grouping
from normlab.compare.study import CompareOptions as StudyWanted
from normlab.compare.study import Study
from normlab.errors import UserError, nearest
from normlab.figures import panels
from normlab.figures.depth import profile, profiles
from normlab.figures.heat import Heat, heat, heat_maps
from normlab.figures.loss import Bundle, Facet, curve, loss_curves
from normlab.figures.probe import groups_of, probe_figure, slopes_figure, slopes_of
from normlab.measure.families import FAMILIES, USUAL, Family, family, missing
from normlab.plot.material import Drawn, Material, UnfitError, short_label
from normlab.plot.outcome import knobs, maps, outcome_maps
from normlab.plot.sensitivity import sensitivities, sensitivity_curves
from normlab.probe.reading import read_probe

if TYPE_CHECKING:
    from matplotlib.figure import Figure


#: Curves in one panel at most: there are no more colours.
_TOGETHER = 8
#: With bands, which hide one another.
_BANDED = 4


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of figure. `draw` raises an UnfitError that says what it needs."""

    name: str
    meaning: str
    draw: Callable[[Material], Drawn]


def _loss(material: Material) -> Drawn:
    grouping = material.grouping
    material.check_one_text(grouping.groups)
    if not any("loss" in material.columns(run) for group in grouping.groups for run in group.runs.values()):
        raise UnfitError("no row has a loss")
    shared = _facets(grouping)
    facets: dict[str, list[Bundle]] = {}
    for group in grouping.groups:
        apart, rest = (
            {key: group.knobs[key] for key in grouping.knobs if (key in shared) == own} for own in (1, 0)
        )
        curves = [curve(material.columns(run), run.events) for run in group.runs.values()]
        label = short_label(rest) if rest else material.name
        facets.setdefault(short_label(apart), []).append(Bundle(label, curves))
    words = "Loss" if sum(len(group.runs) for group in grouping.groups) == 1 else "Training loss"
    shown = [Facet(label, bundles) for label, bundles in facets.items()]
    figures = {
        f"loss{more}": loss_curves(page, material.floors, material.title(words), material.wanted.band)
        for more, page in panels.pages(shown)
    }
    return Drawn(figures=figures, notes=grouping.notes)


def _facets(grouping: Grouping) -> list[str]:
    """The knobs by which curves go into panels of their own, so that no panel has more than `_TOGETHER`, or
    `_BANDED` with a band around each: those with the fewest values."""
    most = _BANDED if any(len(each.runs) > 1 for each in grouping.groups) else _TOGETHER
    counts = {key: len({spell(each.knobs[key]) for each in grouping.groups}) for key in grouping.knobs}
    left = sorted(grouping.knobs, key=lambda key: counts[key])
    apart: list[str] = []
    while len(left) > 1 and math.prod(counts[key] for key in left) > most:
        apart.append(left.pop(0))
    return apart


def _by_layer(name: str, usual: str) -> Callable[[Material], Drawn]:
    """A figure of a family against layer."""

    def draw(material: Material) -> Drawn:
        shown = family(material.wanted.metric or usual)
        found = {}
        for group in material.grouping.groups:
            tables = [heat("", material.columns(run), shown).values for run in group.runs.values()]
            tables = [each for each in tables if each.places and len(each.steps)]
            same = [each for each in tables if each.places == tables[0].places]
            if same:
                found[material.label(group)] = profile(material.label(group), same, material.wanted.steps)
        _check(material, shown, list(found))
        some = [each for each in found.values() if each.lines]
        if not some:
            wanted = ",".join(map(str, material.wanted.steps))
            last = max(
                int(material.columns(run)["step"].steps[-1])
                for group in material.grouping.groups
                for run in group.runs.values()
            )
            raise UserError(f"--steps {wanted}: the last step is {last}")
        figures = {
            f"{name}{more}": profiles(page, shown, material.title(f"{shown.heading} by layer"))
            for more, page in panels.pages(some)
        }
        return Drawn(figures=figures, notes=_notes(material, shown, list(found)))

    return draw


def _heat(material: Material) -> Drawn:
    chosen = [family(material.wanted.metric)] if material.wanted.metric else [FAMILIES[key] for key in USUAL]
    figures: dict[str, Figure] = {}
    notes: list[str] = list(material.grouping.notes)
    for shown in chosen:
        found = [_one(material, group, shown) for group in material.grouping.groups]
        there = [each for each in found if each is not None]
        if not there and not material.wanted.metric:
            notes.append(f"heat: {missing(shown, ())}")
            continue
        _check(material, shown, there)
        notes += _notes(material, shown, there)[len(material.grouping.notes) :]
        title = material.title(f"{shown.heading} by layer and step")
        for more, page in panels.pages(there):
            figures[f"heat-{shown.key.replace('/', '_')}{more}"] = heat_maps(page, shown, title)
    if not figures:
        raise UnfitError("; ".join(missing(shown, ()) for shown in chosen))
    if any(len(group.runs) > 1 for group in material.grouping.groups):
        notes.append("heat: of several seeds the first is shown")
    return Drawn(figures=figures, notes=notes)


def _one(material: Material, group: Group, shown: Family) -> Heat | None:
    """The map of a group: of its first run that has one."""
    for run in group.runs.values():
        found = heat(material.label(group), material.columns(run), shown, run.events)
        if found.values.places and len(found.values.steps):
            return found
    return None


def _check(material: Material, shown: Family, found: object) -> None:
    if not found:
        raise UnfitError(missing(shown, material.families))


def _notes(material: Material, shown: Family, found: list[str] | list[Heat]) -> list[str]:
    lost = len(material.grouping.groups) - len(found)
    more = [f"{lost} of {len(material.grouping.groups)} variants have no {shown.key}: {shown.measure}"]
    return [*material.grouping.notes, *more * (lost > 0)]


def _outcome(material: Material) -> Drawn:
    grouping = material.grouping
    chosen = knobs(grouping, material.wanted.over)
    every = maps(grouping, chosen)
    words = "Outcome by " + " and ".join(chosen)
    figures = {
        f"outcome{more}": outcome_maps(page, chosen, material.title(words))
        for more, page in panels.pages(every)
    }
    return Drawn(figures=figures, notes=grouping.notes)


def _sensitivity(material: Material) -> Drawn:
    key = material.wanted.over[0] if material.wanted.over else RATE
    grouping = material.grouping
    if key not in grouping.knobs:
        raise UnfitError(f"{key} does not differ between these runs; --over KNOB takes another")
    study = Study(material.runs, StudyWanted(force=material.wanted.force))
    curves = sensitivities(study, key)
    if not curves:
        raise UnfitError(f"{key} is no number, or no run has a final validation loss")
    title = material.title(f"Final validation loss against {key}")
    figure = sensitivity_curves(curves, key, dict(material.floors), title, material.wanted.band)
    return Drawn(figures={"sensitivity": figure}, notes=study.grouping.notes)


def _probe(material: Material) -> Drawn:
    if not material.probes:
        raise UnfitError("there is no probe here: normlab probe makes one")
    from normlab.probe.curves import panels as curves_of  # takes torch along

    figures: dict[str, Figure] = {}
    notes = []
    for number, directory in enumerate(material.probes, start=1):
        rows, slopes = read_probe(directory)
        more = f"-{number}" if len(material.probes) > 1 else ""
        if rows:
            title = material.title("Before training, against depth")
            figures[f"probe{more}"] = probe_figure(curves_of(rows, groups_of(rows)), title)
        if known := slopes_of(slopes):
            figures[f"slopes{more}"] = slopes_figure(known, material.title("Slopes before training"))
        else:
            notes.append(f"{directory}: no slopes on record; it was stopped, or has one depth")
    if not figures:
        raise UnfitError("the probe has no rows")
    return Drawn(figures=figures, notes=notes)


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name="loss",
            meaning="loss against step: seeds as bands, floors, events",
            draw=_loss,
        ),
        Kind(
            name="profile",
            meaning="gradient norm against layer at some steps (--steps 1,10,100)",
            draw=_by_layer("profile", "grad_norm"),
        ),
        Kind(
            name="growth",
            meaning="residual stream against layer at some steps",
            draw=_by_layer("growth", "stream/rms"),
        ),
        Kind(name="heat", meaning="gradient, stream and update by layer and step", draw=_heat),
        Kind(
            name="outcome",
            meaning="what became of the runs, over two knobs (--over depth,warmup)",
            draw=_outcome,
        ),
        Kind(
            name="sensitivity",
            meaning="final loss against the learning rate, or --over KNOB",
            draw=_sensitivity,
        ),
        Kind(name="probe", meaning="what a probe measured against depth, and its slopes", draw=_probe),
    )
}


def check_kind(name: str) -> None:
    """Raise a UserError that suggests the nearest unless `name` is a kind."""
    if name not in KINDS:
        raise UserError(f"{name}: is neither a folder nor one of {', '.join(KINDS)}.{nearest(name, KINDS)}")

"""What to look at when runs are compared: sections of panels, as data.

`wandb_workspace` makes a saved view and a report of wandb of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from normlab.catalogue import groups, naming
from normlab.measure.families import FAMILIES
from normlab.runs.reader import Run, Runs

_FLOORS = {"uniform": "ln V", "unigram": "unigram entropy", "bigram": "bigram entropy"}
#: What the table of runs shows first, behind the knobs.
_COLUMNS = (
    "outcome",
    "first_event/kind",
    "first_event/step",
    "first_event/layers",
    "val/best",
    "val/final",
    "spike_score/olmo2_7sigma_1000",
    "grad_norm/first_to_last",
)
#: Of those, the numbers.
_NUMBERS = ("first_event/step", "val/best", "val/final", "grad_norm/first_to_last")
_PICTURES = ("figures/loss", "figures/grad_norm", "figures/stream_rms", "figures/update_ratio")


@dataclass(frozen=True, kw_only=True)
class WandbPanel:
    """One panel. `kind`: lines, bars, parallel, pictures, table or settings (those that differ)."""

    kind: str
    title: str
    metrics: Sequence[str] = ()
    #: Settings, as in `View.knobs`.
    knobs: Sequence[str] = ()
    #: A series for every metric that matches.
    pattern: str = ""
    log: bool = False
    #: Lines that are constant, by name.
    levels: Mapping[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Section:
    name: str
    panels: Sequence[WandbPanel]


@dataclass(frozen=True, kw_only=True)
class SavedView:
    """Sections of panels over some runs."""

    title: str
    #: wandb's group, where the runs are one sweep's.
    sweep: str | None
    #: The settings in which they differ but for the seed, as `placement.name`: runs that agree in them are
    #: drawn as one.
    knobs: Sequence[str]
    columns: Sequence[str]
    sections: Sequence[Section]


def view_of(runs: Runs) -> SavedView:
    """The view that fits `runs`: what they differ in, and what was measured in any of them."""
    own = [key for key in runs.knobs if naming.is_own(key) and key != "seed"]
    knobs = [f"{key}.name" if key in groups.GROUPS else key for key in own]
    sweeps = {run.summary.get("sweep") for run in runs}
    sweep = sweeps.pop() if len(sweeps) == 1 else None
    measured = _measured(runs)
    return SavedView(
        title=f"normlab: {sweep or f'{len(runs)} runs'}",
        sweep=sweep,
        knobs=knobs,
        columns=_COLUMNS,
        sections=[_losses(runs), _outcomes(knobs), *_layers(measured), _beside(measured)],
    )


def _measured(runs: Iterable[Run]) -> set[str]:
    """The metrics that the first row of a run has, or one of its last."""
    return {key for run in runs for row in run.read_ends(1) for key in row}


def _losses(runs: Runs) -> Section:
    floors = [run.floors for run in runs]
    levels = {
        words: floors[0][name]
        for name, words in _FLOORS.items()
        if floors and name in floors[0] and all(each.get(name) == floors[0][name] for each in floors)
    }
    return Section(
        name="Loss",
        panels=[
            WandbPanel(kind="lines", title="Training loss (nats a token)", metrics=["loss"], levels=levels),
            WandbPanel(
                kind="lines", title="Validation loss (nats a token)", metrics=["val/loss"], levels=levels
            ),
            WandbPanel(kind="bars", title="Final validation loss (nats a token)", metrics=["val/final"]),
        ],
    )


def _outcomes(knobs: Sequence[str]) -> Section:
    return Section(
        name="Outcomes and events",
        panels=[
            WandbPanel(
                kind="parallel", title="Settings and what came of them", knobs=knobs, metrics=_NUMBERS
            ),
            WandbPanel(kind="table", title="Events", metrics=["figures/events"]),
            WandbPanel(kind="settings", title="Settings that differ"),
        ],
    )


def _layers(measured: set[str]) -> list[Section]:
    panels = [
        WandbPanel(
            kind="lines",
            title=f"{family.heading} ({family.unit}), by layer",
            pattern=rf"^{family.key}/layer_\d+$",
            log=family.logarithmic,
        )
        for family in FAMILIES.values()
        if family.panel and f"{family.key}/layer_00" in measured
    ]
    ratio = WandbPanel(
        kind="lines",
        title="Gradient norm, first block over last",
        metrics=["grad_norm/first_to_last"],
        log=True,
    )
    found = [ratio, *panels] if "grad_norm/first_to_last" in measured else panels
    return [Section(name="Layers", panels=found)] if found else []


def _beside(measured: set[str]) -> Section:
    output = [key for key in ("output/log_z", "output/max_logit", "output/loss_p99") if key in measured]
    lines = [WandbPanel(kind="lines", title=key, metrics=[key]) for key in output]
    return Section(
        name="Pictures and the rest",
        panels=[
            WandbPanel(kind="pictures", title="Loss and heat maps by layer", metrics=_PICTURES),
            *lines,
            WandbPanel(kind="lines", title="Gradient norm, global", metrics=["grad_norm/global"], log=True),
            WandbPanel(kind="lines", title="Learning rate", metrics=["lr"]),
        ],
    )

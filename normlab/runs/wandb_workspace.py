"""A view of runs as a saved view and as a report of wandb, made with its package wandb-workspaces."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from normlab.errors import UserError
from normlab.runs.reader import Runs
from normlab.runs.wandb_panels import SavedView, Section, WandbPanel, view_of
from normlab.sinks.wandb.mirror import words
from normlab.sinks.wandb.start import has_key

#: What to install, as `normlab[...]`.
EXTRA = "wandb-workspace"


@dataclass(frozen=True, kw_only=True)
class WandbProject:
    """A project of wandb; where it is not said, the runs' own."""

    entity: str | None = None
    project: str | None = None

    def of(self, runs: Runs, ask: Callable[[], str] = lambda: _own_entity()) -> tuple[str, str]:
        """Entity and project.

        Raises:
            UserError: the runs are in several projects, or there is no API key to ask for the entity.
        """
        given = [run.config.get("tracker") or {} for run in runs]
        projects = {str(each.get("project")) for each in given}
        if self.project is None and len(projects) != 1:
            raise UserError(
                f"the runs are in several projects, {', '.join(sorted(projects))}; choose --project"
            )
        entity = self.entity or next((each["entity"] for each in given if each.get("entity")), None)
        return str(entity or ask()), self.project or projects.pop()


def _own_entity() -> str:
    require_key()
    import wandb

    return str(wandb.Api().default_entity)


def require_key() -> None:
    """Raises `UserError` where wandb has no API key."""
    if not has_key():
        raise UserError("wandb has no API key; wandb login sets one")


def save_workspace(runs: Runs, place: WandbProject) -> str:
    """Make a saved view of `runs` in wandb; returns its address."""
    _package("workspaces")
    require_key()
    return _save(workspace(view_of(runs), *place.of(runs)))


def save_report(runs: Runs, place: WandbProject, told: Sequence[str]) -> str:
    """Make a report on `runs` in wandb, a draft until it is published there; returns its address."""
    _package("reports.v2")
    require_key()
    return _save(report(view_of(runs), *place.of(runs), told), draft=True)


def _save(made: Any, **how: Any) -> str:
    try:
        made.save(**how)
    except Exception as error:  # whatever a server says
        raise UserError(f"wandb did not take it: {words(error)}") from None
    return str(made.url)


def spec(runs: Runs, place: WandbProject) -> dict[str, Any]:
    """What `save_workspace` would send, as plain values; needs no server."""
    made = workspace(view_of(runs), *place.of(runs, lambda: "ENTITY"))
    return dict(made._to_model().model_dump(mode="json", by_alias=True, exclude_none=True))


def workspace(view: SavedView, entity: str, project: str) -> Any:
    """`view` as a `wandb_workspaces.workspaces.Workspace`, not saved yet.

    Runs are grouped in its table by the knobs, and so in each of its panels.
    """
    spaces, expr = _package("workspaces"), _package("expr")
    return spaces.Workspace(
        name=view.title,
        entity=entity,
        project=project,
        sections=[
            spaces.Section(name=each.name, panels=_panels(each), is_open=index < 3)
            for index, each in enumerate(view.sections)
        ],
        runset_settings=spaces.RunsetSettings(
            filters=_filters(view),
            groupby=[expr.Config(key) for key in view.knobs],
            pinned_columns=_columns(view),
        ),
    )


def report(view: SavedView, entity: str, project: str, told: Sequence[str] = ()) -> Any:
    """`view` as a `wandb_workspaces.reports.v2.Report`, not saved yet, under paragraphs of what came out."""
    reports = _package("reports.v2")
    runs = {
        "entity": entity,
        "project": project,
        "filters": _filters(view),
        "groupby": [f"config.{key}" for key in view.knobs],
        "pinned_columns": _columns(view),
    }
    blocks: list[Any] = [reports.P(text) for text in told]
    for each in view.sections:
        grid = reports.PanelGrid(runsets=[reports.Runset(name=view.title, **runs)], panels=_panels(each))
        blocks += [reports.H2(each.name), grid]
    return reports.Report(entity=entity, project=project, title=view.title[:128], blocks=blocks)


def _panels(section: Section) -> list[Any]:
    """The panels of a section, three beside each other."""
    reports, made = _package("reports.v2"), []
    for index, each in enumerate(section.panels):
        panel = _MAKERS[each.kind](reports, each)
        panel.layout = reports.Layout(x=index % 3 * 8, y=index // 3 * 6, w=8, h=6)
        made.append(panel)
    return made


def _lines(reports: Any, panel: WandbPanel) -> Any:
    # wandb has no constant lines; an expression of a metric that is there can be one.
    levels = [f"0 * ${{{panel.metrics[0]}}} + {level:.6g}" for level in (panel.levels or {}).values()]
    return reports.LinePlot(
        title=panel.title,
        x="step",
        y=list(panel.metrics),
        metric_regex=panel.pattern or None,
        log_y=panel.log or None,
        custom_expressions=levels or None,
    )


def _bars(reports: Any, panel: WandbPanel) -> Any:
    return reports.BarPlot(title=panel.title, metrics=list(panel.metrics))


def _parallel(reports: Any, panel: WandbPanel) -> Any:
    axes = [reports.Config(key) for key in panel.knobs] + [
        reports.SummaryMetric(key) for key in panel.metrics
    ]
    columns = [reports.ParallelCoordinatesPlotColumn(metric=axis) for axis in axes]
    return reports.ParallelCoordinatesPlot(title=panel.title, columns=columns)


def _pictures(reports: Any, panel: WandbPanel) -> Any:
    return reports.MediaBrowser(title=panel.title, media_keys=list(panel.metrics))


def _table(reports: Any, panel: WandbPanel) -> Any:
    return reports.WeavePanelSummaryTable(table_name=panel.metrics[0])


def _settings(reports: Any, panel: WandbPanel) -> Any:
    return reports.RunComparer(diff_only="split")


_MAKERS: Mapping[str, Callable[[Any, WandbPanel], Any]] = {
    "lines": _lines,
    "bars": _bars,
    "parallel": _parallel,
    "pictures": _pictures,
    "table": _table,
    "settings": _settings,
}


def _filters(view: SavedView) -> str:
    """The sweep's runs alone, in wandb's words for it; all runs of the project where it is not one sweep."""
    return f"Group = {view.sweep!r}" if view.sweep else ""


def _columns(view: SavedView) -> list[str]:
    """The columns of the table of runs; wandb has `placement.name` as `placement.value.name`."""
    parts = [key.partition(".") for key in view.knobs]
    knobs = [f"config:{first}.value{dot}{rest}" for first, dot, rest in parts]
    return ["run:displayName", *knobs, *(f"summary:{key}" for key in view.columns)]


def _package(name: str) -> Any:
    """A module of wandb-workspaces.

    Raises:
        UserError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of pydantic, which it uses in an old way
            return import_module(f"wandb_workspaces.{name}")
    except ModuleNotFoundError:
        raise UserError(
            f"wandb's views need the package wandb-workspaces: pip install 'normlab[{EXTRA}]'"
        ) from None

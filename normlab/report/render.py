"""The page as text: `page.html` filled in, with style and scripts inside and nothing else allowed to run."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from normlab.compare.compare import Comparison
from normlab.disk.strict_json import plain
from normlab.explain.page import STRENGTHS, heading
from normlab.measure.families import FAMILIES, any_family, place
from normlab.report import metrics
from normlab.report.answer import Answer
from normlab.report.cards import Card
from normlab.report.contents import Contents
from normlab.terminal.wording import printable

_HERE = Path(__file__).parent
_STYLES = ("uplot/uPlot.min.css", "page.css", "drawn.css", "media.css")
#: In the order in which they need one another.
_SCRIPTS = (
    "uplot/uPlot.iife.min.js",
    "js/data.js",
    "js/parts.js",
    "js/chosen.js",
    "js/outcomes.js",
    "js/marks.js",
    "js/curves.js",
    "js/heat.js",
    "js/profile.js",
    "js/depth.js",
    "js/events.js",
    "js/main.js",
)
#: Events of a run that a page names.
EVENTS = 100


@dataclass(frozen=True, kw_only=True)
class ReportPage:
    """What a page says."""

    title: str
    answer: Answer
    cards: Sequence[Card]
    contents: Contents
    #: None where nothing could be compared.
    comparison: Comparison | None


def render(report: ReportPage) -> str:
    """The page: HTML with all data, style and scripts inside."""
    styles = [Markup((_HERE / name).read_text(encoding="utf-8")) for name in _STYLES]
    scripts = [Markup((_HERE / name).read_text(encoding="utf-8")) for name in _SCRIPTS]
    sheets = {sheet.name: sheet.filled() for sheet in report.comparison.sheets} if report.comparison else {}
    # What a browser draws has numbers of blobs in it, so it must be made before the blobs are listed.
    drawn = _drawn(report)
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=report.title,
            policy=_policy(styles, scripts),
            styles=styles,
            scripts=scripts,
            answer=report.answer,
            cards=report.cards,
            sheets=[sheet for name, sheet in sheets.items() if name not in ("settings", "runs")],
            settings=sheets.get("settings"),
            figures=sheets.get("runs"),
            notes=report.comparison.notes if report.comparison else [],
            lacks=report.contents.lacks,
            varied=[key for key in report.cards[0].knobs if key != "seed"],
            drawn=drawn,
            blobs=report.contents.pack.texts,
            version=version("normlab"),
            licence=(_HERE / "uplot" / "LICENSE").read_text(encoding="utf-8"),
            heading=heading,
            strengths=STRENGTHS,
            most=EVENTS,
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment


def _visible(value: Any) -> Any:
    """Text without what cannot be seen, such as marks that turn the direction of reading."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """A Content-Security-Policy: these styles and scripts, no others, and nothing from anywhere."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, scripts))}",
            f"style-src {' '.join(map(_hash, styles))}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _drawn(report: ReportPage) -> dict[str, Any]:
    """What the scripts draw, as plain values."""
    drawn = {
        "knobs": list(report.cards[0].knobs),
        "curves": [{"name": name, "unit": _unit(name)} for name in report.contents.curves],
        "families": [_family(name) for name in report.contents.maps],
        "runs": [_run(report, card) | report.contents.of(card) for card in report.cards],
    }
    result: dict[str, Any] = _clean(plain(drawn))
    return result


def _family(key: str) -> dict[str, Any]:
    known = any_family(key)
    title = known.heading if key in FAMILIES else key
    return {"name": key, "title": title, "unit": known.unit, "falls": known.falls}


def _unit(metric: str) -> str:
    where = place(metric)
    return any_family(where.family).unit if where else metrics.UNITS.get(metric, "")


def _run(report: ReportPage, card: Card) -> dict[str, Any]:
    return {
        "label": card.label,
        "knobs": card.knobs,
        "outcome": card.run.word,
        "cut": card.cut_short,
        **_loss(report, card),
        "steps": card.steps,
        "floors": card.run.floors,
        "events": [_event(event) for event in card.events[:EVENTS]],
        "why": card.why,
    }


def _loss(report: ReportPage, card: Card) -> dict[str, Any]:
    """The loss at the end as `normlab compare` counts it; None of a run that is not compared."""
    study = report.comparison.study if report.comparison else None
    if study is None or all(run is not card.run for run in study.runs):
        return {"loss": None, "capped": False}
    figures = study.figures(card.run)
    loss = figures.values["val/final"]
    return {"loss": figures.values["loss/final"] if loss is None else loss, "capped": figures.capped}


def _event(event: Mapping[str, Any]) -> dict[str, Any]:
    layers, end = event.get("layers"), event.get("end")
    return {
        "step": event["step"],
        "kind": event["kind"],
        "metric": event["metric"],
        "layers": [str(layer) for layer in layers] if isinstance(layers, list) else [],
        "end": end if isinstance(end, int) else None,
        "message": str(event.get("message") or ""),
    }


def _clean(value: Any) -> Any:
    """Plain values in which all text can be seen."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(key): _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value

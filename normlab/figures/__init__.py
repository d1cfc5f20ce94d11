"""Figures from arrays: one kind a file, each with the data that it shows apart from how it is drawn.

`plot/kinds.py` is the table of those of `normlab plot`. `pictures` are what wandb gets at the end of a run.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from normlab.divergence import known_floors
from normlab.figures.columns import columns
from normlab.figures.heat import heat, heat_maps
from normlab.figures.loss import Bundle, Facet, curve, loss_curves
from normlab.figures.style import look
from normlab.measure.families import FAMILIES, USUAL
from normlab.rundir.writer import read_events, read_rows, read_summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image


def pictures(directory: Path) -> dict[str, "Image"]:
    """The figures of a run directory as images, by their key in wandb; those that there is data for."""
    rows, events = read_rows(directory), read_events(directory)
    if not rows:
        return {}
    floors = known_floors(read_summary(directory))
    found, name = columns(rows, USUAL), directory.name
    with look():
        curves = [Facet("", [Bundle(name, [curve(found, events)])])]
        made = {"figures/loss": image(loss_curves(curves, floors, title=f"Loss  {name}"))}
        for family in (FAMILIES[key] for key in USUAL):
            each = heat(name, found, family, events)
            if each.values.places:
                title = f"{family.heading} by layer  {name}"
                made[f"figures/{family.key.replace('/', '_')}"] = image(heat_maps([each], family, title))
    return made


def image(figure: "Figure") -> "Image":
    """A figure in pixels, at its own resolution."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return Image.fromarray(pixels).convert("RGB")

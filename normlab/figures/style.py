"""How figures look: in colours for the colour-blind, told apart in grey by markers, with text as it is."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from normlab.terminal.wording import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's colours, but for yellow, which is hardly seen on white.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#8A7A00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY, BAD, EVENT = "#555555", "#D55E00", "#CC79A7"
#: Inches: the text width of a page, and the height of one picture on it.
WIDTH, HEIGHT = 7.2, 3.9
#: Dots an inch of a picture on a screen.
SCREEN = 160
#: The floors of a text as they are called, by their names in `summary.json`.
FLOORS = {
    "uniform": "ln V",
    "unigram": "unigram",
    "bigram": "bigram",
    "entropy_rate": "entropy rate",
}
_LONGEST = 60
#: Decades up to which a logarithmic axis has plain numbers.
_PLAIN = 2.5
#: Events that are named, and the width of a letter of their names as a share of the axes.
_NAMED, _LETTER = 8, 0.0115
#: Inches of a line of text beside the axes.
_LINE = 0.11
_LOOK: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "lines.markersize": 4,
    # Letters of a PDF as TrueType outlines: publishers refuse the other kind.
    "pdf.fonttype": 42,
    # The names of what is in an SVG are made from this and not by chance.
    "svg.hashsalt": "normlab",
}


def look() -> AbstractContextManager[None]:
    """While figures are made and written, they look so, whatever the user has set matplotlib to."""
    from normlab.figures.without_backend import style

    made: AbstractContextManager[None] = style.context(["default", _LOOK])
    return made


def new_figure(title: str = "", height: float = HEIGHT) -> "Figure":
    """An empty figure of the page's width; `title` is taken literally."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), dpi=SCREEN, layout="constrained")
    if title:
        figure.suptitle(literal(title, 96), x=0.01, ha="left", fontsize=9)
    return figure


def literal(text: str, longest: int = _LONGEST) -> str:
    """`text` as matplotlib is to draw it: a dollar sign would start a formula, a newline another line."""
    text = printable(text)
    text = text if len(text) <= longest else text[: longest - 1] + "…"
    return text.replace("$", r"\$")


def stride(count: int, room: int) -> int:
    """1, 2, 5, 10 ...: the first with which at most `room` of `count` things are named."""
    sizes: Iterator[int] = (m * 10**power for power in range(18) for m in (1, 2, 5))
    return next(size for size in sizes if count <= size * max(room, 1))


def whole_steps(axes: "Axes", *, wide: bool) -> None:
    """The horizontal axis counts steps, with fewer numbers where it is not `wide`."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(9 if wide else 5, integer=True, steps=[1, 2, 5, 10]))


def log_axis(axis: Any, low: float, high: float) -> None:
    """Ticks of a logarithmic axis from `low` to `high`: plain numbers up to some two decades, else powers of
    ten."""
    from matplotlib.ticker import FuncFormatter, LogFormatterMathtext, LogLocator, MaxNLocator, NullLocator

    decades = math.log10(high / low) if high > low > 0 else 0.0
    if decades <= _PLAIN:
        narrow = decades < 0.7  # 1, 2 and 5 may have a single one in there
        axis.set_major_locator(MaxNLocator(5) if narrow else LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(LogLocator(numticks=9))
        axis.set_major_formatter(LogFormatterMathtext())


def log_heights(axes: "Axes", values: Sequence[float]) -> None:
    """A logarithmic vertical axis around the `values` above 0, of at least half a decade: within less, noise
    would look like a trend."""
    usable = [value for value in values if math.isfinite(value) and value > 0]
    low, high = min(usable, default=0.1), max(usable, default=1.0)
    middle, spread = math.sqrt(low) * math.sqrt(high), max(math.sqrt(high / low), 10**0.25)
    spread *= (high / low) ** 0.04
    axes.set_yscale("log")
    axes.set_ylim(max(middle / spread, 1e-300), min(middle * spread, 1e300))
    log_axis(axes.yaxis, *axes.get_ylim())


def legend_below(figure: "Figure", handles: Sequence[Any], labels: Sequence[str]) -> None:
    """A legend under everything, where it hides nothing."""
    if not handles:
        return
    longest = max(map(len, labels))
    columns = max(1, min(len(labels), 130 // (longest + 8)))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=2.2)


def draw_floors(axes: "Axes", floors: Mapping[str, float], *, named: bool = True) -> None:
    """A dashed line for each floor, its name at the right edge; once the axes have their limits."""
    low, high = axes.get_ylim()
    known = sorted((floors[name], words) for name, words in FLOORS.items() if name in floors)
    known = [(value, words) for value, words in known if low <= value <= high]
    grid = axes.get_subplotspec().get_gridspec()  # type: ignore[union-attr]
    # What legend, title and numbers take is not known before it is drawn; it is less than two fifths.
    line = _LINE / (0.6 * axes.figure.get_figheight() / grid.nrows)  # type: ignore[union-attr]
    lowest = -1.0
    for value, words in known:
        axes.axhline(value, color=GREY, linewidth=0.7, linestyle="--", zorder=1)
        if not named:
            continue
        share = _share(value, low, high, axes.get_yscale() == "log")
        # Names of floors that are close together stand above each other.
        lowest = max(share, lowest + line)
        axes.annotate(
            f"{words} {value:.3f}",
            (1.0, lowest),
            xycoords="axes fraction",
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=GREY,
        )


def _share(value: float, low: float, high: float, logarithmic: bool) -> float:
    if logarithmic:
        value, low, high = (math.log(max(each, 1e-300)) for each in (value, low, high))
    return (value - low) / (high - low)


def mark_events(axes: "Axes", events: Sequence[Mapping[str, Any]]) -> None:
    """A mark above and below each event's step (a line would hide what is there), named where there is room.

    To be called once the axes have their limits.
    """
    across = axes.get_xaxis_transform()
    low, high = axes.get_xlim()
    steps = sorted({event["step"] for event in events})
    for height, shape in ((1.02, "v"), (-0.02, "^")):
        heights = [height] * len(steps)
        axes.plot(steps, heights, shape, color=EVENT, clip_on=False, transform=across, markersize=5)
    free, named = -1.0, 0
    for event in sorted(events, key=lambda each: each["step"]):
        step, words = event["step"], literal(f"{event['kind']} {event['step']}")
        share, length = (step - low) / max(high - low, 1e-9), len(words) * _LETTER
        # Near the right edge a name stands to the left of its mark.
        left = share + length > 1.0
        begin, end = (share - length, share) if left else (share, share + length)
        if begin > free and named < _NAMED:
            free, named = end, named + 1
            axes.annotate(
                words,
                (step, 1.0),
                xycoords=across,
                xytext=(-5 if left else 5, 3),
                textcoords="offset points",
                ha="right" if left else "left",
                fontsize=7,
            )

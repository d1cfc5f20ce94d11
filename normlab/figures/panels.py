"""Several pictures on a page: one for each variant, with scales that they share."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from normlab.figures.style import HEIGHT, literal, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Panels on a page, beside each other; the height of a row of them in inches, and of the only one.
MOST, _BESIDE, _ROW, _ONLY = 12, 3, 2.1, 2.7

T = TypeVar("T")


def pages(items: Sequence[T]) -> Iterator[tuple[str, Sequence[T]]]:
    """At most `MOST` items a page, and what to add to its name: nothing where there is but one."""
    for first in range(0, len(items), MOST):
        yield (f"-{first // MOST + 1}" if len(items) > MOST else ""), items[first : first + MOST]


def grid(
    title: str, names: Sequence[str], *, share_x: bool = True, share_y: bool = True, above: float = 4
) -> tuple["Figure", list["Axes"]]:
    """A figure with one axes for each name, which share their scales; one alone has all the room, and no name
    of its own beside the title. `above`: points between an axes and its name."""
    count = len(names)
    # Four are a square.
    across = 2 if count in (2, 4) else min(count, _BESIDE)
    down = -(-count // across)
    figure = new_figure(title, HEIGHT if count == 1 else (_ROW * down if down > 1 else _ONLY) + 0.9)
    axes: list[Axes] = []
    for number, name in enumerate(names):
        first = axes[0] if axes else None
        shared = {"sharex": first if share_x else None, "sharey": first if share_y else None}
        each = figure.add_subplot(down, across, number + 1, **shared)
        if count > 1:
            each.set_title(literal(name, 78 // across), loc="left", pad=above)
            if share_y and number % across:
                each.tick_params(labelleft=False)
            if share_x and number + across < count:
                each.tick_params(labelbottom=False)
        axes.append(each)
    return figure, axes

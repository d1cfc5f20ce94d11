"""Pictures for the console in letters: curves, bars and strokes."""

import math
from collections.abc import Sequence

#: Filled by 0 to 8 eighths from below, and from the left.
_UP = " ▁▂▃▄▅▆▇█"
_RIGHT = " ▏▎▍▌▋▊▉█"


class Trace:
    """A curve over the whole of a run in bounded space: the mean of each stretch of steps."""

    def __init__(self, steps: int, stretches: int = 240) -> None:
        self._steps = max(steps, 1)
        self._count = min(stretches, self._steps)
        self._sums = [0.0] * self._count
        self._numbers = [0] * self._count

    def add(self, step: int, value: float) -> None:
        """Take one value; one that is not finite makes its stretch infinite."""
        index = self._stretch(step)
        self._sums[index] += value if math.isfinite(value) else math.inf
        self._numbers[index] += 1

    def column(self, step: int, width: int) -> int:
        """The (last) of `width` columns that `step` is in."""
        return ((self._stretch(step) + 1) * width - 1) // self._count

    def _stretch(self, step: int) -> int:
        return min(step * self._count // self._steps, self._count - 1)

    def columns(self, width: int) -> list[float | None]:
        """The mean of each of `width` equal parts of the run, or infinity; None where nothing is known."""
        columns: list[float | None] = []
        known = 0
        for column in range(width):
            first = column * self._count // width
            last = max(first + 1, (column + 1) * self._count // width)
            number = sum(self._numbers[first:last])
            if number:
                columns.append(sum(self._sums[first:last]) / number)
                known = len(columns)
            else:  # a gap between two logged steps shows the earlier one
                columns.append(columns[-1] if known else None)
        return columns[:known] + [None] * (width - known)


def curve(
    columns: Sequence[float | None], height: int, low: float, high: float, ascii_only: bool = False
) -> list[str]:
    """The area under a curve in `height` lines, the top one first, cut off at `low` and `high`."""
    lines = []
    for row in range(height - 1, -1, -1):
        line = ""
        for value in columns:
            if value is None:
                line += " "
                continue
            share = 1.0 if value == math.inf else (value - low) / (high - low)
            # A value that is known is never invisible.
            eighths = max(1, round(min(max(share, 0.0), 1.0) * height * 8)) - row * 8
            line += _block(_UP, eighths, ascii_only)
        lines.append(line)
    return lines


def bar(share: float, width: int, ascii_only: bool = False) -> str:
    """A bar that fills `share` of `width`, at least an eighth of a character."""
    eighths = max(1, round(min(max(share, 0.0), 1.0) * width * 8))
    return "".join(_block(_RIGHT, eighths - 8 * column, ascii_only) for column in range(width)).rstrip()


def _block(blocks: str, eighths: int, ascii_only: bool) -> str:
    eighths = min(max(eighths, 0), 8)
    return ("#" if eighths > 3 else " ") if ascii_only else blocks[eighths]


def decades(values: Sequence[float]) -> tuple[int, int]:
    """The whole powers of ten around the positive, finite ones of `values`."""
    logs = [math.log10(value) for value in values if value > 0 and math.isfinite(value)]
    if not logs:
        return -1, 0
    low, high = math.floor(min(logs)), math.ceil(max(logs))
    return (low, high) if low < high else (low - 1, high)


def thin(count: int, room: int) -> list[int]:
    """At most `room` of the numbers below `count`, evenly spread, with the first and the last."""
    if count <= room:
        return list(range(count))
    if room < 2:
        return [0][:room]
    return [round(place * (count - 1) / (room - 1)) for place in range(room)]


#: The dots of a braille letter, two across and four down, from the top.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
#: Dots in a letter of `strokes`: across, down.
DOTS = (2, 4)


def strokes(
    columns: Sequence[tuple[float, float] | None], height: int, ascii_only: bool = False
) -> list[str]:
    """Vertical strokes in `height` lines of braille, the top one first, two columns a letter.

    Each column is from one share of the height to another, both from 0 to 1; None is nothing. In ASCII a
    letter has a star where any of its dots is set.
    """
    across, down = DOTS
    cells = [[0] * -(-len(columns) // across) for _ in range(height)]
    top = height * down - 1
    for column, share in enumerate(columns):
        if share is not None:
            low, high = (round(min(max(end, 0.0), 1.0) * top) for end in share)
            for dot in range(top - high, top - low + 1):
                cells[dot // down][column // across] |= _DOTS[dot % down][column % across]
    letters = [" ", "*"] if ascii_only else []
    return ["".join(letters[bool(cell)] if ascii_only else _braille(cell) for cell in line) for line in cells]


def _braille(dots: int) -> str:
    return chr(0x2800 + dots) if dots else " "

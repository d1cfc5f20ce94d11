"""Lines and boxes of characters. Where lines meet, the right corner or tee comes by itself."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

_UP, _DOWN, _LEFT, _RIGHT = 1, 2, 4, 8
#: By the directions in which a cell has a line: 0, up, down, up and down, left, ...
_GLYPHS = " │││─┘┐┤─└┌├─┴┬┼"
#: What stands for them where only ASCII can be printed.
ASCII = str.maketrans({**dict.fromkeys("┘┐┤└┌├┴┬┼⊕", "+"), "│": "|", "─": "-"})


class Canvas:
    """Cells by (row, column), from 0 down and to the right."""

    def __init__(self) -> None:
        self._lines: defaultdict[tuple[int, int], int] = defaultdict(int)
        self._text: dict[tuple[int, int], str] = {}

    def down(self, column: int, top: int, bottom: int) -> None:
        """A line from the middle of one row to that of another, which may be the same."""
        for row in range(top, bottom):
            self._lines[row, column] |= _DOWN
            self._lines[row + 1, column] |= _UP

    def across(self, row: int, start: int, end: int) -> None:
        """A line from one column to another, in either direction."""
        for column in range(min(start, end), max(start, end)):
            self._lines[row, column] |= _RIGHT
            self._lines[row, column + 1] |= _LEFT

    def write(self, row: int, center: int, text: str) -> None:
        """Text over whatever line is there."""
        for place, letter in enumerate(text, center - len(text) // 2):
            self._text[row, place] = letter

    def box(self, top: int, center: int, lines: Sequence[str]) -> int:
        """A box around `lines`; returns the row of its lower border."""
        reach = half_width(lines)
        left, right, bottom = center - reach, center + reach, top + len(lines) + 1
        for row in (top, bottom):
            self.across(row, left, right)
        for column in (left, right):
            self.down(column, top, bottom)
        for row, line in enumerate(lines, top + 1):
            self.write(row, center, line)
        return bottom

    def lines(self) -> list[str]:
        """The drawing, without spaces at the ends of lines."""
        cells = [*self._lines, *self._text]
        height = max(row for row, _ in cells) + 1
        width = max(column for _, column in cells) + 1
        return [
            "".join(self._glyph(row, column) for column in range(width)).rstrip() for row in range(height)
        ]

    def _glyph(self, row: int, column: int) -> str:
        return self._text.get((row, column)) or _GLYPHS[self._lines.get((row, column), 0)]


def half_width(lines: Sequence[str]) -> int:
    """Columns of a box on each side of its centre, the border among them; 0 where there is no box."""
    return (max(map(len, lines)) + 2) // 2 + 1 if lines else 0


@dataclass
class CanvasColumn:
    """A line that grows downwards, with boxes on it."""

    canvas: Canvas
    center: int
    #: The row where the line ends.
    end: int

    def to(self, row: int) -> None:
        """Draw on to `row`."""
        self.canvas.down(self.center, self.end, row)
        self.end = max(self.end, row)

    def step(self) -> int:
        """Draw on by one row; returns it."""
        self.to(self.end + 1)
        return self.end

    def box(self, lines: Sequence[str]) -> None:
        """A box in the next rows."""
        top = self.step()
        self.end = self.canvas.box(top, self.center, lines)

    def boxes(self, items: Sequence[Sequence[str]]) -> None:
        for lines in items:
            self.box(lines)

"""Plain-text pictures and words for the console: a curve and bars of block elements, numbers, durations."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from normlab.disk.strict_json import plain

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


def short(value: float) -> str:
    """Three digits: 0.00250, 1.2e-07, 34.5k, NaN."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    size = abs(value)
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if limit <= size < 1e12:
            scale = {"G": 1e9, "M": 1e6, "k": 1e3}[unit]
            return f"{value / scale:.3g}{unit}"
    if size >= 1e12 or size < 1e-3:
        return f"{value:.1e}"
    return f"{value:.0f}" if size >= 100 else f"{value:#.3g}"


def fixed(value: float, places: int) -> str:
    """With so many places after the point, but five digits from 1e4 on: 3.1400, 1.3437e+10, NaN."""
    if not math.isfinite(value):
        return short(value)
    return f"{value:.{places}f}" if abs(value) < 1e4 else f"{value:.5g}"


def duration(seconds: float) -> str:
    """0:07, 12:30, 3:05:09."""
    if not math.isfinite(seconds):
        return "-:--"
    minutes, left = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


def against(loss: float, floors: Mapping[str, float]) -> str:
    """In words, where a loss lies among the floors of its text.

    For instance "0.83 nat below the unigram entropy (3.15), 0.06 above the bigram entropy (2.26)".
    """
    if not math.isfinite(loss):
        return "not finite"
    uniform, unigram, bigram = (floors.get(name, math.nan) for name in ("uniform", "unigram", "bigram"))
    if loss > uniform:
        return f"{fixed(loss - uniform, 2)} nat above ln V ({uniform:.2f}): worse than guessing"
    parts = [_beside(loss, "unigram entropy", unigram)]
    if loss < unigram:
        parts.append(_beside(loss, "bigram entropy", bigram))
    if "entropy_rate" in floors:
        parts.append(_beside(loss, "entropy rate", floors["entropy_rate"]))
    return ", ".join(part for part in parts if part)


def _beside(loss: float, name: str, floor: float) -> str:
    if math.isnan(floor):
        return ""
    side = "above" if loss >= floor else "below"
    return f"{abs(loss - floor):.2f} nat {side} the {name} ({floor:.2f})"


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


def middle(text: str, room: int) -> str:
    """`text` with its middle left out where there is no room for it: the names of jobs differ at the end."""
    if len(text) <= room:
        return text
    end = max(room - 3, 0) // 2
    return f"{text[: max(room - 3 - end, 0)]}...{text[len(text) - end :]}"


def json_text(value: Any) -> str:
    """`value` as strict JSON for a screen: what `printable` would hide is escaped."""
    text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    return re.sub(
        r"[^\n\x20-\x7e]",
        lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1],
        text,
    )


def printable(text: str) -> str:
    """`text` with `?` for each character that would move the cursor, colour the page or end the line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)

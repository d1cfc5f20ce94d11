"""Values as text: numbers, durations, counts and lists, losses against floors, JSON; nothing unprintable."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from normlab.disk.strict_json import plain


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
    """With this many places after the point, but five digits from 1e4 on: 3.1400, 1.3437e+10, NaN."""
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


def counted(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(names: Sequence[object], most: int, between: str = ", ") -> str:
    """`a, b and 4 more`: the first `most` of the names."""
    text = between.join(map(str, names[:most]))
    return f"{text} and {len(names) - most} more" if len(names) > most else text


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

"""Write and read strict JSON: the three floats that JSON lacks stand as the strings "NaN", "Infinity" and
"-Infinity", and are turned back.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from normlab.disk.untrusted import PlainDataError, parse_json

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_encode = json.JSONEncoder(allow_nan=False).encode


def read_line(line: bytes) -> dict[str, Any] | None:
    """The JSON object in a line; None where it holds none."""
    try:
        record = restore(parse_json(line))
    except PlainDataError:
        return None
    return record if isinstance(record, dict) else None


def line_of(record: Mapping[str, Any]) -> bytes:
    """`record` as a line of strict JSON."""
    try:
        text = _encode(record)
    except ValueError:  # something is not finite
        text = _encode(plain(record))
    return text.encode() + b"\n"


def document(value: Mapping[str, Any]) -> bytes:
    """`value` as a file of strict JSON, for people too."""
    return json.dumps(plain(value), indent=2, allow_nan=False).encode() + b"\n"


def plain(value: Any) -> Any:
    """`value` with each float that JSON lacks replaced by its name."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def restore(value: Any) -> Any:
    """What `plain` was given, but for tuples."""
    if isinstance(value, str):
        return _NOT_FINITE.get(value, value)
    if isinstance(value, dict):
        return {key: restore(item) for key, item in value.items()}
    return [restore(item) for item in value] if isinstance(value, list) else value

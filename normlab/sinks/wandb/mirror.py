"""What the wandb sink needs beside wandb: its notes in the run's `wandb/` folder, values in wandb's form."""

import math
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from normlab.disk.strict_json import plain
from normlab.disk.untrusted import read_json


def note_of(directory: Path) -> Path:
    """Where a run notes its last mirror."""
    return directory / "wandb" / "attempt.json"


def read_note(note: Path) -> dict[str, str]:
    """Id and mode of the run's last mirror in wandb; empty if there was none."""
    with suppress(OSError, ValueError):
        known = read_json(note)
        if isinstance(known, dict) and all(isinstance(known.get(key), str) for key in ("id", "mode")):
            return {key: value for key, value in known.items() if isinstance(value, str)}
    return {}


def server_has(directory: Path) -> str:
    """The id of the run's last offline folder that `wandb sync` uploaded; empty if it did none."""
    synced = sorted(path.parent.name for path in directory.glob("wandb/offline-run-*/*.synced"))
    return synced[-1].rpartition("-")[2] if synced else ""


def remove_replaced(directory: Path) -> None:
    """Remove the run's other offline folders, whose rows `directory` has too, unless the server has them."""
    for folder in directory.parent.glob("offline-run-*"):
        if folder.name != directory.name and not list(folder.glob("*.synced")):
            shutil.rmtree(folder, ignore_errors=True)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as `outer/inner` keys, without what is None; lists as words."""
    pairs: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            pairs |= flat(value, f"{prefix}{key}/")
        elif value is not None:
            pairs[prefix + key] = cell(value)
    return pairs


def cell(value: Any) -> Any:
    """A list as text, and a float that JSON lacks by its name: wandb's summary would drop it."""
    if isinstance(value, list | tuple):
        return ", ".join(_moved(each) if isinstance(each, Mapping) else str(each) for each in value)
    return str(plain(value)) if isinstance(value, float) and not math.isfinite(value) else value


def _moved(place: Mapping[str, Any]) -> str:
    """One of an event's `order`, the places in the order in which they left their band, as text.

    For instance "layer_05 grad_norm x12 at step 118", in which the metric is without the place.
    """
    family = str(place["metric"]).removesuffix(f"/{place['place']}")
    return f"{place['place']} {family} x{place['ratio']:.3g} at step {place['step']}"


def words(error: Exception) -> str:
    """What went wrong, on one short line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 200 else text[:197] + "..."

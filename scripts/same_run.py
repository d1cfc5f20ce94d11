"""What differs between two run directories that should be the same, for scripts that stop runs."""

import json
import re
from pathlib import Path

import numpy as np
import torch

#: What of a summary may differ between two runs that are the same.
TIMES = ("seconds", "tokens_per_second", "wandb", "sweep")


def differences(ours: Path, whole: Path) -> list[str]:
    """The names of what differs, times aside: config, rows, events, their arrays, summary, checkpoints."""
    summaries = [json.loads((place / "summary.json").read_text()) for place in (ours, whole)]
    trimmed = [{key: value for key, value in s.items() if key not in TIMES} for s in summaries]
    found = ["summary.json"] if trimmed[0] != trimmed[1] else []
    names = ("config.yaml", "metrics.jsonl", "events.jsonl")
    found += [name for name in names if untimed(ours / name) != untimed(whole / name)]
    for folder in ("checkpoints", "events"):
        listed = [sorted(path.name for path in (place / folder).glob("*")) for place in (ours, whole)]
        found += [folder] if listed[0] != listed[1] else []
    for path in (ours / "checkpoints").glob("*.pt"):
        other = whole / "checkpoints" / path.name
        found += [path.name] if not other.exists() or not same_state(path, other) else []
    for path in (ours / "events").glob("*.npz"):
        other = whole / "events" / path.name
        found += [path.name] if not other.exists() or not same_arrays(path, other) else []
    return found + [str(path) for path in ours.rglob("*.part")]


def untimed(path: Path) -> bytes:
    return re.sub(rb'"time/\w+": [^,}]+', b"", path.read_bytes())


def same_state(path: Path, other: Path) -> bool:
    """Whether two checkpoints hold the same, to the last bit."""
    return path.read_bytes() == other.read_bytes() or _state(path) == _state(other)


def _state(path: Path) -> str:
    content = torch.load(path, weights_only=True)
    content["ring"] = [
        {key: value for key, value in row.items() if not key.startswith("time/")} for row in content["ring"]
    ]
    return json.dumps(content, default=lambda tensor: tensor.tolist())


def same_arrays(path: Path, other: Path) -> bool:
    """Whether the steps before an event are the same in two files."""
    ours, theirs = np.load(path), np.load(other)
    names = [name for name in ours.files if not name.startswith("time/")]
    return set(ours.files) == set(theirs.files) and all(
        np.array_equal(ours[name], theirs[name], equal_nan=ours[name].dtype.kind == "f") for name in names
    )

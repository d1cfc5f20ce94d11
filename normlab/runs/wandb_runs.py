"""Runs out of wandb as run directories: offline ones by wandb's own reader, a project's by its API.

What wandb has of a run is its config, rows and summary; of its events only the first.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import yaml

from normlab.disk.strict_json import document, line_of, plain
from normlab.errors import UserError
from normlab.rundir.writer import CONFIG, EVENTS, ROWS, SUMMARY
from normlab.runs.reader import find

#: Parts of the summary that wandb has flat, as `floors/unigram`.
_NESTED = ("floors", "first_event")
#: Keys of wandb itself, and of pictures and tables, whose sizes it has as numbers.
_NOT_METRICS = ("_", "figures/")


def local(path: Path, folder: Path) -> list[Path]:
    """`path` itself; where it holds no run but offline files of wandb, those as run directories in `folder`.

    Raises:
        UserError: a file that wandb cannot read.
    """
    if not path.is_dir() or next(find(path), None) is not None:
        return [path]
    files = sorted({file.resolve() for file in path.rglob("*.wandb")})
    return [_offline(file, folder) for file in files] or [path]


def _offline(file: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"{file}: wandb cannot read it: {why}")
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    rows = []
    for record in map(json.loads, done.stdout.splitlines()):
        if record["type"] == "run":
            config |= record["run"].get("config", {}).get("update", {})
        elif record["type"] == "summary":
            summary |= record["summary"].get("update", {})
        elif record["type"] == "history":
            rows.append(record["history"]["item"])
    return _write(folder, str(file.parent), config, rows, summary)


def fetch(address: str, folder: Path) -> list[Path]:
    """The runs of a wandb project, or of a group in it, as run directories in `folder`.

    Args:
        address: ENTITY/PROJECT or ENTITY/PROJECT/GROUP.
    Raises:
        UserError: another address, no API key, a project that cannot be read or has no such run.
    """
    import wandb

    parts = address.split("/", 2)
    if len(parts) < 2 or not all(parts):
        raise UserError(f"--wandb {address}: is not ENTITY/PROJECT or ENTITY/PROJECT/GROUP")
    # Without this check wandb would ask for a key on a terminal.
    if not wandb.login(prompt=False, verify=False):
        raise UserError(f"--wandb {address}: wandb has no API key; wandb login sets one")
    filters = {"group": parts[2]} if len(parts) > 2 else {}
    try:
        runs = wandb.Api().runs("/".join(parts[:2]), filters=filters)
        found = [_online(run, address, folder) for run in runs]
    except (wandb.errors.Error, ValueError) as error:
        raise UserError(f"--wandb {address}: {' '.join(str(error).split())[:200]}") from None
    if not found:
        raise UserError(f"--wandb {address}: there is no run")
    return found


def _online(run: Any, address: str, folder: Path) -> Path:
    return _write(folder, f"{address}/{run.id}", run.config, run.scan_history(), dict(run.summary))


def _write(
    folder: Path,
    origin: str,
    config: Mapping[str, Any],
    rows: Iterable[Mapping[str, Any]],
    summary: Mapping[str, Any],
) -> Path:
    """A run directory in `folder` of what wandb has; `origin` is what people are told instead of its path."""
    directory = Path(mkdtemp(dir=folder))
    own = {key: value for key, value in config.items() if not key.startswith("_")}
    (directory / CONFIG).write_text(yaml.safe_dump(plain(own), sort_keys=False), encoding="utf-8")
    lines = (line_of(dict(_metrics(row))) for row in rows)
    (directory / ROWS).write_bytes(b"".join(lines))
    (directory / EVENTS).touch()
    (directory / SUMMARY).write_bytes(document({"status": "running", **_summary(summary), "origin": origin}))
    return directory


def _metrics(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """A row without wandb's own keys, pictures and tables, and what the step lacks."""
    for key, value in row.items():
        if not key.startswith(_NOT_METRICS) and isinstance(value, int | float | str):
            yield key, value


def _summary(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The summary with floors and first event nested again."""
    result = dict(_metrics(flat))
    for part in _NESTED:
        inner = {key.partition("/")[2]: result[key] for key in result if key.startswith(f"{part}/")}
        result[part] = inner or None
    if result["first_event"] and isinstance(layers := result["first_event"].get("layers"), str):
        result["first_event"]["layers"] = layers.split(", ")
    return result

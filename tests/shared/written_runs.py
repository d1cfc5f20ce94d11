"""Run directories that tests write, with losses they know."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normlab.catalogue import groups

FLOORS = {"uniform": 5.5, "unigram": 3.1, "bigram": 2.4}
STEPS = 30


def settings(changes: dict[str, Any]) -> dict[str, Any]:
    """The default config with dotted keys changed; a group's bare name chooses an option."""
    config = copy.deepcopy(groups.defaults())
    config["train"]["steps"] = STEPS
    for key, value in changes.items():
        *path, last = key.split(".")
        node = config
        for part in path:
            node = node[part]
        node[last] = copy.deepcopy(groups.values(key)[value]) if key in groups.GROUPS else value
    return config


def rows(final: float, start: float, steps: int, ratio: float) -> list[dict[str, Any]]:
    """The loss falls in a straight line; the gradient ratio is 1 for ten steps, then `ratio`."""
    return [
        {
            "step": step,
            "loss": start + (final - start) * step / max(steps - 1, 1),
            "tokens": 1000 * (step + 1),
            "grad_norm/first_to_last": ratio if step >= 10 else 1.0,
            "time/seconds": 0.1 * step,
        }
        for step in range(steps)
    ]


def write_run(
    directory: Path,
    loss: Any = 2.5,
    *,
    seed: int = 0,
    summary: dict[str, Any] | None = None,
    start: float = 6.0,
    steps: int = STEPS,
    ratio: float = 1.0,
    **changes: Any,
) -> Path:
    """A finished run with this final and best validation loss. Dots in keys are written as `__`."""
    directory.mkdir(parents=True)
    config = settings({key.replace("__", "."): value for key, value in changes.items()} | {"seed": seed})
    (directory / "config.yaml").write_text(json.dumps(config))  # JSON is YAML, and quickly written
    figures = {
        "status": "finished",
        "outcome": "stable",
        "steps": steps,
        **dict.fromkeys(("val/final", "val/best", "loss/final", "loss/best"), loss),
        "spike_score/6sigma_128": 0.0,
        "first_event": None,
        "tokens_per_second": 1000.0 + seed,
        "floors": FLOORS,
        "batch_order": f"seed-{seed}",
    }
    (directory / "summary.json").write_text(json.dumps(figures | (summary or {})), encoding="utf-8")
    last = loss if isinstance(loss, float) else start
    lines = [json.dumps(row) + "\n" for row in rows(last, start, steps, ratio)]
    (directory / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    (directory / "events.jsonl").touch()
    return directory


@pytest.fixture
def write() -> Callable[..., Path]:
    """`write(directory, loss, seed=1, placement="post", optimizer__lr=1e-2)`."""
    return write_run


#: Validation losses by placement and seed.
LOSSES = {
    "pre": (2.50, 2.52, 2.49, 2.51, 2.53),
    "post": (2.81, 2.82, 2.80, 2.80, 2.84),
    "deepnorm": (2.501, 2.519, 2.492, 2.509, 2.531),
}


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Three placements with five seeds each; `sweep.json` has pre first."""
    root = tmp_path / "mine"
    for placement, losses in LOSSES.items():
        for seed, loss in enumerate(losses):
            write_run(root / f"{placement}-{seed}", loss, seed=seed, placement=placement)
    jobs = [{"dir": f"{placement}-{seed}"} for placement in LOSSES for seed in range(5)]
    (root / "sweep.json").write_text(json.dumps({"jobs": jobs}))
    return root


@pytest.fixture
def losses() -> dict[str, tuple[float, ...]]:
    """Those of `sweep`."""
    return LOSSES

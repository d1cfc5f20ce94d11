"""A run as the sinks see it: an opening, rows and an event, without training anything."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from normlab.rundir.opening import Opening

FLOORS = {"uniform": math.log(256), "unigram": 3.147, "bigram": 2.31}
CONFIG = {
    "norm": {"name": "layernorm", "eps": 1e-5},
    "depth": 2,
    "train": {"steps": 30, "clip": None},
    "tracker": {"tags": ["a", "b"]},
}


def make_row(step: int, **more: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"step": step, "loss": 5.5 - step / 10, "lr": 2.5e-3, "tokens": 1024 * (step + 1)}
    row["grad_norm/global"] = 1.5
    for site in ("embedding", "layer_00", "layer_01", "final_norm", "head"):
        row[f"grad_norm/{site}"] = 0.1 + step / 3
    row["grad_norm/layer_00/attn.qkv"] = 0.7
    return row | {"time/seconds": step / 7, "time/tokens_per_second": 1e4} | more


def make_event(step: int = 5, kind: str = "spike", **more: Any) -> dict[str, Any]:
    return {
        "step": step,
        "kind": kind,
        "metric": "loss",
        "value": 9.0,
        "threshold": 6.0,
        "layers": ["layer_01", "layer_00"],
        "message": "the loss jumped to 9",
        "end": None,
        "recovered": None,
        "recovery_steps": None,
    } | more


def make_summary(**more: Any) -> dict[str, Any]:
    return {
        "status": "finished",
        "outcome": "spiked",
        "steps": 30,
        "loss/final": 2.317,
        "loss/best": 2.3,
        "val/final": 2.4,
        "val/best": 2.35,
        "floors": FLOORS,
        "events": {"spike": 1},
        "first_event": make_event(),
        "tokens_per_second": 10234.5,
        "parameters": 1234,
        "wandb": {"mode": "disabled"},
    } | more


def make_opening(directory: Path, **more: Any) -> Opening:
    known: dict[str, Any] = {
        "directory": directory,
        "config": CONFIG,
        "name": "placement=post",
        "sweep": None,
        "floors": FLOORS,
        "parameters": 1234,
        "first_step": 0,
    }
    return Opening(**known | more)


@pytest.fixture
def opening_of(tmp_path: Path) -> Callable[..., Opening]:
    """`opening_of(first_step=3)`: how this test's run begins."""
    return lambda directory=tmp_path / "run", **more: make_opening(directory, **more)


@pytest.fixture(scope="session")
def made() -> Any:
    """The makers above, for test files, which cannot import one another."""
    return SimpleNamespace(
        row=make_row,
        event=make_event,
        summary=make_summary,
        opening=make_opening,
        floors=FLOORS,
        config=CONFIG,
    )

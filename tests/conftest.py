"""Shared fixtures: configs built from the tables, without Hydra, and a small text."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import pytest

from normlab.catalogue.activations import ACTIVATIONS
from normlab.catalogue.datasets import DATASETS
from normlab.catalogue.inits import INITS
from normlab.catalogue.norms import NORMS
from normlab.catalogue.optimizers import OPTIMIZERS
from normlab.catalogue.placements import PLACEMENTS
from normlab.catalogue.schedules import SCHEDULES
from normlab.config import (
    DivergenceConfig,
    FaultConfig,
    MeasureConfig,
    ModelConfig,
    RunConfig,
    TrackerConfig,
    TrainConfig,
)

#: Test processes share the cores; two threads each would wait for one another. Torch has not begun yet.
os.environ.setdefault("OMP_NUM_THREADS", "1")

#: Files of tests that take long: they come first, so that no process waits for another's at the end.
LONG = ("test_readme.py", "test_child.py", "test_ranks.py", "test_sweep_faults.py", "test_launchers.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONG)


TABLES: dict[str, Any] = {
    "norm": NORMS,
    "placement": PLACEMENTS,
    "activation": ACTIVATIONS,
    "init": INITS,
    "data": DATASETS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}
DEFAULT_ROWS = {
    "norm": "layernorm",
    "placement": "pre",
    "activation": "gelu",
    "init": "fan_in",
    "data": "markov",
    "optimizer": "adamw",
    "schedule": "constant",
}
SMALL: dict[str, Any] = {
    "depth": 2,
    "model.width": 16,
    "model.heads": 2,
    "model.context": 8,
    "data.length": 8192,
    "train.steps": 6,
    "train.batch_size": 4,
    "train.eval_every": 3,
    "train.eval_batches": 2,
    "train.device": "cpu",
    "train.threads": 1,
    "tracker.mode": "disabled",
}

ConfigOf = Callable[..., RunConfig]


def build_config(changes: dict[str, Any], **rows: str) -> RunConfig:
    """The default rows with `rows` exchanged and `changes` (dotted keys) made."""
    tree: dict[str, Any] = {
        group: TABLES[group][rows.get(group, default)].config for group, default in DEFAULT_ROWS.items()
    }
    tree |= {
        "model": ModelConfig(),
        "train": TrainConfig(),
        "measure": MeasureConfig(),
        "divergence": DivergenceConfig(),
        "tracker": TrackerConfig(),
        "fault": FaultConfig(),
    }
    nested: dict[str, Any] = {}
    for key, value in changes.items():
        *path, last = key.split(".")
        node = nested
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    plain = {key: value for key, value in nested.items() if not isinstance(value, dict)}
    for group, values in nested.items():
        if isinstance(values, dict):
            tree[group] = _replace(tree[group], values)
    return RunConfig(**tree, **plain)


def _replace(node: Any, values: dict[str, Any]) -> Any:
    changed = {
        key: _replace(getattr(node, key), value)
        if isinstance(value, dict) and dataclasses.is_dataclass(getattr(node, key))
        else value
        for key, value in values.items()
    }
    return dataclasses.replace(node, **changed)


@pytest.fixture
def config_of() -> ConfigOf:
    """`config_of({"train.steps": 3}, placement="post")`: a full-size config, changed."""
    return lambda changes=None, **rows: build_config(changes or {}, **rows)


@pytest.fixture
def small(config_of: ConfigOf) -> ConfigOf:
    """As `config_of`, over a model that trains in milliseconds on a Markov text, untracked."""
    return lambda changes=None, **rows: config_of(SMALL | (changes or {}), **rows)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tokens of one test session in one place, away from the user's."""
    monkeypatch.setenv("NORMLAB_CACHE", str(tmp_path_factory.getbasetemp() / "normlab-cache"))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)

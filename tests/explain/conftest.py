"""Runs made up number by number, so that what befell them is known."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from normlab.compose.saved_config import as_plain
from normlab.disk.strict_json import line_of
from normlab.explain.case import Case
from normlab.explain.explanation import Explanation, explain
from normlab.runs.recorded import read_recorded

LAYERS = [f"layer_{index:02d}" for index in range(4)]
FLOORS = {"uniform": 5.5, "unigram": 3.1, "bigram": 2.4}
STEPS = 60


def healthy(step: int) -> dict[str, Any]:
    """A row of a run of four layers in which nothing happens; all instruments look at every step."""
    loss = 2.3 + 3.2 * 0.9**step
    row = {"step": step, "loss": loss, "lr": 1e-3, "grad_norm/global": 0.5, "grad_norm/first_to_last": 1.5}
    row |= {"output/log_z": 6.0 + step / 60, "output/loss_p99": loss + 3}
    for layer in LAYERS:
        row |= {f"grad_norm/{layer}": 0.2, f"grad_rms/{layer}": 1e-3, f"update/ratio/{layer}": 5e-3}
        row |= {f"stream/rms/{layer}": 1.0, f"grad_stream/{layer}": 0.01}
        row |= {f"stream/branch_ratio/{layer}/{kind}": 0.3 for kind in ("attn", "ffn")}
        row |= {f"attention/max_logit/{layer}": 3.0, f"attention/entropy_share/{layer}": 0.9}
    return row


def _event(kind: str, step: int, **more: Any) -> dict[str, Any]:
    plain = {"metric": "loss", "value": 9.0, "threshold": 6.0, "layers": [], "message": f"a {kind}"}
    return {
        "step": step,
        "kind": kind,
        **plain,
        "end": None,
        "recovered": None,
        "recovery_steps": None,
    } | more


class Trouble(NamedTuple):
    """A made-up run of a diagnosis."""

    #: What it makes of each row.
    change: Callable[[dict[str, Any]], None]
    #: How else the run is: what `run_of` takes.
    run: dict[str, Any]
    #: What must be in the evidence, and the step of the finding.
    words: list[str]
    step: int
    #: Rows that lack the evidence and nothing else.
    without: Callable[[dict[str, Any]], None]


STUCK = {"events": [_event("plateau", 55)], "outcome": "stuck", "settings": {"divergence.plateau.window": 10}}
EXPLODED = {
    "events": [_event("explosion", 59)],
    "outcome": "exploded",
    "settings": {"divergence.explosion.steps": 10},
}
NAN = _event("nonfinite", 40, layers=["layer_02"], message="the loss is nan", end=41, recovered=True)
TRACE = {"nonfinite/site": "layer_02/ffn.in", "nonfinite/pass": "forward"}


def dying(row):
    if row["step"] >= 7:
        row |= {"grad_norm/first_to_last": 1e-5, "grad_rms/layer_00": 1e-9}
        row |= {"stream/branch_ratio/layer_00/ffn": 1.0, "update/ratio/layer_00": 1e-6}


def logits(row):
    if row["step"] >= 12:
        row |= {"attention/max_logit/layer_02": 2500.0, "attention/entropy_share/layer_02": 0.03}
        row |= {f"stream/rms/{layer}": 3.0**i for i, layer in enumerate(LAYERS)}
        row |= {f"attention/max_logit/layer_{i:02d}": 9.0 ** (i - 1) * 4 for i in (1, 3)}


def hot(row):
    if row["step"] < 5:
        row |= {f"update/ratio/{layer}": 0.4 + 0.1 * i for i, layer in enumerate(LAYERS)}


def jump(row):
    if row["step"] == 30:
        row["lr"] = 1.0
    if row["step"] > 30:
        row["loss"] = 8.0


def exponential(row):
    row |= {f"stream/rms/{layer}": 10.0**i for i, layer in enumerate(LAYERS)}
    row |= {f"grad_stream/{layer}": 10.0**-i for i, layer in enumerate(LAYERS)}


def linear(row):
    row |= {f"stream/rms/{layer}": 1.0 + 40 * i for i, layer in enumerate(LAYERS)}


def drift(row):
    row["output/log_z"] = 6.0 + row["step"]


def odd(row):
    if row["step"] == 50:
        row["loss"] = 6.0


def wrong(row):
    odd(row)
    if row["step"] == 50:
        row |= {"grad_norm/global": 200.0}


def nan(row):
    if row["step"] == 40:
        row |= {"loss": math.nan, **TRACE, "nonfinite/input_min": -3.5, "nonfinite/input_max": 4.25}


def overflow(row):
    nan(row)
    if row["step"] == 40:
        row["nonfinite/input_max"] = 1e30
    if row["step"] == 39:
        row["grad_norm/global"] = 5e4


def gap(row):
    if row["step"] == 50:
        row["val/loss"] = 4.0


def no_gap(row):
    if row["step"] == 50:
        row["val/loss"] = 2.35


def tiny(row):
    row |= {f"stream/branch_ratio/{layer}/{kind}": 0.01 for layer in LAYERS for kind in ("attn", "ffn")}


def nothing(row):
    pass


SPIKE = {
    "events": [_event("spike", 50, end=51, recovered=True, recovery_steps=1, value=6.0)],
    "outcome": "spiked",
}
BROKEN = {"events": [NAN], "outcome": "nonfinite"}
LEAKY = {"settings": {"norm.allow_leaky": True}, "norm": "batchnorm"}
#: By diagnosis.
TROUBLES = {
    "gradient_dies": Trouble(
        dying,
        STUCK | {"placement": "post"},
        ["1.5 ", "1.0e-05", "sqrt(1 + ratio^2)"],
        7,
        nothing,
    ),
    "attention_saturates": Trouble(
        logits,
        EXPLODED | {"placement": "res_post"},
        ["layer_02", "2,500", "3 %"],
        12,
        nothing,
    ),
    "rate_too_high": Trouble(hot, EXPLODED, ["55 %", "layer_03, 70 %", "0.001"], 0, nothing),
    "rate_jumped": Trouble(
        jump, EXPLODED, ["0.001 (step 29)", "to 1 (step 30)", "8 at step 31"], 30, nothing
    ),
    "stream_explodes": Trouble(
        exponential, EXPLODED | {"norm": "identity"}, ["1,000", "10.00 a block"], 50, linear
    ),
    "output_drifts": Trouble(drift, EXPLODED, ["log Z was 6 ", "22 at step 16"], 16, nothing),
    "odd_batch": Trouble(odd, SPIKE, ["step 50", "1.0 times"], 50, wrong),
    "broke_at_once": Trouble(
        nan, BROKEN, ["layer_02/ffn.in", "-3.5 and 4.25", "0.5 at step 39"], 40, overflow
    ),
    "overflowed": Trouble(overflow, BROKEN, ["1.0e+30", "50,000"], 40, nan),
    "modes_differ": Trouble(gap, LEAKY, ["4.000 nats at step 50", "1.65 above"], 50, no_gap),
    "branches_tiny": Trouble(tiny, {}, ["1.0 %"], 0, nothing),
}


@pytest.fixture
def troubles() -> dict[str, Trouble]:
    return TROUBLES


@pytest.fixture
def event_of() -> Callable[..., dict[str, Any]]:
    """`event_of("spike", 50, end=51)`: the record of an event."""
    return _event


@pytest.fixture
def run_of(tmp_path: Path, small: Callable[..., Any]) -> Callable[..., Path]:
    """`run_of(change, events, outcome, settings, placement="post")`: the directory of a healthy run, changed.

    `change(row)` changes each row in place; `settings` are those of the config, by dotted key.
    """

    def build(
        change: Callable[[dict[str, Any]], None] = lambda row: None,
        events: list[dict[str, Any]] | None = None,
        outcome: str = "stable",
        settings: Mapping[str, Any] | None = None,
        **rows: str,
    ) -> Path:
        config = small({"depth": 4, "train.steps": STEPS} | dict(settings or {}), **rows)
        made = [healthy(step) for step in range(STEPS)]
        for row in made:
            change(row)
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(as_plain(config)))
        (tmp_path / "metrics.jsonl").write_bytes(b"".join(map(line_of, made)))
        (tmp_path / "events.jsonl").write_bytes(b"".join(map(line_of, events or [])))
        summary = {"status": "finished", "outcome": outcome, "floors": FLOORS, "sizes": {}}
        (tmp_path / "summary.json").write_text(json.dumps(summary))
        return tmp_path

    return build


@pytest.fixture
def case_of(run_of: Callable[..., Path]) -> Callable[..., Case]:
    """As `run_of`, read."""
    return lambda *args, **kwargs: Case(read_recorded(run_of(*args, **kwargs)))


@pytest.fixture
def explained(run_of: Callable[..., Path]) -> Callable[..., Explanation]:
    """As `run_of`, explained."""
    return lambda *args, **kwargs: explain(run_of(*args, **kwargs))

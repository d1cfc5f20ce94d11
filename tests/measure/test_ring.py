import json
import math

import numpy as np
import pytest
import torch

from normlab.config import MEASURED, PASSES
from normlab.data import load_corpus
from normlab.errors import ConfigError
from normlab.measure.ring import BYTES_A_NUMBER, Ring, ring_bytes
from normlab.run import check, run
from normlab.training.build import build
from normlab.training.step import take_step


def test_a_ring_keeps_the_latest_rows():
    ring = Ring(3)
    for step in range(5):
        ring.add(
            {"step": step, "loss": step / 2, "nonfinite/site": "head"}
            | ({"val/loss": 7.0} if step == 3 else {})
        )
    arrays = ring.arrays()
    assert arrays["step"].tolist() == [2, 3, 4] and arrays["loss"].tolist() == [1, 1.5, 2]
    np.testing.assert_array_equal(arrays["val/loss"], [math.nan, 7, math.nan])
    assert "nonfinite/site" not in arrays


@pytest.mark.parametrize("objective", ["clm", "mlm"])
def test_an_event_leaves_the_steps_before_it(objective, small, tmp_path):
    changes = {"fault.kind": "nan_gradient", "fault.step": 4, "fault.layer": 1, "measure.ring": 3}
    config = small(changes | {"data.objective": objective, "data.mask_rate": 0.5})
    run(config, tmp_path / "run", plain=True)
    with np.load(tmp_path / "run" / "events" / "000004-nonfinite.npz", allow_pickle=False) as kept:
        assert kept["step"].tolist() == [2, 3, 4]
        rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
        assert kept["grad_norm/layer_00"].tolist() == [row["grad_norm/layer_00"] for row in rows[2:5]]
        assert math.isnan(kept["grad_norm/layer_01"][-1]) and kept["lr"][-1] == config.optimizer.lr
        corpus = load_corpus(config.data, config.model.context)
        batch = build(config, corpus).batches.train(4)
        assert kept["batch/step"] == 4 and np.array_equal(kept["batch/ids"], batch)
        read = batch if objective == "clm" else batch[:, 0]
        assert kept["batch/text"].tolist() == [corpus.decode(ids.tolist()) for ids in read]
        assert ("[MASK]" in kept["batch/text"][0]) == (objective == "mlm")
        torch.set_rng_state(torch.from_numpy(kept["rng/0"]))


def test_without_a_ring_nothing_is_left(small, tmp_path):
    run(
        small({"fault.kind": "nan_gradient", "fault.step": 4, "measure.ring": 0}),
        tmp_path / "run",
        plain=True,
    )
    assert not (tmp_path / "run" / "events").exists()


def test_a_ring_too_large_is_refused_with_its_size(small):
    with pytest.raises(ConfigError, match=r"measure\.ring: 99999999 steps .* GiB of memory; use at most \d+"):
        check(small({"measure.ring": 99_999_999}))


@pytest.mark.parametrize("depth", [1, 3])
def test_the_size_of_a_ring_is_no_guess_too_low(depth, small):
    """With every metric there is, in a step whose every gradient is broken."""
    changes = {f"measure.{kind}": 1 for kind in MEASURED} | {"depth": depth, "model.bias": True}
    changes |= {"fault.kind": "nan_activation", "fault.step": 0, "norm.allow_leaky": True}
    changes |= {f"measure.{name}": "eval" for name in PASSES} | {"train.accumulation": 2}
    config = small(changes, activation="tanh", norm="batchnorm", placement="layerscale")
    job = build(config, load_corpus(config.data, config.model.context))
    job.passes.begin(job, last=False)
    row = take_step(job)
    row |= job.passes.measure(job, row["lr"])
    assert {
        "grad_norm/layer_00/scale",
        "nonfinite/gradient/layer_00/norm",
        "gain/mean/layer_00",
        "ablation/skip/layer_00",
    } <= row.keys()
    numbers = len(row) + 3  # val/loss, time/seconds, nonfinite/...
    assert numbers * BYTES_A_NUMBER <= ring_bytes(1, depth, config.model.heads) < 2 * numbers * BYTES_A_NUMBER

"""scripts/norm_bench.py: what it times against each other computes the same."""

import importlib.util
from pathlib import Path

import pytest
import torch

FILE = Path(__file__).parents[2] / "scripts" / "norm_bench.py"
if not FILE.exists():
    pytest.skip("scripts/ is not installed", allow_module_level=True)
spec = importlib.util.spec_from_file_location("norm_bench", FILE)
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)


def test_all_of_a_kind_give_the_same_numbers_and_gradients():
    torch.manual_seed(0)
    x = torch.randn(5, 8, requires_grad=True)
    found = {}
    for name, (norm, parameters) in bench.contenders(8, torch.device("cpu")).items():
        y = norm(x)
        found[name] = (y, *torch.autograd.grad(y, [x, parameters[0]], x.detach() ** 2))
    assert {name for pair in bench.PAIRS.values() for name in pair} == found.keys()
    for name, values in found.items():
        like = "F.rms_norm" if "rms" in name.lower() else "F.layer_norm"
        for ours, theirs in zip(values, found[like], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_round_times_every_contender(monkeypatch):
    monkeypatch.setattr(bench, "NUMBERS", 64)
    monkeypatch.setattr(bench, "TURN", 0.0)
    for run in (bench.forward, bench.both_passes):
        (taken,) = bench.measure(run, 8, 1, torch.device("cpu"))
        assert taken.keys() == bench.contenders(8, torch.device("cpu")).keys()

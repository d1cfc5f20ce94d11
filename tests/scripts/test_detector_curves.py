"""Loss curves whose truth is known: each must get its right outcome, whatever the noise."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

PATH = Path(__file__).parents[2] / "scripts" / "detector_curves.py"


def _load() -> ModuleType:
    import sys

    spec = importlib.util.spec_from_file_location("detector_curves", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


curves = _load()


@pytest.mark.parametrize("case", curves.CASES, ids=lambda case: case.name)
def test_a_curve_gets_its_right_outcome(case) -> None:
    for seed in range(1 if len(case.curve) > 600 else 3):
        outcome, events = curves.said(case, seed)
        assert curves.is_right(case, outcome, events), (seed, outcome, events)


@pytest.mark.parametrize("step", [16, 20, 30, 45, 60, 80, 100, 200])
def test_a_jump_of_0_7_nat_is_found_from_the_sixteenth_step_on(step: int) -> None:
    """The median over seeds and two curves, under noise of 0.03."""
    found = [
        curves.smallest_jump(curve, 0.03, step, seed)
        for curve in (curves.falling(201), curves.power(201))
        for seed in range(4)
    ]
    assert np.median(found) <= 0.7


@pytest.mark.parametrize(("step", "jump"), [(60, 1.0), (200, 1.0), (600, 1.0)])
def test_a_jump_of_1_nat_is_found_under_noise_of_0_05(step: int, jump: float) -> None:
    found = [curves.smallest_jump(curves.power(601), 0.05, step, seed) for seed in range(3)]
    assert max(found) <= jump


@pytest.mark.parametrize("noise", ["t(3)", "t(2)", "lognormal"])
def test_most_healthy_runs_with_heavy_tails_are_not_said_to_spike(noise: str) -> None:
    """Without a look at the tail, 21, 39 and 40 of 40 were."""
    case = curves.Case(name=noise, curve=curves.falling(600), outcomes=["stable"], noise=noise, sigma=0.05)
    words = [curves.said(case, seed)[0] for seed in range(6)]
    assert words.count("spiked") <= 2

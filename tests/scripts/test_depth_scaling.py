import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "depth_scaling.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("depth_scaling", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_is_that_of_a_power_law_above_any_floor(script, power):
    depths = [10, 100, 1000]
    assert script.exponent(depths, [7 + 3 * depth**power for depth in depths]) == pytest.approx(power)
    assert script.exponent([10, 100, 500], [1, 2, 3]) is None
    assert script.exponent(depths, [1, 1, 2]) is None


def test_a_model_is_measured_as_the_script_says(script):
    words = [*script.WORDS, "data=markov", "data.length=8192", "model.width=16", "depth=3"]
    found = script.measure(words, steps=1)
    assert found["parameters"] > 3 * 12 * 16**2 and found["cpu"] > 0 and 0 < found["memory"] < 16
    assert set(script.COLUMNS) < set(found)

import math

import pytest

from normlab.training.schedules import learning_rate

LR = 2.5e-3


def rates(config):
    return [learning_rate(step, config) / LR for step in range(config.train.steps)]


def config_for(config_of, schedule, warmup, **changes):
    keys = {f"schedule.{key}": value for key, value in changes.items()}
    return config_of({"train.steps": 100, "warmup": warmup} | keys, schedule=schedule)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear", "wsd", "inverse_sqrt"])
def test_warmup_is_linear_from_the_first_step(schedule, config_of):
    seen = rates(config_for(config_of, schedule, 10))
    assert seen[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert max(seen) == pytest.approx(1.0)


def test_constant_stays(config_of):
    assert rates(config_for(config_of, "constant", 0)) == [1.0] * 100


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd"])
def test_decays_end_where_they_should(schedule, config_of):
    assert rates(config_for(config_of, schedule, 10))[-1] == pytest.approx(0.0, abs=1e-12)
    assert rates(config_for(config_of, schedule, 10, final=0.1))[-1] == pytest.approx(0.1)


def test_shapes_between(config_of):
    cosine, linear = (rates(config_for(config_of, name, 1)) for name in ("cosine", "linear"))
    assert cosine[50] == pytest.approx((1 + math.cos(math.pi * 49 / 98)) / 2)
    assert linear[50] == pytest.approx(1 - 49 / 98)
    wsd = rates(config_for(config_of, "wsd", 0, decay=0.5))
    assert wsd[:51] == [1.0] * 51 and wsd[75] == pytest.approx(1 - 25 / 49)
    assert rates(config_for(config_of, "inverse_sqrt", 25))[99] == pytest.approx(0.5)

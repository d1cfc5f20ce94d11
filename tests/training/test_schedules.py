import math

import pytest
import torch

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


def test_decays_end_one_step_before_their_final_rate(config_of):
    """t = (step - warmup) / (steps - warmup), as in PyTorch's own schedules and nanoGPT."""
    for final in (0.0, 0.1):
        cosine, linear = (
            rates(config_for(config_of, name, 10, final=final)) for name in ("cosine", "linear")
        )
        parameter = torch.nn.Parameter(torch.zeros(()))
        optimizer = torch.optim.SGD([parameter], lr=1.0)
        theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 90, eta_min=final)
        for step in range(10, 100):
            assert cosine[step] == pytest.approx(theirs.get_last_lr()[0], abs=1e-9), step
            optimizer.step()
            theirs.step()
        for name, seen in (("cosine", cosine), ("linear", linear)):
            assert seen[9] == seen[10] == 1.0, name  # the warm-up's last step and the decay's first
        assert linear[11] == pytest.approx(1 - (1 - final) / 90)
        assert linear[55] == pytest.approx((1 + final) / 2) and cosine[55] == pytest.approx((1 + final) / 2)
        assert linear[99] == pytest.approx(final + (1 - final) / 90)
        assert cosine[99] == pytest.approx(final + (1 - final) * (1 + math.cos(math.pi * 89 / 90)) / 2)


@pytest.mark.parametrize(
    ("warmup", "decay", "wanted"),
    [
        (0, 0.2, [1] * 9 + [1 / 2]),
        (0, 0.5, [1] * 6 + [4 / 5, 3 / 5, 2 / 5, 1 / 5]),
        (0, 1.0, [1 - step / 10 for step in range(10)]),
        (9, 0.2, [(step + 1) / 9 for step in range(9)] + [1 / 2]),
        (0, 0.1, [1] * 10),
        (8, 0.5, [(step + 1) / 8 * min(1, 1 - (step - 5) / 5) for step in range(8)] + [2 / 5, 1 / 5]),
    ],
)
def test_wsd_decays_over_its_share_of_the_steps_whatever_the_warmup(warmup, decay, wanted, config_of):
    """Ten steps, written out: (step - start) / (steps - start) with start = (1 - decay) * steps."""
    config = config_of(
        {"train.steps": 10, "warmup": warmup, "schedule.decay": decay, "schedule.final": 0.0}, schedule="wsd"
    )
    assert rates(config) == pytest.approx(wanted)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear", "wsd", "inverse_sqrt"])
@pytest.mark.parametrize("warmup", [0, 1, 2])
def test_one_and_two_steps_and_nothing_but_warmup_have_rates_above_0(schedule, warmup, config_of):
    for steps in (1, 2):
        if warmup <= steps:
            seen = rates(config_of({"train.steps": steps, "warmup": warmup}, schedule=schedule))
            assert all(0 < rate <= 1 for rate in seen) and max(seen[-1:]) > 0


def test_the_rate_of_inverse_sqrt_falls_with_the_root_of_the_step(config_of):
    seen = rates(config_for(config_of, "inverse_sqrt", 25))
    assert seen[24] == 1.0 and seen[25] == pytest.approx((25 / 26) ** 0.5) and seen[99] == pytest.approx(0.5)

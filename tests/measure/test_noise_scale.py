"""The gradient noise scale, where the noise is known."""

import itertools
import math

import pytest
import torch

from normlab.measure.noise_scale import noise_scale


def test_both_estimates_are_unbiased():
    """Every batch of two sequences that there can be, each with gradient G + v or G - v."""
    true, noise = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.3, 4.0, 1.0])
    small, large = [], []
    for signs in itertools.product((-1, 1), repeat=2):
        gradients = torch.stack([true + sign * noise for sign in signs])
        small.append(gradients.square().sum(1).mean())
        large.append(gradients.mean(0).square().sum())
    found = noise_scale(torch.stack(small).mean(), torch.stack(large).mean(), parts=2, batch_size=2)
    assert found["noise_scale/square"] == pytest.approx(true.square().sum().item(), rel=1e-6)
    assert found["noise_scale/trace"] == pytest.approx(noise.square().sum().item(), rel=1e-6)
    assert found["noise_scale/simple"] == pytest.approx((noise.square().sum() / true.square().sum()).item())


@pytest.mark.parametrize(("parts", "batch_size"), [(2, 8), (4, 8), (16, 16)])
def test_a_known_covariance(parts, batch_size):
    """Gaussian sequences: micro-batches of any size give the trace of one sequence."""
    torch.manual_seed(0)
    deviations = torch.linspace(0.5, 2.0, 50, dtype=torch.float64)
    true = torch.full((50,), 0.6, dtype=torch.float64)
    each = true + deviations * torch.randn(4000, batch_size, 50, dtype=torch.float64)
    micro = each.view(4000, parts, -1, 50).mean(2)
    small, large = micro.square().sum(-1).mean(), micro.mean(1).square().sum(-1).mean()
    found = noise_scale(small, large, parts, batch_size)
    assert found["noise_scale/trace"] == pytest.approx(deviations.square().sum().item(), rel=0.02)
    assert found["noise_scale/square"] == pytest.approx(true.square().sum().item(), rel=0.02)


def test_an_estimate_may_be_negative_and_is_left_so():
    found = noise_scale(torch.tensor(9.0), torch.tensor(1.0), parts=2, batch_size=4)
    assert found["noise_scale/square"] == -7.0 and found["noise_scale/trace"] == 32.0
    assert found["noise_scale/simple"] == pytest.approx(-32 / 7)


def test_what_cannot_be_computed_is_nan():
    found = noise_scale(torch.tensor(math.nan), torch.tensor(1.0), parts=2, batch_size=4)
    assert all(map(math.isnan, found.values()))

"""Power norm (2003.07845) against a plain reimplementation of its forward and backward pass."""

import dataclasses

import pytest
import torch

from normlab.catalogue.norms import NORMS
from normlab.model.norms import build_norm

BATCH, TIME, WIDTH, GROUPS = 4, 6, 8, 2


def norm_of(**changes):
    config = dataclasses.replace(NORMS["powernorm"].config, groups=GROUPS, **changes)
    return build_norm(config, WIDTH).double()


def randn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


class Plain:
    """Power norm on (N, D), every derivative by hand."""

    def __init__(self, batch_steps, a, b, eps):
        self.batch_steps, self.a, self.b, self.eps = batch_steps, a, b, eps
        self.psi2, self.nu, self.batches = torch.ones(WIDTH).double(), torch.zeros(WIDTH).double(), 0

    def step(self, x, g, bias, dy):
        """Outputs, and gradients for the input, gain and bias."""
        self.batches += 1
        groups = x.view(-1, GROUPS, WIDTH // GROUPS)
        root = (groups.square().mean(-1, keepdim=True) + self.eps).sqrt()
        u = (groups / root).view_as(x)
        own = u.square().mean(0)
        first = self.batches <= self.batch_steps
        psi = ((own if first else self.psi2) + self.eps).sqrt()
        z = u / psi
        if first:
            self.psi2 = ((self.batches - 1) * self.psi2 + own) / self.batches
        self.psi2 = self.a * self.psi2 + (1 - self.a) * own
        dz = g * dy
        du = (dz - self.nu * z) / psi
        gamma, big_lambda = (z * z).mean(0), (dz * z).mean(0)
        self.nu = self.nu * (1 - (1 - self.b) * gamma) + (1 - self.b) * big_lambda
        du_groups, u_groups = du.view_as(groups), u.view_as(groups)
        radial = (du_groups * u_groups).mean(-1, keepdim=True)
        dx = ((du_groups - u_groups * radial) / root).view_as(x)
        return g * z + bias, dx, (dy * z).sum(0), dy.sum(0)


@pytest.mark.parametrize("batch_steps", [0, 1, 3])
def test_power_norm_equals_a_plain_reimplementation_step_by_step(batch_steps):
    torch.manual_seed(0)
    norm = norm_of(batch_steps=batch_steps, decay_forward=0.9, decay_backward=0.7)
    plain = Plain(batch_steps, 0.9, 0.7, 1e-5)
    with torch.no_grad():
        norm.weight.add_(0.3 * randn(WIDTH))
        norm.bias.add_(0.3 * randn(WIDTH))
    for _ in range(6):
        x, dy = (2 * randn(BATCH, TIME, WIDTH) + 1).requires_grad_(), randn(BATCH, TIME, WIDTH)
        y = norm(x)
        got = torch.autograd.grad(y, (x, norm.weight, norm.bias), dy)
        known = plain.step(*(t.detach() for t in (x.flatten(0, 1), norm.weight, norm.bias, dy.flatten(0, 1))))
        for found, expected in zip((y, *got), known, strict=True):
            torch.testing.assert_close(found.flatten(), expected.flatten(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(norm.running_square, plain.psi2, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(norm.running_gradient, plain.nu, rtol=1e-12, atol=1e-12)
        assert norm.steps == plain.batches
    assert norm.running_gradient.abs().min() > 1e-4


def test_of_a_batch_that_repeats_the_gradient_becomes_the_one_through_its_statistics():
    torch.manual_seed(0)
    x, dy = randn(BATCH, TIME, WIDTH).requires_grad_(), randn(BATCH, TIME, WIDTH)
    norm = norm_of(batch_steps=0, eps=0.0)
    for _ in range(400):
        (gradient,) = torch.autograd.grad(norm(x), x, dy)
    groups = x.view(BATCH, TIME, GROUPS, -1)
    u = (groups / groups.square().mean(-1, keepdim=True).sqrt()).view_as(x)
    through = u / u.square().mean((0, 1)).sqrt()
    (exact,) = torch.autograd.grad(through, x, dy)
    torch.testing.assert_close(gradient, exact, rtol=1e-9, atol=1e-12)


def test_evaluation_divides_by_the_running_mean_square_and_leaves_the_state_alone():
    torch.manual_seed(0)
    norm = norm_of(batch_steps=1)
    for _ in range(3):
        torch.autograd.backward(norm(randn(BATCH, TIME, WIDTH).requires_grad_()).square().mean())
    before = {key: value.clone() for key, value in norm.state_dict().items()}
    x = randn(BATCH, TIME, WIDTH).requires_grad_()
    y = norm.eval()(x)
    torch.autograd.backward(y.sum())
    groups = x.view(BATCH, TIME, GROUPS, -1)
    u = (groups / (groups.square().mean(-1, keepdim=True) + 1e-5).sqrt()).view_as(x)
    torch.testing.assert_close(y, u / (before["running_square"] + 1e-5).sqrt())
    assert all(torch.equal(value, before[key]) for key, value in norm.state_dict().items())


def test_a_forward_pass_alone_moves_the_mean_square_and_not_the_gradients_mean():
    norm = norm_of()
    with torch.no_grad():
        norm(randn(BATCH, TIME, WIDTH))
    assert norm.steps == 1 and not torch.equal(norm.running_square, torch.ones(WIDTH).double())
    assert torch.all(norm.running_gradient == 0)


def test_micro_batches_count_as_batches():
    norm = norm_of()
    for micro in randn(BATCH, TIME, WIDTH).chunk(2):
        norm(micro)
    assert norm.steps == 2

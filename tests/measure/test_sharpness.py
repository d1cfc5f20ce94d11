"""Critical sharpness, where it is known in closed form."""

import math

import pytest

from normlab.measure.sharpness import BISECTIONS, LEAST, MOST, critical_multiple, figures


def quadratic(gradient, curvatures, rate):
    """The loss of 1/2 x^T H x, H diagonal, after s times a gradient step at `rate` from x = H^-1 gradient."""

    def loss(multiple):
        loss.calls += 1
        at = [g / h - multiple * rate * g for g, h in zip(gradient, curvatures, strict=True)]
        return sum(h * x * x / 2 for h, x in zip(curvatures, at, strict=True))

    loss.calls = 0
    return loss


@pytest.mark.parametrize("rate", [1e-4, 3e-3, 0.07, 0.5, 1.0, 30.0])
def test_it_is_the_curvature_along_the_step(rate):
    """lambda_c = g^T H g / g^T g: the loss changes by -eta g^T g + eta^2 / 2 g^T H g."""
    gradient, curvatures = (1.0, 2.0, 0.5), (3.0, 1.0, 10.0)
    exact = sum(h * g * g for g, h in zip(gradient, curvatures, strict=True))
    exact /= sum(g * g for g in gradient)
    loss = quadratic(gradient, curvatures, rate)
    multiple, found = critical_multiple(loss)
    measured = figures(multiple, found, rate)
    assert measured["sharpness/found"] == 1
    # The step that is found raises the loss, so it is too long by up to 2.2 %, and the sharpness too low.
    assert (
        exact * 2 ** -(1 / 2**BISECTIONS) <= measured["sharpness/critical"] * (1 + 1e-9) <= exact * (1 + 2e-9)
    )
    assert measured["sharpness/multiple"] == pytest.approx(2 / (measured["sharpness/critical"] * rate))
    assert loss.calls <= 3 + abs(math.log2(2 / exact / rate)) + BISECTIONS


def test_a_step_within_reach_takes_few_passes():
    loss = quadratic((1.0,), (1.0,), 1.3)
    assert critical_multiple(loss)[1] and loss.calls == 3 + BISECTIONS


def test_where_no_step_raises_the_loss_there_is_a_bound_and_it_says_so():
    assert critical_multiple(lambda s: -s) == (MOST, False)
    assert critical_multiple(lambda s: s) == (LEAST, False)
    assert figures(MOST, False, 0.5) == {
        "sharpness/critical": 2 / (MOST * 0.5),
        "sharpness/multiple": MOST,
        "sharpness/found": 0.0,
    }


def test_a_loss_that_is_not_finite_has_risen():
    multiple, found = critical_multiple(lambda s: -s if s < 5 else math.nan)
    assert found and 5 <= multiple <= 5 * 2 ** (1 / 2**BISECTIONS)


def test_of_a_model_that_is_not_finite_nothing_is_known():
    measured = figures(*critical_multiple(lambda s: math.nan), 0.1)
    assert math.isnan(measured["sharpness/critical"]) and math.isnan(measured["sharpness/multiple"])
    assert measured["sharpness/found"] == 0

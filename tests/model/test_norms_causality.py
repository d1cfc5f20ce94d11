"""What each norm lets through from later tokens and from other sequences, to the bit."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from normlab.catalogue.norms import NORMS, leak
from normlab.model.norms import build_norm

TIME, HALF, WIDTH = 16, 8, 8
SHAPES = {"BTD": (4, TIME, WIDTH), "BHTK": (2, 3, TIME, WIDTH)}


def norm_of(name, **changes):
    config = NORMS[name].config
    groups = {"groups": 2} if hasattr(config, "groups") and "groups" not in changes else {}
    return build_norm(dataclasses.replace(config, **groups, **changes), WIDTH, TIME)


def state_after(norm, steps):
    for _ in range(steps):
        norm(torch.randn(4, TIME, WIDTH))
    return {key: value.clone() for key, value in norm.state_dict().items()}


@torch.no_grad()
def change(norm, x, part):
    """How far the outputs outside `part` of x move, at most, when the inputs in it do; the state stays."""
    state = {key: value.clone() for key, value in norm.state_dict().items()}
    changed = x.clone()
    changed[part] = 2 * x[part] + 1
    before = norm(x)
    norm.load_state_dict(state)
    moved = (norm(changed) - before).abs()
    moved[part] = 0
    norm.load_state_dict(state)
    return float(moved.amax())


FUTURE = (..., slice(HALF, None), slice(None))


@pytest.fixture(params=SHAPES.values(), ids=list(SHAPES))
def x(request):
    torch.manual_seed(0)
    return torch.randn(request.param)


@pytest.mark.parametrize("name", NORMS)
def test_misconception_06_later_tokens_reach_earlier_ones_in_training_exactly_where_the_row_says(name, x):
    moved = change(norm_of(name).train(), x, FUTURE)
    assert (moved == 0) == (not NORMS[name].leak)


@pytest.mark.parametrize("name", NORMS)
def test_evaluation_is_causal_unless_a_leaky_norm_has_no_running_statistics(name, x):
    norm = norm_of(name)
    state_after(norm.train(), 2)
    moved = change(norm.eval(), x, FUTURE)
    assert (moved == 0) == (not NORMS[name].leak or NORMS[name].running)


@pytest.mark.parametrize("name", NORMS)
def test_other_sequences_reach_a_token_exactly_where_statistics_run_over_the_batch(name, x):
    moved = change(norm_of(name).train(), x, slice(1, None))
    assert (moved == 0) == (NORMS[name].scope not in ("batch", "tensor"))


@pytest.mark.parametrize("name", NORMS)
def test_other_tokens_reach_a_token_exactly_where_statistics_run_over_more_than_it(name, x):
    norm, earlier, later = norm_of(name).train(), (..., slice(0, HALF), slice(None)), FUTURE
    moved = max(change(norm, x, earlier), change(norm, x, later))
    assert (moved == 0) == (NORMS[name].scope in ("token", "token_group", "none"))


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("batchnorm", 0.2, 2),
        ("powernorm", 0.01, 2),
        ("instancenorm_time", 0.2, 3),
        ("groupnorm_time", 0.2, 3),
        ("layernorm_TC", 0.2, 2),
        ("pb_relax_ln", 1e-8, 1e-4),
    ],
)
def test_leaks_are_as_large_as_the_catalogue_measured(name, least, most):
    torch.manual_seed(0)
    moved = change(norm_of(name).train(), torch.randn(SHAPES["BTD"]), FUTURE)
    assert least < moved < most


def test_every_leaky_norm_is_measured_above():
    marks = test_leaks_are_as_large_as_the_catalogue_measured.pytestmark
    assert {case[0] for case in marks[0].args[1]} == {name for name, row in NORMS.items() if row.leak}


def test_power_norm_leaks_in_its_first_batches_and_not_after_them():
    torch.manual_seed(0)
    norm, x = norm_of("powernorm", batch_steps=3).train(), torch.randn(SHAPES["BTD"])
    leaks = []
    for _ in range(5):
        leaks.append(change(norm, x, FUTURE) > 0)
        norm(x)
    assert leaks == [True, True, True, False, False]


def test_power_norm_without_first_batches_leaks_nothing_and_says_so():
    torch.manual_seed(0)
    config = dataclasses.replace(NORMS["powernorm"].config, batch_steps=0)
    assert leak(config) == "" and leak(NORMS["powernorm"].config) == NORMS["powernorm"].leak
    assert change(build_norm(config, WIDTH).train(), torch.randn(SHAPES["BTD"]), FUTURE) == 0


@pytest.mark.parametrize("name", NORMS)
def test_a_causal_norm_keeps_the_gradient_from_the_future(name):
    torch.manual_seed(0)
    x = torch.randn(SHAPES["BTD"], requires_grad=True)
    weights = torch.randn(4, HALF, WIDTH)
    (gradient,) = torch.autograd.grad((weights * norm_of(name).train()(x)[:, :HALF]).sum(), x)
    through_autograd = NORMS[name].leak and name not in ("pb_relax_ln", "powernorm")  # constants to autograd
    assert bool((gradient[:, HALF:] == 0).all()) == (not through_autograd)


def test_misconception_05_layer_norm_over_time_and_width_sees_the_future_and_is_tied_to_one_length():
    norm, x = norm_of("layernorm_TC"), torch.randn(SHAPES["BTD"])
    assert change(norm, x, FUTURE) > 0.1 and change(norm_of("layernorm"), x, FUTURE) == 0
    assert sum(parameter.numel() for parameter in norm.parameters()) == 2 * TIME * WIDTH
    with pytest.raises(RuntimeError, match="normalized_shape"):
        norm(x[:, :HALF])  # nor can it go on from cached tokens


def test_misconception_18_group_norm_of_one_group_is_layer_norm_on_tokens_only():
    torch.manual_seed(0)
    x = torch.randn(SHAPES["BTD"], dtype=torch.float64)
    layer = norm_of("layernorm").double()(x)
    token, time = (norm_of(name, groups=1).double() for name in ("groupnorm_token", "groupnorm_time"))
    assert torch.equal(token(x), layer) and change(token, x, FUTURE) == 0
    torch.testing.assert_close(time(x), F.layer_norm(x, (TIME, WIDTH)), rtol=1e-12, atol=1e-12)
    assert change(time, x, FUTURE) > 0.1


def test_misconception_18_group_norm_of_a_channel_a_group_leaves_nothing_of_a_token():
    assert torch.all(norm_of("groupnorm_token", groups=WIDTH)(torch.randn(SHAPES["BTD"])) == 0)

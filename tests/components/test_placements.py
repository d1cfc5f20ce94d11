"""Every placement against its equation, written out for a two-block model in the fewest lines of torch."""

import math

import pytest
import torch

from normlab.config import PlacementConfig, ScaleConfig
from normlab.model import GPT
from normlab.tables.placements import PLACEMENTS

VOCAB, DEPTH = 11, 2


def post(x, f, n):
    return n.norm_post(x + f(x))


def pre(x, f, n):
    return x + f(n.norm_in(x))


def sandwich(x, f, n):
    return x + n.norm_out(f(n.norm_in(x)))


def res_post(x, f, n):
    return x + n.norm_out(f(x))


def deepnorm(x, f, n):
    return n.norm_post((2 * DEPTH) ** 0.25 * x + f(x))


def rezero(x, f, n):
    return x + n.branch_scale.weight * f(x)


def none(x, f, n):
    return x + f(x)


peri = sandwich
EQUATIONS = {
    name: globals()[name]
    for name in ("post", "pre", "sandwich", "peri", "res_post", "deepnorm", "rezero", "none")
}
NORMS_PER_MODEL = {
    "post": 2 * DEPTH,
    "pre": 2 * DEPTH + 1,
    "sandwich": 4 * DEPTH + 1,
    "peri": 4 * DEPTH + 2,
    "res_post": 2 * DEPTH + 1,
    "deepnorm": 2 * DEPTH,
    "rezero": 0,
    "none": 0,
}


def model_of(config):
    """A model in float64 whose norms and learned scales are off their start."""
    torch.manual_seed(0)
    model = GPT(config, VOCAB).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "scale" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def test_every_placement_has_its_equation_here():
    assert EQUATIONS.keys() == PLACEMENTS.keys() == NORMS_PER_MODEL.keys()


@pytest.mark.parametrize("name", PLACEMENTS)
def test_placement_equals_its_equation(name, small):
    model, ids = model_of(small(placement=name)), torch.randint(VOCAB, (3, 8))
    x = model.embedding.positions(model.embedding.tokens(ids))
    x = model.embedding.norm(x) if name == "peri" else x
    for block in model.layers:
        for sub in (block.attn, block.ffn):
            x = EQUATIONS[name](x, sub.branch, sub)
    x = model.final_norm(x) if name in ("pre", "sandwich", "peri", "res_post") else x
    torch.testing.assert_close(model(ids), model.head(x))


@pytest.mark.parametrize("name", PLACEMENTS)
def test_placement_has_as_many_norms_as_the_paper(name, small):
    norms = [m for m in GPT(small(placement=name), VOCAB).modules() if isinstance(m, torch.nn.LayerNorm)]
    assert len(norms) == NORMS_PER_MODEL[name]


@pytest.mark.parametrize("name", PLACEMENTS)
def test_gradient_of_a_prediction_with_respect_to_the_future_is_zero(name, small):
    model = model_of(small(placement=name))
    x = model.embedding(torch.randint(VOCAB, (1, 8))).detach().requires_grad_()
    y = x
    for block in model.layers:
        y = block(y)
    model.head(model.final_norm(y))[0, 3].sum().backward()
    assert torch.all(x.grad[0, 4:] == 0) and x.grad[0, :4].abs().sum() > 0


@pytest.mark.parametrize("name", PLACEMENTS)
def test_every_parameter_gets_a_gradient(name, small):
    model = model_of(small(placement=name))
    model(torch.randint(VOCAB, (2, 8))).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize(
    ("depth", "alpha", "beta"),
    [(2, 1.4142, 0.5), (12, 2.2134, 0.3195), (24, 2.6321, 0.2686), (48, 3.1302, 0.2259)],
)
def test_deepnorm_constants_are_the_published_ones(depth, alpha, beta, small):
    model = GPT(small({"depth": depth}, placement="deepnorm"), VOCAB)
    plain = GPT(small({"depth": depth}, placement="post"), VOCAB)
    assert math.isclose(model.layers[0].attn.skip_scale.factor, alpha, abs_tol=5e-5)
    for path, scaled in {"attn.branch.out": 1, "ffn.branch.w_in": 1, "ffn.branch.w_out": 1}.items():
        ratio = model.layers[1].get_submodule(path).weight / plain.layers[1].get_submodule(path).weight
        torch.testing.assert_close(ratio, torch.full_like(ratio, beta * scaled), rtol=1e-3, atol=0)
    q, k, v = (model.layers[0].attn.branch.qkv.weight / plain.layers[0].attn.branch.qkv.weight).chunk(3)
    assert torch.allclose(q, torch.ones_like(q)) and torch.allclose(k, torch.ones_like(k))
    torch.testing.assert_close(v, torch.full_like(v, beta), rtol=1e-3, atol=0)


def test_deepnorm_with_constants_of_one_is_post(small, config_of):
    ids = torch.randint(VOCAB, (2, 8))
    ones = {"placement.skip_scale.value": "1", "init.gains": "none"}
    assert torch.equal(
        GPT(small(ones, placement="deepnorm"), VOCAB)(ids), GPT(small(placement="post"), VOCAB)(ids)
    )


def test_rezero_at_the_start_is_the_head_on_the_embedding_and_only_scales_learn(small):
    model, ids = GPT(small(placement="rezero"), VOCAB), torch.randint(VOCAB, (2, 8))
    logits = model(ids)
    assert torch.equal(logits, model.head(model.embedding(ids)))
    logits.square().mean().backward()
    for name, parameter in model.layers.named_parameters():
        assert (parameter.grad.abs().sum() > 0) == ("scale" in name), name
    assert sum("scale" in name for name, _ in model.named_parameters()) == DEPTH  # one scalar a block, shared


def test_normed_skip_and_vector_scales_and_input_scales(small):
    placement = PlacementConfig(
        name="own",
        norm_in=True,
        skip="norm_in",
        in_scale=ScaleConfig(value="layer**-0.5"),
        skip_scale=ScaleConfig(value="0.5", learn="vector"),
        branch_scale=ScaleConfig(value="sublayer", learn="scalar"),
    )
    from dataclasses import replace

    model = model_of(replace(small(), placement=placement))
    ids = torch.randint(VOCAB, (3, 8))
    x = model.embedding(ids)
    for layer, block in enumerate(model.layers, 1):
        for sub in (block.attn, block.ffn):
            u = sub.norm_in(x)
            x = sub.skip_scale.weight * u + sub.branch_scale.weight * sub.branch(layer**-0.5 * u)
    torch.testing.assert_close(model(ids), model.head(x))
    assert model.layers[0].attn.skip_scale.weight.shape == (16,)

"""Leaving out and swapping blocks, against models that are built or written out without them."""

import copy
import math

import pytest
import torch
from torch import nn

from normlab.catalogue.placements import PLACEMENTS
from normlab.measure.ablation import changes, variants
from normlab.model.gpt import GPT

DEPTH, VOCAB = 3, 11


@pytest.fixture
def model_of(small):
    """A model with every learned number moved off its start, and a batch."""

    def build(placement):
        changes = {"depth": DEPTH, "train.precision": "fp64", "train.steps": 6, "model.bias": True}
        model = GPT(small(changes, placement=placement), VOCAB).double().eval()
        model.set_step(5)  # some placements begin with branches of 0
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
        return model, torch.randint(VOCAB, (2, 8))

    return build


def logits(model, ids):
    """Of each variant, by its name."""
    layers = list(model.layers)
    with torch.no_grad():
        found = variants(model.begin(ids), layers, [layer.without for layer in layers])
        return {name: model.finish(*streams) for name, streams in found}


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_block_left_out_is_one_whose_branches_are_zero(placement, model_of):
    model, ids = model_of(placement)
    found = logits(model, ids)
    torch.testing.assert_close(found[""], model(ids))
    for index, layer in enumerate(model.layers):
        hooks = [
            part.dropout.register_forward_hook(lambda module, inputs, h: h * 0)
            for part in (layer.attn, layer.ffn)
        ]
        torch.testing.assert_close(found[f"skip/layer_{index:02d}"], model(ids))
        for hook in hooks:
            hook.remove()
    assert not torch.allclose(found["skip/layer_01"], found[""], rtol=1e-3)


@pytest.mark.parametrize("placement", ["pre", "lns", "parallel_shared", "sandwich", "rezero"])
def test_what_is_left_out_is_not_there(placement, model_of):
    """Where nothing acts on the skip path, the model is that of the other blocks."""
    model, ids = model_of(placement)
    found = logits(model, ids)
    for index in range(DEPTH):
        shorter = copy.deepcopy(model)
        del shorter.layers[index]
        torch.testing.assert_close(found[f"skip/layer_{index:02d}"], shorter(ids))


@pytest.mark.parametrize(("placement", "factor"), [("post", 1.0), ("deepnorm", (2 * DEPTH) ** 0.25)])
def test_a_post_norm_still_acts_where_a_block_is_left_out(placement, factor, model_of):
    """x' = N(a * x) twice, written out."""
    model, ids = model_of(placement)
    with torch.no_grad():
        x = model.embedding(ids)
        for index, layer in enumerate(model.layers):
            if index == 1:
                x = layer.ffn.norm_post(factor * layer.attn.norm_post(factor * x))
            else:
                x, _ = layer(x)
        torch.testing.assert_close(logits(model, ids)["skip/layer_01"], model.finish(x, None))


def test_a_block_left_out_of_two_streams_gives_neither_anything(model_of):
    model, ids = model_of("residual_dual")
    with torch.no_grad():
        x, y = model.layers[0](*model.begin(ids))
        layer = model.layers[1]
        x = layer.ffn.norm_post(layer.attn.norm_post(x))
        torch.testing.assert_close(logits(model, ids)["skip/layer_01"], model.finish(*model.layers[2](x, y)))


@pytest.mark.parametrize("placement", ["pre", "post", "deepnorm", "residual_dual", "b2t", "ngpt"])
def test_swapped_blocks_are_permuted_weights(placement, model_of):
    model, ids = model_of(placement)
    found = logits(model, ids)
    for index in range(DEPTH - 1):
        other = copy.deepcopy(model)
        pair = (other.layers[index], other.layers[index + 1])
        states = [copy.deepcopy(layer.state_dict()) for layer in pair]
        for layer, state in zip(pair, reversed(states), strict=True):
            layer.load_state_dict(state)
        torch.testing.assert_close(found[f"swap/layer_{index:02d}"], other(ids))
        assert not torch.allclose(found[f"swap/layer_{index:02d}"], found[""], rtol=1e-3)


def test_a_swapped_block_takes_its_fixed_scales_along(model_of):
    """Those of lns follow the layer, and the block was trained with its own."""
    model, ids = model_of("lns")
    other = copy.deepcopy(model)
    other.layers = nn.ModuleList([model.layers[1], model.layers[0], model.layers[2]])
    torch.testing.assert_close(logits(model, ids)["swap/layer_00"], other(ids))


def test_each_block_runs_no_more_often_than_it_must():
    runs = []

    def layer(index):
        return lambda x, y: runs.append(index) or (x + 1, y)

    layers = [layer(index) for index in range(4)]
    found = dict(variants((torch.zeros(()), None), layers, [lambda x, y: (x, y)] * 4))
    assert {name: x.item() for name, (x, _) in found.items()} == {"": 4} | {
        f"skip/layer_0{index}": 3 for index in range(4)
    } | {f"swap/layer_0{index}": 4 for index in range(3)}
    assert len(runs) == 4 + (3 + 2 + 1) + (4 + 3 + 2)


def test_changes_are_differences_and_the_centre_is_their_mean_depth():
    losses = {
        "": 2.0,
        "skip/layer_00": 2.5,
        "skip/layer_01": 1.9,
        "skip/layer_02": 2.1,
        "swap/layer_00": 2.25,
    }
    found = changes(losses)
    assert found["ablation/skip/layer_00"] == 0.5 and found["ablation/swap/layer_00"] == 0.25
    assert found["ablation/skip/layer_01"] == pytest.approx(-0.1)
    assert found["ablation/centre"] == pytest.approx((0.5 * 1 / 6 + 0.1 * 5 / 6) / 0.6)


@pytest.mark.parametrize("rises", [[0.0, -1.0], [math.nan, 1.0]])
def test_there_is_no_centre_where_no_block_matters_or_a_loss_is_not_known(rises):
    losses = {f"skip/layer_0{index}": 1.0 + rise for index, rise in enumerate(rises)}
    assert math.isnan(changes({"": 1.0} | losses)["ablation/centre"])


def test_blocks_that_matter_alike_have_their_centre_in_the_middle():
    losses = {f"skip/layer_{index:02d}": 2.0 for index in range(7)}
    assert changes({"": 1.0} | losses)["ablation/centre"] == pytest.approx(0.5)

import math

import pytest
import torch

from normlab.model import GPT

VOCAB = 256


def weights(config):
    return {name: parameter.detach() for name, parameter in GPT(config, VOCAB).named_parameters()}


def test_weights_depend_on_seed_and_name_alone(config_of):
    """Another norm, placement, activation and depth leave every matrix in common bit-identical."""
    one = weights(config_of({"depth": 3}))
    other = weights(config_of({"depth": 5}, norm="rmsnorm", placement="sandwich", activation="relu"))
    shared = [name for name in one if name in other and "norm" not in name]
    assert len(shared) == 3 * 4 + 3
    assert all(torch.equal(one[name], other[name]) for name in shared)
    again = weights(config_of({"depth": 3, "seed": 1}))
    assert not any(torch.equal(one[name], again[name]) for name in shared)
    assert len({float(one[name].flatten()[0]) for name in shared}) == len(shared)


@pytest.mark.parametrize(
    ("init", "changes", "inside", "square", "edge"),
    [
        ("fan_in", {}, 0.7071 / math.sqrt(256), 0.7071 / 8, 64**-0.5),
        ("xavier", {}, math.sqrt(2 / 320), math.sqrt(2 / 128), 64**-0.5),
        ("normal", {}, 0.02, 0.02, 0.02),
        ("normal", {"init.std": 0.1, "init.embedding_std": 1.0, "init.head_std": 1.0}, 0.1, 0.1, 1.0),
    ],
)
def test_standard_deviations(init, changes, inside, square, edge, config_of):
    drawn = weights(config_of({"depth": 1} | changes, init=init))

    def close(name, std):
        assert drawn[name].std().item() == pytest.approx(std, rel=0.04), name

    close("layers.0.ffn.branch.w_out.weight", inside)
    for rows in drawn["layers.0.attn.branch.qkv.weight"].chunk(3):
        assert rows.std().item() == pytest.approx(square, rel=0.04)  # q, k and v each by itself
    for name in ("embedding.tokens.weight", "embedding.positions.weight", "head.weight"):
        close(name, edge)


def test_gpt2_gains_shrink_the_output_projections(config_of):
    plain = weights(config_of({"depth": 8}))
    scaled = weights(config_of({"depth": 8, "init.gains": "gpt2"}))
    for name, weight in plain.items():
        factor = 1 / 4 if name.endswith(("attn.branch.out.weight", "w_out.weight")) else 1.0
        torch.testing.assert_close(scaled[name], weight * factor)


def test_tied_head_is_the_embedding(config_of):
    model = GPT(config_of({"depth": 1, "model.tie": True}), VOCAB)
    assert model.head.weight is model.embedding.tokens.weight
    assert "head.weight" not in dict(model.named_parameters())


def test_linear_biases_start_at_zero_and_are_off_by_default(config_of):
    assert not any(name.endswith("w_in.bias") for name in weights(config_of({"depth": 1})))
    drawn = weights(config_of({"depth": 1, "model.bias": True}))
    biases = [value for name, value in drawn.items() if name.endswith(("qkv.bias", "out.bias", "w_in.bias"))]
    assert len(biases) == 4 and all(torch.all(bias == 0) for bias in biases)

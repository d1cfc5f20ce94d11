import math

import pytest
import torch

from normlab.components.attention import Attention
from normlab.components.positions import Rotary, sinusoids
from normlab.config import ModelConfig
from normlab.model import GPT

CONFIG = ModelConfig(width=16, heads=2, context=8)


def test_attention_equals_the_formula():
    torch.manual_seed(0)
    attention, x = Attention(CONFIG).double(), torch.randn(3, 8, 16, dtype=torch.float64)
    q, k, v = (part.view(3, 8, 2, 8).transpose(1, 2) for part in attention.qkv(x).chunk(3, dim=-1))
    scores = q @ k.transpose(-1, -2) / math.sqrt(8)
    scores = scores.masked_fill(torch.ones(8, 8).triu(1).bool(), -math.inf)
    expected = (scores.softmax(-1) @ v).transpose(1, 2).reshape(3, 8, 16)
    torch.testing.assert_close(attention(x), attention.out(expected))


def test_rotary_products_depend_on_the_distance_alone_and_keep_length():
    turn, q, k = Rotary(32, 8, 10000.0).double(), torch.randn(8).double(), torch.randn(8).double()
    qs, ks = (turn(vector.expand(1, 1, 32, 8))[0, 0] for vector in (q, k))
    products = qs @ ks.T
    for distance in range(5):
        diagonal = products.diagonal(-distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(qs.norm(dim=-1), q.norm().expand(32), rtol=1e-5, atol=1e-6)
    assert torch.equal(qs[0], q)


def test_sinusoids_are_the_published_ones():
    table = sinusoids(10, 6)
    assert table[7, 1].item() == pytest.approx(math.sin(7 / 10000 ** (2 / 6)))
    assert table[7, 3 + 2].item() == pytest.approx(math.cos(7 / 10000 ** (4 / 6)))


@pytest.mark.parametrize("positions", ["learned", "rope", "sinusoidal", "none"])
def test_order_matters_just_where_there_are_positions(positions, small):
    model = GPT(small({"model.positions": positions, "depth": 1}), 11).double()
    ids = torch.tensor([[1, 2, 3, 4], [2, 1, 3, 4]])
    last = model(ids)[:, -1]
    assert torch.allclose(last[0], last[1]) == (positions == "none")

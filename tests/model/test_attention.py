import math

import pytest
import torch
import torch.nn.functional as F

from normlab.config import ModelConfig, SublayerConfig
from normlab.errors import ConfigError
from normlab.model.attention import Attention
from normlab.model.gpt import GPT
from normlab.model.positions import Rotary, alibi, alibi_slopes, sinusoids

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


@pytest.mark.parametrize("positions", ["learned", "rope", "sinusoidal", "alibi", "none"])
def test_order_matters_just_where_there_are_positions(positions, small):
    model = GPT(small({"model.positions": positions, "depth": 1}), 11).double()
    ids = torch.tensor([[1, 2, 3, 4], [2, 1, 3, 4]])
    last = model(ids)[:, -1]
    assert torch.allclose(last[0], last[1]) == (positions == "none")


def written_out(q, k, v, cap=0, slopes=None):
    """Attention of (B, H, T, K) over earlier positions."""
    time = q.shape[2]
    logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    logits = cap * torch.tanh(logits / cap) if cap else logits
    if slopes is not None:
        for t in range(time):
            for s in range(t):
                logits[..., t, s] -= torch.tensor(slopes, dtype=logits.dtype) * (t - s)
    return logits.masked_fill(torch.ones(time, time).triu(1).bool(), -math.inf).softmax(-1) @ v


@pytest.mark.parametrize("cap", [0, 0.3])
@pytest.mark.parametrize("positions", ["none", "alibi"])
@pytest.mark.parametrize("kv_heads", [0, 1, 2, 4])
def test_grouped_heads_caps_and_alibi_equal_the_formula(cap, positions, kv_heads):
    torch.manual_seed(0)
    config = ModelConfig(width=32, heads=4, kv_heads=kv_heads, context=9, positions=positions)
    attention = Attention(config, SublayerConfig(softcap=cap)).double()
    x, groups = torch.randn(3, 7, 32, dtype=torch.float64), kv_heads or 4
    assert attention.qkv.weight.shape == (32 + 2 * 8 * groups, 32)
    parts = attention.qkv(x).split([32, 8 * groups, 8 * groups], -1)
    q, k, v = (part.view(3, 7, -1, 8).transpose(1, 2) for part in parts)
    k, v = (torch.stack([part[:, head * groups // 4] for head in range(4)], 1) for part in (k, v))
    expected = written_out(q, k, v, cap, [0.25, 0.0625, 2**-6, 2**-8] if positions == "alibi" else None)
    torch.testing.assert_close(attention(x), attention.out(expected.transpose(1, 2).reshape(3, 7, 32)))


@pytest.mark.parametrize("cap", [0, 0.3])
@pytest.mark.parametrize("positions", ["none", "alibi", "rope"])
def test_attention_without_the_causal_mask_is_torch_s_over_all_tokens(cap, positions):
    """ALiBi's bias falls with the distance on either side."""
    torch.manual_seed(0)
    config = ModelConfig(width=32, heads=4, context=9, positions=positions, causal=False)
    attention = Attention(config, SublayerConfig(softcap=cap)).double()
    x = torch.randn(3, 7, 32, dtype=torch.float64)
    q, k, v = (part.view(3, 7, 4, 8).transpose(1, 2) for part in attention.qkv(x).chunk(3, -1))
    q, k = attention.turn(q), attention.turn(k)
    place = torch.arange(7.0, dtype=torch.float64)
    slopes = torch.tensor([0.25, 0.0625, 2**-6, 2**-8], dtype=torch.float64)[:, None, None]
    bias = -slopes * (place[:, None] - place).abs() if positions == "alibi" else torch.zeros(7, 7).double()
    if cap:
        logits = cap * torch.tanh(q @ k.mT / math.sqrt(8) / cap) + bias
        mixed = logits.softmax(-1) @ v
    else:
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    torch.testing.assert_close(attention(x), attention.out(mixed.transpose(1, 2).reshape(3, 7, 32)))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("softcap", [0.0, 5.0])
@pytest.mark.parametrize("positions", ["learned", "rope", "sinusoidal", "alibi", "none"])
def test_a_prediction_depends_on_later_tokens_just_where_attention_is_not_causal(
    positions, softcap, causal, small
):
    changes = {"model.positions": positions, "placement.softcap": softcap, "model.causal": causal}
    model = GPT(small({"data.objective": "mlm", **changes}), 11).double()
    ids = torch.tensor([[1, 2, 3, 4, 5, 6]])
    changed = ids.clone()
    changed[0, 4] = 9
    before, after = model(ids)[0], model(changed)[0]
    assert torch.equal(before[:4], after[:4]) == causal
    assert not torch.equal(before[4:], after[4:])


def test_without_positions_and_mask_order_changes_nothing(small):
    changes = {"model.positions": "none", "model.causal": False, "data.objective": "mlm"}
    model = GPT(small(changes), 11).double()
    ids = torch.tensor([[1, 2, 3, 4, 5, 6], [3, 1, 2, 6, 5, 4]])
    one, other = model(ids)
    torch.testing.assert_close(one, other[[1, 2, 0, 5, 4, 3]])


def test_alibi_slopes_are_the_published_ones():
    assert alibi_slopes(8) == [2.0**-h for h in range(1, 9)]
    assert alibi_slopes(1) == [2.0**-8]
    assert alibi_slopes(12) == [2.0**-h for h in range(1, 9)] + [2 ** -(h + 0.5) for h in range(4)]
    assert torch.equal(alibi(1, 2), torch.tensor([[[0.0, -math.inf], [-(2.0**-8), 0.0]]]))


def test_capped_attention_drops_weights_in_training_alone():
    config = ModelConfig(width=16, heads=2, context=8, dropout=0.5)
    attention, x = Attention(config, SublayerConfig(softcap=5.0)), torch.randn(2, 8, 16)
    assert not torch.equal(attention(x), attention(x))
    attention.eval()
    assert torch.equal(attention(x), attention(x))


def test_normed_queries_and_keys_bound_the_logits(small):
    """With RMS norms of gains g, |q . k| / sqrt(K) <= max g_q * max g_k * sqrt(K)."""
    model = GPT(small(placement="qk_norm", norm="rmsnorm"), 11)
    attention = model.layers[0].attn.branch
    with torch.no_grad():
        attention.q_norm.norm.weight.copy_(torch.rand(8))
        attention.k_norm.norm.weight.copy_(2 * torch.rand(8))
    q, k, _ = attention.qkv(1e4 * torch.randn(2, 8, 16)).chunk(3, -1)
    q, k = (x.view(2, 8, 2, 8).transpose(1, 2) for x in (attention.q_norm(q), attention.k_norm(k)))
    bound = attention.q_norm.norm.weight.max() * attention.k_norm.norm.weight.max() * 8**0.5
    logits = q @ k.transpose(-1, -2) / 8**0.5
    assert bound * 0.2 < logits.abs().max() <= bound


@pytest.mark.parametrize("kv_heads", [0, 1, 2])
@pytest.mark.parametrize("positions", ["none", "rope"])
def test_cosine_attention_is_the_formula_with_a_temperature_for_each_head(kv_heads, positions):
    """Whatever the lengths of queries and keys, which a rotation leaves alone; tau is cut at 100."""
    torch.manual_seed(0)
    config = ModelConfig(width=32, heads=4, kv_heads=kv_heads, context=9, positions=positions)
    attention = Attention(config, SublayerConfig(cosine=True)).double()
    torch.testing.assert_close(
        attention.qk_scale.weight.exp(), torch.full((4,), 10.0).double(), rtol=1e-6, atol=0
    )
    taus = torch.tensor([2.0, 10.0, 99.0, 250.0], dtype=torch.float64)
    with torch.no_grad():
        attention.qk_scale.weight.copy_(taus.log())
    x, groups = (
        torch.randn(3, 7, 32, dtype=torch.float64) * 10.0 ** torch.arange(-3, 4)[:, None],
        kv_heads or 4,
    )
    parts = attention.qkv(x).split([32, 8 * groups, 8 * groups], -1)
    q, k, v = (part.view(3, 7, -1, 8).transpose(1, 2) for part in parts)
    k, v = (torch.stack([part[:, head * groups // 4] for head in range(4)], 1) for part in (k, v))
    q, k = (attention.turn(part / part.norm(dim=-1, keepdim=True)) for part in (q, k))
    expected = written_out(q * math.sqrt(8) * taus.clamp(max=100)[:, None, None], k, v)
    out = attention(x)
    torch.testing.assert_close(out, attention.out(expected.transpose(1, 2).reshape(3, 7, 32)))
    out.square().sum().backward()
    assert [gradient != 0 for gradient in attention.qk_scale.weight.grad] == [True, True, True, False]


def test_cosine_attention_equals_transformers_swin_v2():
    """Its window of 8 pixels as 8 tokens, its bias of positions constant, and masked."""
    from transformers.models.swinv2 import modeling_swinv2 as swin

    torch.manual_seed(0)
    config = swin.Swinv2Config(qkv_bias=False, attention_probs_dropout_prob=0.0)
    theirs = swin.Swinv2SelfAttention(config, dim=16, num_heads=2, window_size=(2, 4)).double()
    ours = Attention(CONFIG, SublayerConfig(cosine=True)).double()
    with torch.no_grad():
        theirs.continuous_position_bias_mlp[2].weight.zero_()
        theirs.logit_scale.copy_(torch.tensor([1.3, 5.0]).view(2, 1, 1))
        ours.qk_scale.weight.copy_(theirs.logit_scale.flatten())
        ours.qkv.weight.copy_(torch.cat([theirs.query.weight, theirs.key.weight, theirs.value.weight]))
        ours.out.weight.copy_(torch.eye(16))
    mask = torch.zeros(1, 8, 8).masked_fill(torch.ones(8, 8).triu(1).bool(), -math.inf)
    x = torch.randn(3, 8, 16, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x, mask)[0])


def test_cosine_attention_in_bf16_norms_in_float32(small):
    """Twice as long queries and keys give the same logits, to the bit: only their directions are rounded."""
    attention, x = Attention(CONFIG, SublayerConfig(cosine=True)), torch.randn(2, 8, 16)
    with torch.autocast("cpu", torch.bfloat16):
        q, k, _ = (attention._split(part) for part in attention.qkv(x).chunk(3, -1))
        assert q.dtype == torch.bfloat16
        once, twice = attention.qk_scale(q, k), attention.qk_scale(2 * q, 4 * k)
    assert all(torch.equal(a, b) and a.dtype == torch.bfloat16 for a, b in zip(once, twice, strict=True))
    lengths = once[0].double().norm(dim=-1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, 10 * math.sqrt(8)), rtol=4e-3, atol=0)


def test_partial_rotary_turns_the_first_part_of_a_head_and_leaves_the_rest():
    x = torch.randn(1, 2, 8, 16)
    turned = Rotary(8, 4, 10000.0)(x)
    assert torch.equal(turned[..., 4:], x[..., 4:])
    assert torch.equal(turned[..., :4], Rotary(8, 4, 10000.0)(x[..., :4].contiguous()))
    assert not torch.equal(turned[..., 1:, :4], x[..., 1:, :4])
    half = ModelConfig(width=16, heads=2, positions="rope", rope_fraction=0.5)
    assert Attention(half).turn.cos.shape == (64, 2)


def test_embedding_and_logits_are_scaled_and_capped(small):
    settings = {
        "model.embedding_scale": "sqrt(width)",
        "model.logit_scale": "1/width",
        "model.logit_softcap": 0.1,
    }
    plain, scaled = GPT(small(), 11), GPT(small({**settings, "model.positions": "none"}), 11)
    ids = torch.randint(11, (2, 8))
    x = 4 * plain.embedding.tokens(ids)
    assert torch.equal(scaled.embedding(ids), x)
    for block in plain.layers:
        x, _ = block(x)
    logits = plain.head(plain.final_norm(x)) / 16
    torch.testing.assert_close(scaled(ids), 0.1 * torch.tanh(logits / 0.1))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kv_heads": 3}, "model.kv_heads: 3 does not divide model.heads=4"),
        ({"positions": "rope", "rope_fraction": 0.01}, "model.positions: rope turns pairs"),
        ({"rope_fraction": 1.5}, "model.rope_fraction"),
        ({"logit_scale": "widht"}, "model.logit_scale: .*Did you mean 'width'"),
        ({"logit_softcap": -1.0}, "model.logit_softcap"),
    ],
)
def test_wrong_settings_are_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        ModelConfig(**settings)


@pytest.mark.parametrize("positions", ["rope", "alibi", "sinusoidal"])
def test_tables_of_a_float64_model_are_rounded_to_float64(config_of, positions):
    changes = {"depth": 1, "model.width": 48, "model.heads": 12, "model.positions": positions}
    model = GPT(config_of(changes), 5).to(torch.float64)
    buffers = dict(model.named_buffers())
    assert buffers
    model.to(torch.float32).to(torch.float64)  # and so they are after a detour
    for name, table in model.named_buffers():
        assert torch.equal(table, buffers[name])
        assert not torch.equal(table, table.float().double())


def test_attention_s_biases_are_their_own(config_of):
    names = {"model.bias": True, "model.attention_bias": False, "model.head_bias": True, "depth": 1}
    linear = {
        name
        for name, module in GPT(config_of(names), 5).named_modules()
        if isinstance(module, torch.nn.Linear) and module.bias is not None
    }
    assert linear == {"layers.0.ffn.branch.w_in", "layers.0.ffn.branch.w_out", "head"}

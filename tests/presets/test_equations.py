"""Presets that no library has as a decoder, against their papers' equations written out in plain torch.

Each takes the model's own weights by name, `w`, and tokens (B, T), and gives logits (B, T, V). Constants come
from the papers, not from the preset. Compared in float64: logits and every parameter's gradient.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from normlab.compose.from_words import compose
from normlab.model.gpt import GPT

VOCAB, DEPTH, WIDTH, HEADS, BATCH, TIME = 61, 3, 32, 4, 2, 12
HEAD = WIDTH // HEADS
FUTURE = torch.ones(TIME, TIME, dtype=torch.bool).triu(1)


def linear(x, w, name):
    y = x @ w[f"{name}.weight"].T
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def layer_norm(x, w, name, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    y = w[f"{name}.weight"] * centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def rms_norm(x, w, name, eps=1e-5):
    return w[f"{name}.weight"] * x / (x.square().mean(-1, keepdim=True) + eps).sqrt()


def unit(x):
    return x / x.square().sum(-1, keepdim=True).sqrt()


def split(x, heads=HEADS):
    """(B, T, H*K) -> (B, H, T, K)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def qkv(x, w, name, kv_heads=HEADS):
    """Queries (B, H, T, K), keys and values repeated for the queries that share them."""
    q, k, v = linear(x, w, f"{name}.qkv").split([WIDTH, kv_heads * HEAD, kv_heads * HEAD], -1)
    k, v = (split(part, kv_heads).repeat_interleave(HEADS // kv_heads, 1) for part in (k, v))
    return split(q), k, v


def mix(logits, v, hidden=FUTURE):
    """Values (B, H, T, K) by the softmax of `logits` over what has been, heads side by side."""
    return (logits.masked_fill(hidden, -math.inf).softmax(-1) @ v).transpose(1, 2).flatten(2)


def attend(q, k, v, hidden=FUTURE):
    return mix(q @ k.mT / math.sqrt(HEAD), v, hidden)


def rope(x, base=10000):
    """Channel pairs (i, i + K/2) as complex numbers, turned by t * base^(-2i/K)."""
    first, second = x.chunk(2, -1)
    turns = torch.arange(TIME)[:, None] * base ** (-2 * torch.arange(HEAD // 2, dtype=x.dtype) / HEAD)
    turned = torch.complex(first, second) * torch.polar(torch.ones_like(turns), turns)
    return torch.cat([turned.real, turned.imag], -1)


def sinusoids():
    table = torch.zeros(TIME, WIDTH, dtype=torch.float64)
    for t in range(TIME):
        for i in range(WIDTH // 2):
            angle = t / 10000 ** (2 * i / WIDTH)
            table[t, i], table[t, WIDTH // 2 + i] = math.sin(angle), math.cos(angle)
    return table


def blocks():
    return [(f"layers.{layer}.attn", f"layers.{layer}.ffn") for layer in range(DEPTH)]


def relu_ffn(x, w, name):
    return linear(F.relu(linear(x, w, f"{name}.w_in")), w, f"{name}.w_out")


def gated_ffn(x, w, name, act):
    return linear(act(linear(x, w, f"{name}.w_gate")) * linear(x, w, f"{name}.w_in"), w, f"{name}.w_out")


def gelu_tanh(x):
    return x / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu(x):
    return x * torch.erfc(-x / math.sqrt(2)) / 2


def silu(x):
    return x * torch.sigmoid(x)


def transformer(w, ids, hidden=FUTURE):
    """1706.03762, sections 3.1 to 3.5: LayerNorm(x + Sublayer(x)), embeddings times sqrt(d) and shared."""
    embedding = w["embedding.tokens.weight"]
    x = embedding[ids] * math.sqrt(WIDTH) + sinusoids()
    for attn, ffn in blocks():
        a = attend(*qkv(x, w, f"{attn}.branch"), hidden)
        x = layer_norm(x + linear(a, w, f"{attn}.branch.out"), w, f"{attn}.norm_post", 1e-6)
        x = layer_norm(x + relu_ffn(x, w, f"{ffn}.branch"), w, f"{ffn}.norm_post", 1e-6)
    assert "layers.0.ffn.branch.w_in.bias" in w and "layers.0.attn.branch.qkv.bias" not in w
    return x @ embedding.T


def transformer_encoder(w, ids):
    """The same, section 3.1: in the encoder each position can attend to all positions."""
    return transformer(w, ids, torch.zeros_like(FUTURE))


def deepnet(w, ids):
    """2203.00555, section 2: LayerNorm(alpha x + Sublayer(x)), alpha = (2M)^(1/4), M layers of decoder."""
    embedding, alpha = w["embedding.tokens.weight"], (2 * DEPTH) ** 0.25
    x = embedding[ids] * math.sqrt(WIDTH) + sinusoids()
    for attn, ffn in blocks():
        a = attend(*qkv(x, w, f"{attn}.branch"))
        x = layer_norm(alpha * x + linear(a, w, f"{attn}.branch.out"), w, f"{attn}.norm_post")
        x = layer_norm(alpha * x + relu_ffn(x, w, f"{ffn}.branch"), w, f"{ffn}.norm_post")
    assert "layers.0.attn.branch.qkv.bias" in w
    return x @ embedding.T


def palm(w, ids):
    """2204.02311, section 2: y = x + MLP(LN(x)) + Attention(LN(x)), logits over sqrt(d), no biases."""
    x = w["embedding.tokens.weight"][ids]
    for attn, ffn in blocks():
        y = layer_norm(x, w, f"{attn}.norm_in")
        q, k, v = qkv(y, w, f"{attn}.branch", kv_heads=1)
        a = linear(attend(rope(q), rope(k), v), w, f"{attn}.branch.out")
        x = x + gated_ffn(y, w, f"{ffn}.branch", silu) + a
    assert not [name for name in w if "bias" in name]
    assert w["layers.0.ffn.branch.w_in.weight"].shape == (4 * WIDTH, WIDTH)
    return layer_norm(x, w, "final_norm") @ w["embedding.tokens.weight"].T / math.sqrt(WIDTH)


def glm130b(w, ids):
    """2210.02414, section 2.2: DeepNorm(x) = LayerNorm(alpha x + Network(x)), alpha = (2N)^(1/2).

    The norm of one sub-layer's sum is the next one's norm_in; embeddings are normed too, as in its code.
    """
    embedding, alpha = w["embedding.tokens.weight"], math.sqrt(2 * DEPTH)
    places = [place for block in blocks() for place in block]
    x = layer_norm(embedding[ids], w, "layers.0.attn.norm_in")
    for place, following in zip(places, [*[f"{p}.norm_in" for p in places[1:]], "final_norm"], strict=True):
        if place.endswith("attn"):
            q, k, v = qkv(x, w, f"{place}.branch")
            out = linear(attend(rope(q), rope(k), v), w, f"{place}.branch.out")
        else:
            out = gated_ffn(x, w, f"{place}.branch", gelu)
        x = layer_norm(alpha * x + out, w, following)
    assert "layers.0.ffn.branch.w_gate.bias" in w and "layers.0.attn.branch.qkv.bias" in w
    return x @ embedding.T


def cogview(w, ids):
    """2105.13290, section 2.4: x + LN(f(LN(x))), LN of x / (max|x| / 8) with the maximum held constant."""

    def relaxed(x, name):
        return layer_norm(x / (x.detach().abs().max() / 8), w, name)

    x = w["embedding.tokens.weight"][ids] + w["embedding.positions.weight"][:TIME]
    for attn, ffn in blocks():
        a = attend(*qkv(relaxed(x, f"{attn}.norm_in"), w, f"{attn}.branch"))
        x = x + relaxed(linear(a, w, f"{attn}.branch.out"), f"{attn}.norm_out")
        h = gelu_tanh(linear(relaxed(x, f"{ffn}.norm_in"), w, f"{ffn}.branch.w_in"))
        x = x + relaxed(linear(h, w, f"{ffn}.branch.w_out"), f"{ffn}.norm_out")
    assert "layers.0.attn.branch.qkv.bias" in w
    return relaxed(x, "final_norm") @ w["embedding.tokens.weight"].T


def grok1(w, ids):
    """The released code: four RMS norms a block, logits 30 tanh(./30), embeddings sqrt(d), output 0.577."""
    embedding = w["embedding.tokens.weight"]
    x = embedding[ids] * math.sqrt(WIDTH)
    for attn, ffn in blocks():
        q, k, v = qkv(rms_norm(x, w, f"{attn}.norm_in"), w, f"{attn}.branch", kv_heads=2)
        a = mix(30 * torch.tanh(rope(q) @ rope(k).mT / math.sqrt(HEAD) / 30), v)
        x = x + rms_norm(linear(a, w, f"{attn}.branch.out"), w, f"{attn}.norm_out")
        h = gated_ffn(rms_norm(x, w, f"{ffn}.norm_in"), w, f"{ffn}.branch", gelu_tanh)
        x = x + rms_norm(h, w, f"{ffn}.norm_out")
    assert not [name for name in w if "bias" in name]
    assert w["layers.0.ffn.branch.w_in.weight"].shape == (8 * WIDTH * 2 // 3 + 6, WIDTH)  # up to one of 8
    return rms_norm(x, w, "final_norm") @ embedding.T * 0.5773502691896257


def ngpt(w, ids):
    """2410.01131, section 2: h <- Norm(h + alpha (Norm(f(h)) - h)), scaled q, k, u, v and logits.

    Each learned factor is (init / stored) times what is stored: 0.05 for alpha, 1 for the others.
    """
    stored, h = WIDTH**-0.5, w["embedding.tokens.weight"][ids]

    def move(h, out, name):
        alpha = (w[f"{name}.branch_scale.weight"] * 0.05 / stored).abs()
        return unit(h + alpha * (unit(out) - h))

    for attn, ffn in blocks():
        q, k, v = qkv(h, w, f"{attn}.branch")
        s_qk = split((w[f"{attn}.branch.qk_scale.weight"] / stored).expand(1, 1, -1))
        logits = (rope(unit(q)) * s_qk) @ (rope(unit(k)) * s_qk).mT * math.sqrt(HEAD)
        h = move(h, linear(mix(logits, v), w, f"{attn}.branch.out"), attn)
        u, v = linear(h, w, f"{ffn}.branch.w_in"), linear(h, w, f"{ffn}.branch.w_gate")
        u = u * w[f"{ffn}.branch.in_scale.weight"] * math.sqrt(WIDTH)
        v = v * w[f"{ffn}.branch.gate_scale.weight"] * math.sqrt(WIDTH)
        h = move(h, linear(u * silu(v), w, f"{ffn}.branch.w_out"), ffn)
    assert w["layers.0.ffn.branch.w_in.weight"].shape == (4 * WIDTH, WIDTH)
    return h @ w["head.weight"].T * w["head_gain.weight"] / stored


def swin_v2(w, ids):
    """2111.09883, section 3: x + LN(f(x)), logits tau cos(q, k) + bias, tau at most 100; ALiBi's bias."""
    x = layer_norm(w["embedding.tokens.weight"][ids], w, "embedding.norm")
    distance = torch.arange(TIME)[:, None] - torch.arange(TIME)
    bias = torch.stack([-(2 ** (-8 * (head + 1) / HEADS)) * distance for head in range(HEADS)])
    for attn, ffn in blocks():
        q, k, v = qkv(x, w, f"{attn}.branch")
        tau = w[f"{attn}.branch.qk_scale.weight"].clamp(max=math.log(100)).exp()[:, None, None]
        a = linear(mix(tau * unit(q) @ unit(k).mT + bias, v), w, f"{attn}.branch.out")
        x = x + layer_norm(a, w, f"{attn}.norm_out")
        h = linear(gelu(linear(x, w, f"{ffn}.branch.w_in")), w, f"{ffn}.branch.w_out")
        x = x + layer_norm(h, w, f"{ffn}.norm_out")
    return linear(layer_norm(x, w, "final_norm"), w, "head")


def dyt_llama(w, ids):
    """2503.10622, section 4: gamma * tanh(alpha x) for each norm of LLaMA, a learned scalar on embeddings."""

    def dyt(x, name):
        return w[f"{name}.weight"] * torch.tanh(w[f"{name}.alpha"] * x)

    x = w["embedding.scale.weight"] * w["embedding.tokens.weight"][ids]
    for attn, ffn in blocks():
        q, k, v = qkv(dyt(x, f"{attn}.norm_in"), w, f"{attn}.branch")
        x = x + linear(attend(rope(q), rope(k), v), w, f"{attn}.branch.out")
        x = x + gated_ffn(dyt(x, f"{ffn}.norm_in"), w, f"{ffn}.branch", silu)
    return linear(dyt(x, "final_norm"), w, "head")


EQUATIONS = {
    "transformer": transformer,
    "transformer_encoder": transformer_encoder,
    "deepnet": deepnet,
    "palm": palm,
    "glm130b": glm130b,
    "cogview": cogview,
    "grok1": grok1,
    "ngpt": ngpt,
    "swin_v2": swin_v2,
    "dyt_llama": dyt_llama,
}


def built(preset):
    words = [f"preset={preset}", f"depth={DEPTH}", f"model.width={WIDTH}", f"model.heads={HEADS}"]
    return GPT(compose([*words, f"model.context={TIME}"]), VOCAB).double()


def difference(ours, theirs):
    """Largest difference, relative to the largest value."""
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


@pytest.mark.parametrize("preset", EQUATIONS)
def test_a_preset_is_its_paper_s_equations(preset):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(VOCAB, (BATCH, TIME + 1), generator=generator)
    model = built(preset)
    for parameter in model.parameters():  # no gain is 1, no bias 0, attention is far from uniform
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data.mul_(2 if parameter.dim() > 1 else 1).add_(0.2 * noise)
    w = dict(model.named_parameters())
    pairs = {}
    for name, logits in (("ours", model(ids[:, :-1])), ("paper", EQUATIONS[preset](w, ids[:, :-1]))):
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        gradients = torch.autograd.grad(loss, list(w.values()))
        pairs[name] = {"logits": logits, **dict(zip(w, gradients, strict=True))}
    found = {part: difference(pairs["ours"][part], pairs["paper"][part]) for part in pairs["paper"]}
    assert max(found.values()) < 1e-9, {part: value for part, value in found.items() if value > 1e-9}

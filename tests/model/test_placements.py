"""Every placement against its equation, written out for a four-block model in the fewest lines of torch."""

import math
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from normlab.catalogue.placements import PLACEMENTS
from normlab.config import ExceptionConfig, PlacementConfig, ScaleConfig
from normlab.model.attention import Attention
from normlab.model.gpt import GPT
from normlab.model.weights import SigmaLinear

VOCAB, DEPTH, STEP = 11, 4, 1700


def linear(layer, x, kind="free"):
    """x W^T, with gamma / sigma(W) * W for W if the kind is sigma."""
    weight = layer.weight
    if kind == "sigma":
        weight = layer.gamma / torch.linalg.matrix_norm(weight, 2) * weight
    return x @ weight.T


def attention(a, u, qk="none", v="none", mid=False, head=False, cap=0, sphere=False, cosine=False, **kind):
    """Two heads of width 8, written out."""
    before, after = (a.in_shift.bias, a.out_shift.bias) if kind.get("biases") else (0, 0)

    def heads(x):
        return x.view(*x.shape[:2], 2, 8)

    qs, ks, vs = linear(a.qkv, u + before, kind.get("linear")).chunk(3, -1)
    if qk == "width":
        qs, ks = a.q_norm(qs), a.k_norm(ks)
    qs, ks, vs = heads(qs), heads(ks), heads(vs)
    if qk == "head":
        qs, ks = a.q_norm.norm(qs), a.k_norm.norm(ks)
    vs = a.v_norm.norm(vs) if v == "head" else vs
    logits = torch.einsum("bthk,bshk->bhts", qs, ks) / math.sqrt(8)
    if sphere:  # 4 = sqrt(width)
        s = (4 * a.qk_scale.weight).view(2, 8)
        logits = torch.einsum("bthk,bshk->bhts", s * qs, s * ks) * math.sqrt(8)
    if cosine:
        cosines = torch.einsum(
            "bthk,bshk->bhts", qs / qs.norm(dim=-1)[..., None], ks / ks.norm(dim=-1)[..., None]
        )
        logits = a.qk_scale.weight.exp()[:, None, None] * cosines
    logits = cap * torch.tanh(logits / cap) if cap else logits
    weights = logits.masked_fill(torch.ones(logits.shape[-2:]).triu(1).bool(), -math.inf).softmax(-1)
    out = torch.einsum("bhts,bshk->bthk", weights, vs)
    out = (out * a.head_scale.weight[:, None] if head else out).flatten(2)
    return linear(a.out, after + (a.mid_norm(out) if mid else out), kind.get("linear"))


def feed_forward(f, u, mid=False, sphere=False, **kind):
    shifts = [f.in_shift.bias, f.act_shift.bias, f.out_shift.bias] if kind.get("biases") else [0, 0, 0]
    hidden = linear(f.w_in, u + shifts[0], kind.get("linear"))
    hidden = F.gelu(shifts[1] + (4 * f.in_scale.weight * hidden if sphere else hidden))
    return linear(f.w_out, shifts[2] + (f.mid_norm(hidden) if mid else hidden), kind.get("linear"))


def post(x, f, n, at):
    return n.norm_post(x + f(x))


def pre(x, f, n, at):
    return x + f(n.norm_in(x))


def sandwich(x, f, n, at):
    return x + n.norm_out(f(n.norm_in(x)))


def res_post(x, f, n, at):
    return x + n.norm_out(f(x))


def normformer(x, f, n, at):
    return sandwich(x, f, n, at) if at.kind == "attn" else n.skip_scale.weight * x + f(n.norm_in(x))


def deepnorm(x, f, n, at):
    return n.norm_post((2 * DEPTH) ** 0.25 * x + f(x))


def deepnorm_ed_encoder(x, f, n, at):
    encoder, decoder = DEPTH, DEPTH
    return n.norm_post(0.81 * (encoder**4 * decoder) ** (1 / 16) * x + f(x))


def deepnorm_ed_decoder(x, f, n, at):
    return n.norm_post((3 * DEPTH) ** 0.25 * x + f(x))


def deepnorm_glm(x, f, n, at):
    return (2 * DEPTH) ** 0.5 * n.norm_in(x) + f(n.norm_in(x))


def deepnorm_inverted(x, f, n, at):
    return n.norm_post(2.828 * x + f(x))


def admin_const(x, f, n, at):
    return n.norm_post(math.sqrt((2 * DEPTH + 1) / math.log(2 * DEPTH + 1) - 1) * x + f(x))


def keel(x, f, n, at):
    return n.norm_post(2 * DEPTH * x + f(n.norm_in(x)))


def branchnorm(x, f, n, at):
    return n.norm_post(x + min(1, STEP / 1000) * f(x))


def prores(x, f, n, at):
    return x + min(STEP / (1000 * at.layer), 1) * f(n.norm_in(x))


def mix_ln(x, f, n, at):
    return (post if at.layer <= DEPTH // 4 else pre)(x, f, n, at)


def lns(x, f, n, at):
    return x + f(n.norm_in(x) / math.sqrt(at.layer))


def hybridnorm(x, f, n, at):
    return x + f(x) if at.kind == "attn" else n.norm_in(x) + f(n.norm_in(x))


def hybridnorm_star(x, f, n, at):
    return (pre if at.layer == 1 else hybridnorm)(x, f, n, at)


def parallel_two(x, f, n, at):
    return x + f(n.norm_in(at.start))


def parallel_shared(x, f, n, at):
    return x + f(at.block.attn.norm_in(at.start))


def rezero(x, f, n, at):
    return x + n.branch_scale.weight * f(x)


def layerscale(x, f, n, at):
    return x + n.branch_scale.weight * f(n.norm_in(x))


def stable_res(x, f, n, at):
    return x + f(n.norm_in(x)) / math.sqrt(2 * DEPTH)


def none(x, f, n, at):
    return x + f(x)


def b2t(x, f, n, at):
    return n.norm_post(x + f(x) if at.kind == "attn" else at.start + x + f(x))


def gpas(x, f, n, at):
    z = pre(x, f, n, at)
    return z - F.silu(at.block.attn.stream_gate.gate) * z


def residual_dual(x, f, n, at):
    at.y = at.y + f(x)
    return n.norm_post(x + f(x))


def siamese(x, f, n, at):
    o = f(n.norm_in(x + n.read.norm(at.y)))
    at.y = at.y + o
    return n.norm_post(x + o / math.sqrt(2 * at.layer))


def siamese_bare(x, f, n, at):
    o = f(x + n.read.norm(at.y))
    at.y = at.y + o
    return n.norm_post(x + o)


def admin(x, f, n, at):
    return n.norm_post(n.skip_scale.weight * x + f(x))


def ngpt(x, f, n, at):
    a = 0.05 / 16**-0.5 * n.branch_scale.weight.abs()
    return n.norm_post(x + a * (n.norm_out(f(x)) - x))


peri = gemma2 = gemma3 = grok1 = sandwich
pre_nofinal = qk_norm = pre_embnorm = subln = pre
olmo2 = swin_v2 = res_post
post_ln_init = ds_init = sigma_reparam = post
skipinit = fixup = rezero
tfixup = none

#: What happens inside attention and inside the feed-forward layer, where it is not bare.
HOOKS = {
    "olmo2": ({"qk": "width"}, {}),
    "qk_norm": ({"qk": "head"}, {}),
    "subln": ({"mid": True}, {"mid": True}),
    "normformer": ({"head": True}, {"mid": True}),
    "hybridnorm": ({"qk": "head", "v": "head"}, {}),
    "hybridnorm_star": ({"qk": "head", "v": "head"}, {}),
    "gemma2": ({"cap": 50}, {}),
    "gemma3": ({"qk": "head"}, {}),
    "grok1": ({"cap": 30}, {}),
    "ngpt": ({"qk": "head", "sphere": True}, {"sphere": True}),
    "swin_v2": ({"cosine": True}, {}),
    "fixup": ({"biases": True}, {"biases": True}),
    "sigma_reparam": ({"linear": "sigma"}, {"linear": "sigma"}),
}
TWO = {"residual_dual", "siamese", "siamese_bare"}
EMBEDDING_NORM = {"peri", "pre_embnorm"}
#: E times one over its initial standard deviation, width^-0.5.
UNIT_EMBEDDING = {"admin", "rezero", "skipinit", "fixup", "tfixup", "none"}
NO_FINAL_NORM = {
    "post",
    "pre_nofinal",
    "deepnorm",
    "deepnorm_ed_encoder",
    "deepnorm_ed_decoder",
    "deepnorm_inverted",
    "post_ln_init",
    "admin_const",
    "keel",
}
NO_FINAL_NORM |= {
    "admin",
    "sigma_reparam",
    "ngpt",
    "b2t",
    "branchnorm",
    "rezero",
    "skipinit",
    "fixup",
    "tfixup",
    "ds_init",
    "none",
}
EQUATIONS = {name: globals()[name] for name in PLACEMENTS if name in globals()}
#: Norms in a block, and outside of the blocks.
NORMS = {
    **dict.fromkeys(("post", "deepnorm", "deepnorm_inverted", "post_ln_init", "admin_const"), (2, 0)),
    **dict.fromkeys(("branchnorm", "ds_init", "pre_nofinal"), (2, 0)),
    **dict.fromkeys(("deepnorm_ed_encoder", "deepnorm_ed_decoder"), (2, 0)),
    **dict.fromkeys(
        ("pre", "res_post", "swin_v2", "deepnorm_glm", "prores", "mix_ln", "lns", "layerscale"), (2, 1)
    ),
    **dict.fromkeys(("stable_res", "parallel_two"), (2, 1)),
    **dict.fromkeys(("sandwich", "olmo2", "qk_norm", "subln", "normformer", "hybridnorm"), (4, 1)),
    **dict.fromkeys(("gemma2", "grok1"), (4, 1)),
    **dict.fromkeys(("rezero", "skipinit", "fixup", "tfixup", "none"), (0, 0)),
    "peri": (4, 2),
    "pre_embnorm": (2, 2),
    "parallel_shared": (1, 1),
    "gemma3": (6, 1),
    "keel": (4, 0),
    "b2t": (2, 0),
    "admin": (2, 0),
    "sigma_reparam": (2, 0),
    "ngpt": (6, 0),
    "gpas": (2, 1),
    "residual_dual": (2, 1),
    "siamese": (6, 3),
    "siamese_bare": (4, 1),
    "hybridnorm_star": (4, 2),  # one more in the first block
}


def model_of(config):
    """A model in float64 at step STEP whose norms, learned scales and zeros are off their start."""
    torch.manual_seed(0)
    model = GPT(config, VOCAB).double()
    model.set_step(STEP)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if (
                any(word in name for word in ("norm", "scale", "gate", "gain", "gamma"))
                or not parameter.any()
            ):
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def test_every_placement_has_its_equation_here():
    assert EQUATIONS.keys() == PLACEMENTS.keys() == NORMS.keys()


@pytest.mark.parametrize("name", PLACEMENTS)
def test_placement_equals_its_equation(name, small):
    model, ids = model_of(small({"depth": DEPTH}, placement=name)), torch.randint(VOCAB, (3, 8))
    settle(model)
    tokens = model.embedding.tokens(ids)
    x = model.embedding.positions(4 * tokens if name in UNIT_EMBEDDING else tokens)
    x = model.embedding.norm(x) if name in EMBEDDING_NORM else x
    hooks, y = HOOKS.get(name, ({}, {})), x
    x = model.streams.first_norm(x) if name == "siamese" else x
    for layer, block in enumerate(model.layers, 1):
        at = SimpleNamespace(layer=layer, start=x, block=block, y=y)
        for kind, branch, inside in zip(("attn", "ffn"), (attention, feed_forward), hooks, strict=True):
            at.kind, sub = kind, getattr(block, kind)
            x = EQUATIONS[name](x, partial(branch, sub.branch, **inside), sub, at)
        y = at.y
    x = x if name in NO_FINAL_NORM else x + model.final_norm(y) if name in TWO else model.final_norm(x)
    x = model.streams.joint_norm(x) if name == "siamese" else x
    x = x + model.head_shift.bias if name == "fixup" else x
    logits = linear(model.head, x, HOOKS.get(name, [{}])[0].get("linear"))
    logits = 4 * model.head_gain.weight * logits if name == "ngpt" else logits
    torch.testing.assert_close(model(ids), logits, rtol=1e-12, atol=1e-12)


def settle(model):
    """Singular vectors to double precision."""
    for module in model.modules():
        if isinstance(module, SigmaLinear):
            module.settle()


@pytest.mark.parametrize("name", PLACEMENTS)
def test_placement_has_as_many_norms_as_the_paper(name, small):
    model = GPT(small({"depth": DEPTH}, placement=name), VOCAB)
    inside, outside = NORMS[name]
    norms = [m for m in model.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert len(norms) == inside * DEPTH + outside == PLACEMENTS[name].norms(DEPTH)


def test_rows_tell_norms_and_learned_factors_of_a_block():
    columns = {
        name: (row.norms_per_block, row.extra_parameters, row.warmup) for name, row in PLACEMENTS.items()
    }
    assert columns["post"] == ("2", "0", "yes")
    assert columns["normformer"] == ("4", "H + D", "-")
    assert columns["hybridnorm_star"] == ("4-5", "0", "-")
    assert columns["rezero"] == ("0", "1", "no")
    assert columns["layerscale"] == ("2", "2D", "-")
    assert (PLACEMENTS["deepnorm"].warmup, PLACEMENTS["deepnorm"].warmup_measured) == ("yes", "no")
    assert all(
        {row.warmup, row.warmup_measured} <= {"yes", "no", "-"} and row.meaning and row.equation
        for row in PLACEMENTS.values()
    )


@pytest.mark.parametrize("name", PLACEMENTS)
def test_extra_parameters_are_those_of_the_module(name, small):
    model = GPT(small({"depth": DEPTH}, placement=name), VOCAB)
    count = sum(p.numel() for key, p in model.layers[-1].named_parameters() if "norm" not in key)
    bare = GPT(small({"depth": DEPTH}, placement="none"), VOCAB)
    count -= sum(p.numel() for p in bare.layers[-1].parameters())
    units = {"0": 0, "1": 1, "2": 2, "4": 4, "7": 7, "2D": 32, "3D + F": 48 + 64, "H + D": 2 + 16, "H": 2}
    assert count == units[PLACEMENTS[name].extra_parameters]


@pytest.mark.parametrize("name", PLACEMENTS)
def test_gradient_of_a_prediction_with_respect_to_the_future_is_zero(name, small):
    model = model_of(small(placement=name))
    x = model.embedding(torch.randint(VOCAB, (1, 8))).detach().requires_grad_()
    streams = model.streams.start(x)
    for block in model.layers:
        streams = block(*streams)
    model.head(model.streams.end(model.final_norm, *streams))[0, 3].sum().backward()
    assert torch.all(x.grad[0, 4:] == 0) and x.grad[0, :4].abs().sum() > 0


@pytest.mark.parametrize("name", PLACEMENTS)
def test_every_parameter_gets_a_gradient(name, small):
    model = model_of(small(placement=name))
    model(torch.randint(VOCAB, (2, 8))).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_normed_skip_and_vector_scales_and_input_scales(small):
    placement = PlacementConfig(
        name="own",
        norm_in=True,
        skip="norm_in",
        in_scale=ScaleConfig(value="layer**-0.5"),
        skip_scale=ScaleConfig(value="0.5", learn="vector"),
        branch_scale=ScaleConfig(value="sublayer", learn="scalar"),
    )
    model = model_of(replace(small(), placement=placement))
    ids = torch.randint(VOCAB, (3, 8))
    x = model.embedding(ids)
    for layer, block in enumerate(model.layers, 1):
        for sub in (block.attn, block.ffn):
            u = sub.norm_in(x)
            x = sub.skip_scale.weight * u + sub.branch_scale.weight * sub.branch(layer**-0.5 * u)
    torch.testing.assert_close(model(ids), model.head(x))
    assert model.layers[0].attn.skip_scale.weight.shape == (16,)


def test_an_exception_holds_where_its_law_does_and_later_ones_win(small):
    placement = PlacementConfig(
        name="own",
        norm_in=True,
        parameters={"share": 0.5},
        exceptions=[
            ExceptionConfig(where="layer <= floor(share*depth)", set={"branch_scale": {"value": 3}}),
            ExceptionConfig(sublayer="ffn", set={"branch_scale": {"learn": "scalar"}}),
            ExceptionConfig(where="sublayer == 8", set={"norm_in": False, "softcap": 2}),
        ],
    )
    model = model_of(replace(small({"depth": DEPTH}), placement=placement))
    ids = torch.randint(VOCAB, (3, 8))
    x = model.embedding(ids)
    for layer, block in enumerate(model.layers, 1):
        x = x + (3 if layer <= 2 else 1) * attention(block.attn.branch, block.attn.norm_in(x))
        u = x if layer == 4 else block.ffn.norm_in(x)
        x = x + block.ffn.branch_scale.weight * feed_forward(block.ffn.branch, u)
    torch.testing.assert_close(model(ids), model.head(x))


def test_only_attention_has_hooks_of_attention(small):
    model = GPT(small(placement="gemma3"), VOCAB)
    assert sum(isinstance(module, Attention) for module in model.modules()) == 2
    assert not any("q_norm" in name for name, _ in model.layers[0].ffn.named_modules())


def test_a_tied_skip_follows_the_branch_scale_that_its_block_shares(small):
    """After training has moved the one learned number of a block, both skips are one minus it."""
    scale = {"value": "0.25", "learn": "scalar", "share": "block"}
    record = PlacementConfig(
        name="own", skip_scale=ScaleConfig(tie=True), branch_scale=ScaleConfig(**scale), final_norm=True
    )
    model = GPT(replace(small({}), placement=record), VOCAB)
    block, x = model.layers[0], torch.randn(2, 3, 16)
    with torch.no_grad():
        block.attn.branch_scale.weight.fill_(0.75)
    for sublayer in (block.attn, block.ffn):
        torch.testing.assert_close(sublayer.skip_scale(x), 0.25 * x)
        torch.testing.assert_close(sublayer.branch_scale(x), 0.75 * x)

"""What placements have in common: identities between them, and published constants."""

import math
import re

import pytest
import torch

from normlab.catalogue.norms import NORMS
from normlab.catalogue.placements import PLACEMENTS
from normlab.config import laws
from normlab.errors import ConfigError
from normlab.model.gpt import GPT, site
from normlab.model.residual import Shift
from normlab.model.weights import SigmaLinear
from normlab.training.checks import check_parts

VOCAB, DEPTH = 11, 2


def output(config, step=0, change=None):
    """Logits and the gradient of each parameter, in float64."""
    model, ids = GPT(config, VOCAB).double(), torch.arange(16).remainder(VOCAB).view(2, 8)
    model.set_step(step)
    if change:
        with torch.no_grad():
            change(model)
    logits = model(ids)
    logits.square().mean().backward()
    return logits.detach(), {name: p.grad for name, p in model.named_parameters()}


def assert_same(ours, theirs, **close):
    """Logits and gradients equal, to the bit unless a tolerance is given; parameters of one alone may be."""
    torch.testing.assert_close(ours[0], theirs[0], **({"rtol": 0, "atol": 0} | close))
    common = ours[1].keys() & theirs[1].keys()
    assert len(common) > 10
    for name in common:
        torch.testing.assert_close(
            ours[1][name], theirs[1][name], **({"rtol": 0, "atol": 0} | close), msg=name
        )


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


def test_deepnorm_with_constants_of_one_is_post(small):
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


def test_admin_with_omega_of_one_is_post(small):
    one = {"placement.skip_scale.value": "1"}
    assert_same(output(small(one, placement="admin_const")), output(small(placement="post")))


def test_keel_with_alpha_of_one_and_no_inner_norm_is_post(small):
    bare = {"placement.skip_scale.value": "1", "placement.norm_in": False}
    assert_same(output(small(bare, placement="keel")), output(small(placement="post")))


def test_peri_without_norm_out_and_embedding_norm_is_pre(small):
    bare = {"placement.norm_out": False, "placement.embedding_norm": False}
    assert_same(output(small(bare, placement="peri")), output(small(placement="pre")))


def test_sandwich_without_norm_in_is_res_post(small):
    bare = {"placement.norm_in": False}
    assert_same(output(small(bare, placement="sandwich")), output(small(placement="res_post")))


def test_lns_of_one_block_is_pre(small):
    one = {"depth": 1}
    assert_same(output(small(one, placement="lns")), output(small(one, placement="pre")))


def test_lns_of_two_blocks_is_not_pre(small):
    assert not torch.equal(output(small(placement="lns"))[0], output(small(placement="pre"))[0])


def test_mix_ln_of_none_is_pre_and_of_all_is_post_with_a_final_norm(small):
    none, half, every = (
        output(small({"placement.parameters.fraction": share}, placement="mix_ln"))
        for share in (0.0, 0.5, 1.0)
    )
    assert_same(none, output(small(placement="pre")))
    assert_same(every, output(small({"placement.final_norm": True}, placement="post")))
    assert not torch.equal(half[0], none[0]) and not torch.equal(half[0], every[0])


def test_a_final_norm_after_post_changes_nothing_for_rms(small):
    exact = {"norm.eps": 0.0}
    final = output(small(exact | {"placement.final_norm": True}, placement="post", norm="rmsnorm"))
    torch.testing.assert_close(final[0], output(small(exact, placement="post", norm="rmsnorm"))[0])


def test_res_post_with_norm_out_at_zero_is_the_identity_and_only_norm_out_learns(small):
    def silence(model):
        for name, parameter in model.named_parameters():
            if "norm_out" in name:
                parameter.zero_()

    config = small(placement="res_post")
    logits, gradients = output(config, change=silence)
    model = GPT(config, VOCAB).double()
    ids = torch.arange(16).remainder(VOCAB).view(2, 8)
    assert torch.equal(logits, model.head(model.final_norm(model.embedding(ids))))
    for name, gradient in gradients.items():
        if name.startswith("layers."):
            assert (gradient.abs().sum() > 0) == ("norm_out" in name), name


@pytest.mark.parametrize("norm", [name for name, row in NORMS.items() if "g=" in row.parameters])
def test_swin_v2_starts_as_the_identity_and_only_norm_out_learns(norm, small):
    """Its out-norms start at gain 0, and their biases at 0, whatever the norm that has a gain."""
    model = GPT(small(placement="swin_v2", norm=norm), VOCAB).double()
    ids = torch.arange(16).remainder(VOCAB).view(2, 8)
    logits = model(ids)
    assert torch.equal(logits, model.head(model.final_norm(model.embedding(ids))))
    logits.square().mean().backward()
    for name, parameter in model.named_parameters():
        learns = re.search(r"norm_out\.(weight|bias)$", name) or not name.startswith("layers.")
        assert (parameter.grad.abs().sum() > 0) == bool(learns), name


@pytest.mark.parametrize("norm", [name for name, row in NORMS.items() if "g=" in row.parameters])
def test_norm_out_gain_is_the_gain_that_the_output_starts_with(norm, small):
    torch.manual_seed(0)
    half, whole = (
        GPT(small({"placement.norm_out_gain": gain}, placement="res_post", norm=norm), VOCAB).double()
        for gain in (0.5, 1.0)
    )
    x = torch.randn(2, 8, 16, dtype=torch.float64)
    ours, theirs = (model.layers[0].ffn.norm_out for model in (half, whole))
    torch.testing.assert_close(ours(x), 0.5 * theirs(x))
    others = {name: p for name, p in half.named_parameters() if "norm_out" not in name}
    assert all(torch.equal(p, dict(whole.named_parameters())[name]) for name, p in others.items())


@pytest.mark.parametrize("norm", [name for name, row in NORMS.items() if "g=" not in row.parameters])
def test_a_norm_without_a_gain_is_refused_where_one_starts_at_0(norm, small):
    says = rf"^placement.norm_out_gain: 0 is for a norm with a gain, and norm={norm} has none; use norm=layer"
    with pytest.raises(ConfigError, match=says):
        GPT(small(placement="swin_v2", norm=norm), VOCAB)


def test_fixup_starts_as_the_head_on_the_embedding_and_only_last_matrices_learn(small):
    model, ids = GPT(small(placement="fixup"), VOCAB), torch.randint(VOCAB, (2, 8))
    assert torch.all(model(ids) == 0)
    torch.nn.init.normal_(model.head.weight)
    logits = model(ids)
    assert torch.equal(logits, model.head(model.embedding(ids)))
    logits.square().mean().backward()
    for name, parameter in model.named_parameters():
        learns = name.endswith("out.weight") or not name.startswith("layers.")
        assert (parameter.grad.abs().sum() > 0) == learns, name


def test_fixup_s_scalar_biases_stand_where_the_paper_puts_them(small):
    """Before each linear layer, the head among them, and before the activation: five a block, and one."""
    model = GPT(small(placement="fixup", activation="swiglu"), VOCAB)
    names = [name for name, module in model.named_modules() if isinstance(module, Shift)]
    inside = [f"attn.branch.{part}_shift" for part in ("in", "out")]
    inside += [f"ffn.branch.{part}_shift" for part in ("in", "act", "out")]
    assert names == [f"layers.{layer}.{name}" for layer in range(DEPTH) for name in inside] + ["head_shift"]
    assert all(site(f"layers.1.{name}.bias") == ("layer_01", "scale") for name in inside)
    assert site("head_shift.bias") == ("head", "")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    block, seen = model.layers[1], {}
    block.ffn.branch.act = torch.nn.SiLU()
    pairs = {
        block.attn.branch.qkv: block.attn.branch.in_shift,
        block.attn.branch.out: block.attn.branch.out_shift,
        block.ffn.branch.w_in: block.ffn.branch.in_shift,
        block.ffn.branch.w_gate: block.ffn.branch.in_shift,
        block.ffn.branch.w_out: block.ffn.branch.out_shift,
        block.ffn.branch.act: block.ffn.branch.act_shift,
        model.head: model.head_shift,
    }
    for module in [*pairs, *pairs.values()]:
        module.register_forward_hook(lambda module, inputs, out: seen.update({module: (inputs[0], out)}))
    model(torch.randint(VOCAB, (2, 8)))
    for layer, shift in pairs.items():
        given, shifted = seen[shift]
        assert torch.equal(seen[layer][0], shifted) and torch.equal(shifted, given + shift.bias), layer


def test_prores_is_the_identity_at_first_and_pre_after_its_ramp(small):
    short = {"placement.parameters.ramp": 50.0}
    at = {step: output(small(short, placement="prores"), step) for step in (0, 30, 50 * DEPTH, 10**6)}
    assert_same(at[50 * DEPTH], output(small(placement="pre")))
    assert_same(at[10**6], output(small(placement="pre")))
    assert not torch.equal(at[30][0], at[50 * DEPTH][0])
    model = GPT(small(), VOCAB).double()
    ids = torch.arange(16).remainder(VOCAB).view(2, 8)
    assert torch.equal(at[0][0], model.head(model.final_norm(model.embedding(ids))))


def test_branchnorm_is_post_after_its_ramp(small):
    assert_same(output(small(placement="branchnorm"), 1000), output(small(placement="post")))
    assert not torch.equal(output(small(placement="branchnorm"), 999)[0], output(small(placement="post"))[0])


def test_norm_first_with_a_normed_skip_is_post_bracketed_otherwise(small):
    """x <- N(x) + f(N(x)), stacked, with a norm after the last sub-layer, is post on a normed embedding."""
    normed = {"placement.skip": "norm_in", "placement.final_norm": True}
    first = output(small(normed, placement="pre"))
    last = output(small({"placement.embedding_norm": True}, placement="post"))
    torch.testing.assert_close(first[0], last[0])


@pytest.mark.parametrize("name", [name for name, row in PLACEMENTS.items() if row.config.norm_out])
def test_with_norm_out_the_size_of_the_output_projection_does_not_matter(name, small):
    def enlarge(model):
        for block in model.layers:
            block.attn.branch.out.weight.mul_(3.7)
            block.ffn.branch.w_out.weight.mul_(0.4)

    config = small({"norm.eps": 0.0}, placement=name)
    torch.testing.assert_close(output(config, change=enlarge)[0], output(config)[0])


@pytest.mark.parametrize(
    ("name", "blocks", "outside"),
    [("post", 2, 0), ("pre", 2, 1), ("res_post", 2, 1), ("sandwich", 4, 1), ("peri", 4, 2), ("keel", 4, 0)],
)
def test_norms_of_a_model_are_as_many_as_published(name, blocks, outside, small):
    model = GPT(small({"depth": 5}, placement=name), VOCAB)
    assert sum(isinstance(m, torch.nn.LayerNorm) for m in model.modules()) == 5 * blocks + outside


def test_deepnorm_has_post_s_parameters_no_buffers_and_no_mode(small):
    model, plain = (GPT(small(placement=name), VOCAB) for name in ("deepnorm", "post"))
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert not list(model.buffers())
    ids = torch.randint(VOCAB, (2, 8))
    assert torch.equal(model.train()(ids), model.eval()(ids))


def shut(model):
    """The final norm gives 0."""
    model.final_norm.weight.zero_()
    model.final_norm.bias.zero_()


def test_residual_dual_without_its_second_stream_is_post(small):
    dual = output(small(placement="residual_dual"), change=shut)
    assert torch.equal(dual[0], output(small(placement="post"))[0])


def test_residual_dual_s_second_stream_sums_the_branches_times_rho(small):
    config = small({"placement.second_scale": "0.05 * depth"}, placement="residual_dual")
    model, branches = GPT(config, VOCAB).double(), []
    for block in model.layers:
        for sub in (block.attn, block.ffn):
            sub.branch.register_forward_hook(lambda module, args, out: branches.append(out))
    x = model.embedding(torch.arange(8).view(1, 8))
    streams = model.streams.start(x)
    for block in model.layers:
        streams = block(*streams)
    torch.testing.assert_close(streams[1], 0.1 * (x + sum(branches)))
    out = streams[0] + model.final_norm(streams[1])
    torch.testing.assert_close(model(torch.arange(8).view(1, 8)), model.head(out))


@pytest.mark.parametrize(("kind", "base"), [("stream", "pre"), ("stream", "sandwich"), ("skip", "deepnorm")])
def test_gpas_with_a_gate_of_zero_is_its_base_forward_and_backward(kind, base, small):
    gated = output(small({"placement.gpas": kind}, placement=base))
    assert_same(gated, output(small(placement=base)))
    gates = [name for name in gated[1] if "gate" in name]
    assert gates == [f"layers.{layer}.attn.{kind}_gate.gate" for layer in range(DEPTH)]
    assert all(gated[1][name] != 0 for name in gates)


def test_gpas_scales_the_forward_and_leaves_the_gradient(small):
    gate = GPT(small(placement="gpas"), VOCAB).double().layers[0].attn.stream_gate
    torch.nn.init.constant_(gate.gate, 0.7)
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    y, weight = gate(x), torch.randn(3, 5, dtype=torch.float64)
    torch.testing.assert_close(y, (1 - 0.7 / (1 + math.exp(-0.7))) * x)
    y.backward(weight)
    assert torch.equal(x.grad, weight)


def test_admin_before_its_profile_is_post(small):
    as_drawn = {"placement.unit_embedding": False}
    assert_same(output(small(as_drawn, placement="admin")), output(small(placement="post")))


def test_admin_s_profile_follows_its_recurrence(small):
    model, ids = (
        GPT(small({"model.dropout": 0.5}, placement="admin"), VOCAB).double(),
        torch.arange(8).view(1, 8),
    )
    model.profile(ids)
    assert model.training
    model.eval()
    x, square = model.embedding(ids), torch.tensor(1.0, dtype=torch.float64)
    for block in model.layers:
        for sub in (block.attn, block.ffn):
            torch.testing.assert_close(sub.skip_scale.weight, square.sqrt().expand(16))
            branch = sub.branch(x)
            square = (square.sqrt() * x).var(correction=0) + branch.var(correction=0)
            x, _ = sub(x, None, x)
    assert square > 0.01
    again = GPT(small({"model.dropout": 0.5}, placement="admin"), VOCAB).double()
    again.profile(ids)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("depth", [2, 8])
@pytest.mark.parametrize("seed", [0, 1])
def test_admin_s_skips_are_1_or_more_and_grow_by_the_variance_of_a_branch(depth, seed, config_of):
    """x is normed everywhere but at the start: a skip under 1 there means an embedding of another size."""
    model = GPT(config_of({"depth": depth, "seed": seed, "model.context": 32}, placement="admin"), 64)
    model.profile(torch.randint(64, (8, 32)))
    omegas = [sub.skip_scale.weight[0].item() for block in model.layers for sub in (block.attn, block.ffn)]
    assert omegas[0] == 1 and omegas == sorted(omegas) and omegas[-1] < 2


@pytest.mark.parametrize("placement", ["admin", "rezero", "skipinit", "fixup", "none"])
@pytest.mark.parametrize(
    ("init", "changes"),
    [
        ("fan_in", {}),
        ("normal", {}),
        ("fan_in", {"init.embedding_std": 1.0}),
        ("fan_in", {"model.embedding_scale": "sqrt(width)"}),  # as presets have it
        ("fan_in", {"model.embedding_scale_learn": True}),
        ("fan_in", {"model.tie": True, "init.gains": "none"}),
    ],
)
def test_tokens_enter_at_variance_1_where_the_placement_counts_on_it(placement, init, changes, config_of):
    config = config_of({"depth": 1, "model.positions": "none"} | changes, placement=placement, init=init)
    check_parts(config)
    model = GPT(config, 256)
    assert model.embedding(torch.arange(64).view(1, 64)).std().item() == pytest.approx(1, abs=0.05)


def test_t_fixup_s_gain_on_the_embedding_acts_on_variance_1(config_of):
    model = GPT(config_of({"depth": 4, "model.positions": "none"}, placement="tfixup"), 256)
    std = model.embedding(torch.arange(64).view(1, 64)).std().item()
    assert std == pytest.approx((9 * 4) ** -0.25, rel=0.05)


def test_sigma_reparam_starts_at_spectral_norm_one_and_follows_the_matrix(small):
    model = GPT(small({"model.bias": True}, placement="sigma_reparam", activation="swiglu"), VOCAB)
    linears = {name: m for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    inside = {name: m for name, m in linears.items() if isinstance(m, SigmaLinear)}
    assert len(inside) == 5 * DEPTH + 1 and linears == inside
    blocks_only = GPT(small({"placement.sigma_head": False}, placement="sigma_reparam"), VOCAB)
    assert type(blocks_only.head) is torch.nn.Linear and isinstance(
        blocks_only.layers[0].attn.branch.out, SigmaLinear
    )
    for layer in inside.values():
        eye, bias = torch.eye(layer.in_features), 0 if layer.bias is None else layer.bias
        effective = (layer.eval()(eye) - bias).T
        assert torch.linalg.matrix_norm(effective, 2).item() == pytest.approx(1, rel=1e-5)
        with torch.no_grad():
            layer.weight.copy_(torch.randn_like(layer.weight))
        layer.train()
        for _ in range(200):
            layer(eye)
        effective = (layer.eval()(eye) - bias).T
        assert torch.linalg.matrix_norm(effective, 2).item() == pytest.approx(1, rel=1e-3)


def test_sigma_reparam_does_not_see_the_size_of_a_matrix(small):
    def enlarge(model):
        for module in model.modules():
            if isinstance(module, SigmaLinear):
                module.weight.mul_(7.3)

    config = small(placement="sigma_reparam")
    torch.testing.assert_close(output(config, change=enlarge)[0], output(config)[0])


def test_sigma_reparam_s_gradient_is_that_of_the_formula():
    layer = SigmaLinear(torch.nn.Linear(5, 3)).double().eval()
    layer.settle()
    x = torch.randn(4, 5, dtype=torch.float64)
    layer(x).square().sum().backward()
    weight = layer.weight.detach().clone().requires_grad_()
    hat = weight / torch.linalg.matrix_norm(weight, 2)
    (x @ hat.T + layer.bias).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, weight.grad)


def test_ngpt_keeps_every_vector_along_the_width_at_length_one(small):
    model = GPT(small(placement="ngpt", activation="swiglu"), VOCAB)

    def lengths():
        for name, p in model.named_parameters():
            if p.dim() == 2:
                yield p.norm(dim=0 if name.endswith(("out.weight",)) else 1)

    assert all(torch.allclose(length, torch.ones_like(length)) for length in lengths())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    assert not any(torch.allclose(length, torch.ones_like(length)) for length in lengths())
    model.constrain()
    assert all(torch.allclose(length, torch.ones_like(length)) for length in lengths())
    assert model.head_gain.weight[0].item() == pytest.approx(3 * 16**-0.5)


def test_ngpt_starts_with_steps_of_a_twentieth_stored_as_published(small):
    sub = GPT(small(placement="ngpt"), VOCAB).layers[0].attn
    torch.testing.assert_close(sub.branch_scale.factor(), torch.full((16,), 0.05))
    assert torch.equal(sub.branch_scale.weight, torch.full((16,), 0.25))
    x = torch.ones(1, 1, 16)
    torch.testing.assert_close(sub.skip_scale(x), torch.full((1, 1, 16), 0.95))
    assert [name for name, _ in sub.named_parameters() if "scale" in name and "branch." not in name] == [
        "branch_scale.weight"
    ]


def test_weights_that_are_free_are_left_alone(small):
    model = GPT(small(), VOCAB)
    before = [p.detach().clone() for p in model.parameters()]
    model.constrain()
    model.set_step(7)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


CONSTANTS = """
L    deepnorm beta   admin  subln  tfixup embedding glm   keel gpt2
2    1.4142   .5000  1.4514 1.1774 .5634  .4855     2.000 4    .5000
6    1.8612   .3799  2.0170 1.5764 .4281  .3689     3.464 12   .2887
12   2.2134   .3195  2.6013 1.7827 .3600  .3102     4.899 24   .2041
24   2.6321   .2686  3.4045 1.9675 .3027  .2608     6.928 48   .1443
48   3.1302   .2259  4.4948 2.1364 .2545  .2193     9.798 96   .1021
1000 6.6874   .1057  16.194 2.7570 .1191  .1027     44.72 2000 .0224
"""


@pytest.mark.parametrize("line", CONSTANTS.strip().splitlines()[1:])
def test_constants_are_the_published_ones_at(line):
    from normlab.catalogue.inits import GAINS

    depth, *expected = line.split()
    at = laws.variables(int(depth), 64)
    config = {name: row.config for name, row in PLACEMENTS.items()}
    given = [
        config["deepnorm"].skip_scale.value,
        config["deepnorm"].gains["attn.v"],
        config["admin_const"].skip_scale.value,
        config["subln"].gains["ffn.in"],
        config["tfixup"].gains["attn.out"],
        config["tfixup"].gains["embedding"],
        config["deepnorm_glm"].skip_scale.value,
        config["keel"].skip_scale.value,
        GAINS["gpt2"].config.gain["attn.out"],
    ]
    for law, number in zip(given, expected, strict=True):
        digits = len(number.partition(".")[2])
        assert laws.value(law, at) == pytest.approx(float(number), abs=0.51 * 10**-digits), law


@pytest.mark.parametrize(("depth", "scale"), [(18, 0.1), (19, 1e-5), (24, 1e-5), (25, 1e-6)])
def test_layerscale_starts_as_published(depth, scale):
    law = PLACEMENTS["layerscale"].config.branch_scale.value
    assert laws.value(law, laws.variables(depth, 64)) == scale


@pytest.mark.parametrize(
    ("name", "projection", "gain"),
    [
        ("post_ln_init", "attn.q", (1 / 3, 1 / 2, 1)),
        ("ds_init", "ffn.out", (1, 2**-0.5, 3**-0.5)),
        ("fixup", "attn.out", (0, 0, 0)),
        ("fixup", "ffn.in", (6**-0.5, 6**-0.5, 6**-0.5)),
        ("deepnorm_inverted", "ffn.gate", (24**0.25, 24**0.25, 24**0.25)),
        ("deepnorm_glm", "ffn.in", (6**-0.5, 6**-0.5, 6**-0.5)),
    ],
)
def test_initial_gains_are_those_of_the_row_in_each_layer(name, projection, gain, small):
    three = {"depth": 3}
    model, plain = (
        GPT(small(three | {"init.gains": gains}, placement=name, activation="swiglu"), VOCAB)
        for gains in ("placement", "none")
    )
    kind, _, part = projection.partition(".")
    for layer, expected in enumerate(gain):
        ours, theirs = (getattr(m.layers[layer], kind).branch for m in (model, plain))
        if part in "qkv":
            ours, theirs = (branch.qkv.weight.chunk(3)["qkv".index(part)] for branch in (ours, theirs))
        else:
            attribute = part if hasattr(ours, part) else f"w_{part}"
            ours, theirs = (getattr(branch, attribute).weight for branch in (ours, theirs))
        torch.testing.assert_close(ours, expected * theirs)


def test_ngpt_s_stream_has_length_1_so_that_norming_it_again_changes_nothing(small):
    """The released code norms the skip too; where no positions are added, x has length 1 from the start."""
    model = GPT(
        small({"depth": 3, "model.positions": "rope"}, placement="ngpt", norm="l2norm"), VOCAB
    ).double()
    model.constrain()
    skips = []
    for block in model.layers:
        for sub in (block.attn, block.ffn):
            sub.register_forward_pre_hook(lambda module, inputs: skips.append(inputs[0]))
    model(torch.randint(VOCAB, (2, 8)))
    lengths = torch.cat(skips).norm(dim=-1)
    assert len(skips) == 6
    torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=1e-12, atol=0)

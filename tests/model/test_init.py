import dataclasses
import math

import pytest
import torch

from normlab.catalogue.inits import GAINS, INITS, selected, std, variables
from normlab.catalogue.placements import PLACEMENTS
from normlab.config import PROJECTIONS, InitConfig, laws
from normlab.errors import ConfigError
from normlab.model.gpt import GPT

VOCAB = 256


def weights(config):
    return {name: parameter.detach() for name, parameter in GPT(config, VOCAB).named_parameters()}


def matrices(config):
    """Each matrix by (projection, layer from 1; 0 outside the blocks), q, k and v one by one."""
    found = {}
    for name, weight in weights(config).items():
        words = name.split(".")
        layer = int(words[1]) + 1 if words[0] == "layers" else 0
        if name.endswith("qkv.weight"):
            found |= {
                (f"attn.{part}", layer): rows for part, rows in zip("qkv", weight.chunk(3), strict=True)
            }
        elif layer and words[3] == "branch":
            found[f"{words[2]}.{words[4].removeprefix('w_')}", layer] = weight
        elif "norm" not in name:
            found[{"tokens": "embedding", "weight": "head"}.get(words[1], words[1]), 0] = weight
    return found


def test_weights_depend_on_seed_and_name_alone(config_of):
    """Another norm, placement, activation and depth leave each matrix that both models have bit-identical."""
    one = weights(config_of({"depth": 3}))
    other = weights(config_of({"depth": 5}, norm="rmsnorm", placement="sandwich", activation="relu"))
    shared = [name for name in one if name in other and "norm" not in name]
    assert len(shared) == 3 * 4 + 3
    assert all(torch.equal(one[name], other[name]) for name in shared)
    again = weights(config_of({"depth": 3, "seed": 1}))
    assert not any(torch.equal(one[name], again[name]) for name in shared)
    assert len({float(one[name].flatten()[0]) for name in shared}) == len(shared)


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("gains", ["none", "wang", "deepnorm"])
def test_distributions_and_gains_only_scale_the_draw(init, gains, config_of):
    """Divided by its standard deviation, a matrix is the same whatever the init."""
    plain = matrices(config_of({"depth": 2}))
    drawn = matrices(config_of({"depth": 2, "init.gains": gains}, init=init))
    for key, weight in drawn.items():
        torch.testing.assert_close(weight / weight.std(), plain[key] / plain[key].std(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("init", "changes", "inside", "square", "edge"),
    [
        ("fan_in", {}, 0.7071 / math.sqrt(256), 0.7071 / 8, 64**-0.5),
        ("fan_in", {"init.gain": 1}, 1 / math.sqrt(256), 1 / 8, 64**-0.5),
        ("xavier", {}, math.sqrt(2 / 320), math.sqrt(2 / 128), 64**-0.5),
        ("xavier_normal", {}, math.sqrt(2 / 320), math.sqrt(2 / 128), 64**-0.5),
        ("normal", {}, 0.02, 0.02, 0.02),
        ("normal", {"init.std": 0.1, "init.embedding_std": 1.0, "init.head_std": 1.0}, 0.1, 0.1, 1.0),
        ("small_init", {}, math.sqrt(2 / 320), math.sqrt(2 / 320), math.sqrt(2 / 320)),
        ("small_init", {"init.gain": 2}, 2 * math.sqrt(2 / 320), 2 * math.sqrt(2 / 320), math.sqrt(2 / 320)),
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


def test_xavier_under_both_names_is_one_distribution_and_torchs(config_of):
    one, other = (weights(config_of({"depth": 1}, init=init)) for init in ("xavier", "xavier_normal"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    w_out = one["layers.0.ffn.branch.w_out.weight"]
    torchs = torch.nn.init.xavier_normal_(torch.empty(4 * 64, 64 * 16)).std().item()
    assert torchs == pytest.approx(math.sqrt(2 / (4 * 64 + 64 * 16)), rel=0.01)
    assert w_out.std().item() == pytest.approx(math.sqrt(2 / (64 + 256)), rel=0.03)


def test_small_init_is_the_published_number_at_width_2048():
    """0.01398, which HybridNorm's config states; and xavier's of a matrix from D to 4D."""
    config = INITS["small_init"].config
    at = variables(laws.variables(4, 2048), 2048, 8192)
    assert std(config, selected(config, {}), "ffn.in", at) == pytest.approx(0.01398, abs=5e-6)
    assert std(config, selected(config, {}), "ffn.in", at) == pytest.approx(math.sqrt(2 / (2048 + 8192)))


def test_positions_follow_the_embedding_unless_they_have_their_own(config_of):
    def edges(changes):
        drawn = weights(config_of({"depth": 1} | changes, init="normal"))
        return [drawn[f"embedding.{part}.weight"].std().item() for part in ("tokens", "positions")]

    assert edges({"init.embedding_std": 0.5}) == pytest.approx([0.5, 0.5], rel=0.04)
    assert edges({"init.position_std": 0.01}) == pytest.approx([0.02, 0.01], rel=0.04)  # GPT-2's


@pytest.mark.parametrize("cutoff", [1.0, 2.0, 3.0])
def test_truncated_weights_are_a_truncated_normal_and_the_rest_is_untouched(cutoff, config_of):
    plain, cut = (
        weights(config_of({"depth": 1, "init.truncate": k}, init="normal"))["layers.0.ffn.branch.w_in.weight"]
        for k in (None, cutoff)
    )
    near = plain.abs() <= cutoff * 0.02
    assert torch.equal(cut[near], plain[near]) and (~near).any()
    assert cut.abs().max() <= cutoff * 0.02
    density, mass = math.exp(-(cutoff**2) / 2) / math.sqrt(2 * math.pi), math.erf(cutoff / math.sqrt(2))
    shrunk = math.sqrt(1 - 2 * cutoff * density / mass)  # the textbook variance of a truncated normal
    assert cut.std().item() == pytest.approx(0.02 * shrunk, rel=0.02)
    again = weights(config_of({"depth": 1, "init.truncate": cutoff}, init="normal"))
    assert torch.equal(again["layers.0.ffn.branch.w_in.weight"], cut)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("truncate", 0.5),
        ("truncate", math.inf),
        ("truncate", math.nan),
        ("position_std", -1.0),
        ("gain", -1.0),
    ],
)
def test_bad_settings_are_named(key, value):
    with pytest.raises(ConfigError, match=f"init.{key}"):
        InitConfig(name="fan_in", **{key: value})


OUT, DEEP = ("attn.out", "ffn.out"), ("attn.v", "attn.out", "ffn.in", "ffn.out")
BLOCK = ("attn.q", "attn.k", "attn.v", "attn.out", "ffn.in", "ffn.gate", "ffn.out")


def times(projections, factor):
    """A scheme that multiplies: (projection, own std, L, layer, d, fan_in) -> std."""
    return lambda which, own, L, at, d, n: own * factor(L, at) if which in projections else own


def fixup(which, own, L, at, d, n):
    """Zhang et al. 2019: 2L branches of 4 matrices (attention) or 2; the last is 0, as is the head."""
    factors = dict.fromkeys(("attn.q", "attn.k", "attn.v"), (2 * L) ** (-1 / 6))
    factors |= {"ffn.in": (2 * L) ** (-1 / 2), "attn.out": 0, "ffn.out": 0, "head": 0}
    return own * factors.get(which, 1)


def tfixup(which, own, L, at, d, n):
    """Huang et al. 2020."""
    if which in ("embedding", "positions"):
        return own * (9 * L) ** -0.25
    return own * 0.67 * L**-0.25 if which in DEEP else own


#: The published schemes, written out: (projection, own std, L, layer, d, fan_in) -> std.
SCHEMES = {
    "gpt2": times(OUT, lambda L, at: 1 / math.sqrt(2 * L)),
    "megatron": times(OUT, lambda L, at: 1 / math.sqrt(2 * L)),
    "wang": lambda which, own, L, at, d, n: 2 / L / math.sqrt(d) if which in OUT else own,
    "mitchell": lambda which, own, L, at, d, n: 1 / math.sqrt(2 * n * at) if which in OUT else own,
    "depth_mup": times(OUT, lambda L, at: 1 / math.sqrt(2 * L)),  # L blocks have 2 L branches
    "b2t": times(BLOCK, lambda L, at: 1 / math.sqrt(L)),
    "deepnorm": times(DEEP, lambda L, at: (8 * L) ** -0.25),
    "deepnorm_glu_all": times((*DEEP, "ffn.gate"), lambda L, at: (8 * L) ** -0.25),
    "deepnorm_glm": times((*DEEP, "ffn.gate"), lambda L, at: 1 / math.sqrt(2 * L)),
    "deepnorm_inverted": times((*DEEP, "ffn.gate"), lambda L, at: (8 * L) ** 0.25),
    "subln": times(DEEP, lambda L, at: math.sqrt(math.log(2 * L))),
    "tfixup": tfixup,
    "fixup": fixup,
    "ds_init": times(BLOCK, lambda L, at: 1 / math.sqrt(at)),
    "post_ln_init": times(BLOCK, lambda L, at: 1 / (L - at + 1)),
}


def test_every_table_of_gains_has_its_scheme_here():
    assert SCHEMES.keys() == GAINS.keys()


@pytest.mark.parametrize("name", GAINS)
def test_gains_name_real_projections_once_and_say_where_they_are_from(name):
    row = GAINS[name]
    assert {*row.config.gain, *row.config.std} <= set(PROJECTIONS)
    assert not row.config.gain.keys() & row.config.std.keys()
    assert row.meaning and row.equation and row.source


@pytest.mark.parametrize("name", [name for name in GAINS if name in PLACEMENTS])
def test_a_placement_and_the_gains_of_its_name_are_the_same(name):
    assert PLACEMENTS[name].config.gains == GAINS[name].config.gain


@pytest.mark.parametrize(("depth", "width", "activation"), [(2, 32, "gelu"), (5, 16, "swiglu")])
@pytest.mark.parametrize("name", GAINS)
def test_drawn_matrices_are_those_of_the_published_scheme(name, depth, width, activation, config_of):
    """Each weight of each layer: the scheme's std over the distribution's, times the weight without."""
    changes = {"depth": depth, "model.width": width, "init.gain": 1.3}
    plain = matrices(config_of(changes | {"init.gains": "none"}, activation=activation, init="xavier"))
    drawn = matrices(config_of(changes | {"init.gains": name}, activation=activation, init="xavier"))
    assert drawn.keys() == plain.keys() and len(drawn) == 3 + depth * (7 if activation == "swiglu" else 6)
    for (which, layer), weight in plain.items():
        outputs, inputs = weight.shape
        own = width**-0.5 if layer == 0 else 1.3 * math.sqrt(2 / (inputs + outputs))
        wanted = SCHEMES[name](which, own, depth, layer, width, inputs)
        torch.testing.assert_close(drawn[which, layer], weight * (wanted / own), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", GAINS)
def test_measured_standard_deviation_is_the_laws(name, config_of):
    """Of 64 x 64 numbers and more: 5 % is four standard errors and a half."""
    config = config_of({"depth": 3, "init.gains": name}, activation="geglu")
    gains = selected(config.init, config.placement.gains)
    for (which, layer), weight in matrices(config).items():
        place = laws.variables(3, 64, max(layer, 1), int(which.startswith("ffn")))
        law = std(config.init, gains, which, variables(place, weight.shape[1], weight.shape[0]))
        assert weight.std().item() == pytest.approx(law, rel=0.05), (which, layer)


@pytest.mark.parametrize(
    ("depth", "deepnorm", "subln", "tfixup", "embedding", "gpt2"),
    [
        (2, 0.5000, 1.1774, 0.5634, 0.4855, 0.5000),
        (6, 0.3799, 1.5764, 0.4281, 0.3689, 0.2887),
        (12, 0.3195, 1.7827, 0.3600, 0.3102, 0.2041),
        (24, 0.2686, 1.9675, 0.3027, 0.2608, 0.1443),
        (48, 0.2259, 2.1364, 0.2545, 0.2193, 0.1021),
        (1000, 0.1057, 2.7570, 0.1191, 0.1027, 0.0224),
    ],
)
def test_constants_are_the_published_ones(depth, deepnorm, subln, tfixup, embedding, gpt2):
    def gain(name, projection):
        return laws.value(GAINS[name].config.gain[projection], laws.variables(depth, 64))

    close = {"abs": 0.51e-4}
    assert gain("deepnorm", "ffn.out") == pytest.approx(deepnorm, **close)
    assert gain("deepnorm_inverted", "ffn.out") == pytest.approx(1 / deepnorm, rel=1e-3)
    assert gain("subln", "attn.v") == pytest.approx(subln, **close)
    assert gain("tfixup", "attn.out") == pytest.approx(tfixup, **close)
    assert gain("tfixup", "embedding") == pytest.approx(embedding, **close)
    assert gain("gpt2", "attn.out") == pytest.approx(gpt2, **close)


def test_a_gate_keeps_its_size_under_deepnorm_unless_asked_otherwise(config_of):
    """So that the branch, a product of three matrices, shrinks by beta^2 as one of two does; else beta^3."""
    for name, power in (("none", 0), ("deepnorm", 2), ("deepnorm_glu_all", 3)):
        model, plain = (
            GPT(config_of({"depth": 8, "init.gains": gains}, activation="bilinear"), VOCAB).double()
            for gains in (name, "none")
        )
        x = torch.randn(3, 64, dtype=torch.float64)
        scaled = plain.layers[2].ffn.branch(x) * 64 ** (-power / 4)
        torch.testing.assert_close(model.layers[2].ffn.branch(x), scaled, rtol=1e-5, atol=1e-7)


def test_absolute_deviations_do_not_follow_the_distribution(config_of):
    """NeoX's output projections are 2/(L sqrt d) whatever else is drawn, and whatever init.gain."""
    name = "layers.1.ffn.branch.w_out.weight"
    drawn = [
        weights(config_of({"depth": 4, "init.gains": "wang"} | changes, init=init))[name]
        for init, changes in (("small_init", {}), ("normal", {}), ("fan_in", {"init.gain": 3.0}))
    ]
    assert all(torch.equal(drawn[0], other) for other in drawn)
    assert drawn[0].std().item() == pytest.approx(2 / 4 / 8, rel=0.02)


def test_laws_of_gains_know_the_sub_layer_of_their_matrix(config_of):
    """The placement's own gains, and with the feed-forward layer second in its block."""
    config = config_of({"depth": 2})
    placement = dataclasses.replace(
        config.placement, gains={"attn.out": "1/sublayer", "ffn.out": "1/sublayer"}
    )
    plain, own = matrices(config), matrices(dataclasses.replace(config, placement=placement))
    for key, factor in {
        ("attn.out", 1): 1,
        ("ffn.out", 1): 1 / 2,
        ("attn.out", 2): 1 / 3,
        ("ffn.out", 2): 1 / 4,
    }.items():
        torch.testing.assert_close(own[key], plain[key] * factor)


def test_a_fixup_model_starts_as_silence_and_its_head_learns_first(config_of):
    model = GPT(config_of({"depth": 2, "init.gains": "fixup"}, placement="none"), VOCAB)
    ids = torch.randint(VOCAB, (2, 8))
    assert torch.all(model(ids) == 0)
    torch.nn.functional.cross_entropy(model(ids).flatten(0, 1), ids.flatten()).backward()
    assert model.head.weight.grad.abs().sum() > 0
    assert all(p.grad.abs().sum() == 0 for p in model.layers.parameters())


def test_tied_head_is_the_embedding(config_of):
    model = GPT(config_of({"depth": 1, "model.tie": True}), VOCAB)
    assert model.head.weight is model.embedding.tokens.weight
    assert "head.weight" not in dict(model.named_parameters())


def test_linear_biases_start_at_zero_and_are_off_by_default(config_of):
    assert not any(name.endswith("w_in.bias") for name in weights(config_of({"depth": 1})))
    drawn = weights(config_of({"depth": 1, "model.bias": True}))
    biases = [value for name, value in drawn.items() if name.endswith(("qkv.bias", "out.bias", "w_in.bias"))]
    assert len(biases) == 4 and all(torch.all(bias == 0) for bias in biases)

"""The equations are what the model computes: they are evaluated with its own norms, branches and scales."""

import dataclasses

import pytest
import torch

from normlab.catalogue.placements import PLACEMENTS
from normlab.config import SCALES, ExceptionConfig, PlacementConfig, ScaleConfig
from normlab.describe import blocks, equations
from normlab.model.gpt import GPT
from normlab.model.residual import LearnedScale, ScheduledScale, Times

STEP = 3


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Numbers in full, where people get four digits."""
    for module in (blocks, equations):
        monkeypatch.setattr(module, "number", repr)


def build(config):
    """A model in float64 whose learned factors are not at their start."""
    torch.manual_seed(0)
    model = GPT(config, 11).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / 4)
    model.set_step(STEP)
    return model


def letters(sublayer, part):
    """What the names in an equation stand for."""
    norms = {"norm_in": sublayer.norm_in, "norm_out": sublayer.norm_out, "norm_post": sublayer.norm_post}
    norms["reads"] = getattr(sublayer.read, "norm", None)
    named = {name: norms[field] for field, name in equations.norm_names(part.record).items()}
    gates = {"stream": sublayer.stream_gate, "skip": sublayer.skip_gate, "none": None}
    scales = {blocks.LETTERS[name]: factor(getattr(sublayer, name)) for name in SCALES}
    return named | scales | {"A": sublayer.branch, "F": sublayer.branch, "G": gates[part.record.gpas]}


def factor(module):
    if isinstance(module, LearnedScale):
        return module.factor()
    return module.factor if isinstance(module, Times | ScheduledScale) else 1.0


def evaluate(equation, known):
    """x' and y' of the lines, one after the other."""
    known, found = dict(known), {}
    for line in equation.lines:
        name, _, text = line.partition(" = ")
        found[name] = eval(text, {"__builtins__": {}}, known)
        if "'" not in name:
            known[name] = found[name]
    return found["x'"], found.get("y'")


def check(config):
    model = build(config)
    seen = 0
    for group in blocks.groups(config):
        for layer in group.layers:
            block = model.layers[layer - 1]
            start, y = torch.randn(2, 2, 5, config.model.width, dtype=torch.float64)
            y = y if config.placement.second_stream else None
            streams = (start, y)
            for sublayer, part in zip((block.attn, block.ffn), group.parts, strict=True):
                wanted = sublayer(*streams, start)
                known = letters(sublayer, part) | {"x": streams[0], "y": streams[1], "x_block": start}
                got = evaluate(equations.sublayer(config, part), known)
                # A number in the text has the value of one block of the group.
                torch.testing.assert_close(got[0], wanted[0], rtol=1e-9, atol=1e-9)
                if y is not None:
                    torch.testing.assert_close(got[1], wanted[1], rtol=1e-9, atol=1e-9)
                streams, seen = wanted, seen + 1
    assert seen == 2 * config.depth


@pytest.mark.parametrize("name", PLACEMENTS)
def test_equations_of_every_placement_are_what_its_model_computes(name, small):
    check(small({"depth": 4}, placement=name))


@pytest.mark.parametrize("seed", range(25))
def test_equations_of_a_placement_made_at_random_too(seed, small, random_placement):
    check(dataclasses.replace(small({"depth": 3}), placement=random_placement(seed)))


def text_of(config):
    """All that the equations say."""
    found = []
    for group in blocks.groups(config):
        found += [equations.sublayer(config, part) for part in group.parts]
        found += equations.branches(config, group)
    return "\n".join(
        line for each in [*found, equations.ends(config)] for line in (*each.lines, *each.legends)
    )


@pytest.mark.parametrize(
    ("changes", "rows", "lines"),
    [
        ({}, {}, ["A(u) = W_out (softmax(q.k / sqrt(8)) v)", "q = W_q u, k = W_k u, v = W_v u"]),
        (
            {},
            {"placement": "olmo2"},
            ["q = N(W_q u), k = N(W_k u), v = W_v u", "q and k normed over all heads"],
        ),
        ({}, {"placement": "hybridnorm"}, ["v = N(W_v u)", "q and k normed in each head"]),
        ({}, {"placement": "subln"}, ["A(u) = W_out N_mid(softmax(q.k", "F(u) = W_out N_mid(gelu(W_in u))"]),
        ({}, {"placement": "gemma2"}, ["softmax(50.0 tanh(q.k / sqrt(8) / 50.0)) v"]),
        (
            {},
            {"placement": "normformer"},
            ["W_out (s_head * softmax(", "a: learned, one number a channel of"],
        ),
        (
            {},
            {"placement": "ngpt", "activation": "swiglu"},
            [
                "q = s * N(W_q u), k = s * N(W_k u)",
                "softmax(q.k * sqrt(8)) v",
                "F(u) = W_out (silu(g * W_gate u) * (s * W_in u))",
                "logits = s_token * W_head x",
            ],
        ),
        ({}, {"placement": "siamese"}, ["x_0 = N(e)", "y_0 = e", "logits = W_head N(x + N(y))"]),
        ({}, {"placement": "siamese_bare"}, ["y_0 = x_0", "logits = W_head (x + N(y))"]),
        ({}, {"placement": "peri"}, ["x_0 = N(E[token] + P[t])", "logits = W_head N(x)"]),
        (
            {"model.positions": "rope", "model.rope_fraction": 0.5},
            {},
            ["q = R(W_q u)", "first 4 channels of"],
        ),
        ({"model.positions": "alibi"}, {}, ["softmax(q.k / sqrt(8) - slope * distance)", "x_0 = E[token]\n"]),
        ({"model.kv_heads": 1}, {}, ["1 of 2 heads for k and v"]),
        (
            {"model.tie": True, "model.logit_softcap": 30.0, "model.logit_scale": "1/width"},
            {},
            ["logits = 30.0 tanh(0.0625 * E N(x) / 30.0)"],
        ),
        (
            {"model.embedding_scale": "sqrt(width)", "model.embedding_scale_learn": True},
            {},
            ["x_0 = s * E[token] + P[t]", "s: a learned number, 4.0 at the start"],
        ),
        (
            {},
            {"placement": "swin_v2"},
            ["softmax(tau * cos(q, k)) v", "tau: a learned", "the gain of N starts at 0"],
        ),
        (
            {},
            {"placement": "fixup"},
            [
                "q = W_q (u + c), k = W_k (u + c), v = W_v (u + c)",
                "A(u) = W_out ((softmax(q.k / sqrt(8)) v) + c_out)",
                "F(u) = W_out (gelu(W_in (u + c) + c_act) + c_out)",
                "logits = W_head (x + c)",
            ],
        ),
        ({"model.positions": "rope"}, {"placement": "ngpt"}, ["q = s * R(N(W_q u))"]),
        ({"model.embedding_scale": "sqrt(width)"}, {}, ["x_0 = 4.0 * E[token] + P[t]"]),
        ({}, {"activation": "bilinear"}, ["F(u) = W_out ((W_gate u) * (W_in u))"]),
        ({}, {"activation": "relu2"}, ["relu2(z) = max(0, z)^2"]),
        ({}, {"placement": "rezero"}, ["b: learned, one number a block, 0.0 at the start"]),
        ({}, {"placement": "skipinit"}, ["b: learned, one number a sub-layer, 0.0 at the start"]),
        ({"depth": 3}, {"placement": "lns"}, ["c = layer**-0.5: 1.0 in block 1 and 0.57735026918962"]),
        (
            {"depth": 3, "train.steps": 11},
            {"placement": "prores"},
            ["0.0 at step 0; 0.01 in block 1 and 0.00333333333333333", "in block 3 at step 10"],
        ),
        (
            {},
            {"placement": "parallel_shared"},
            ["x' = x + F(N(x_block))", "N here is the one that attention"],
        ),
    ],
)
def test_what_is_inside_and_at_the_ends_is_said(changes, rows, lines, small):
    text = text_of(small(changes, **rows))
    for line in lines:
        assert line in text, text


def test_a_law_that_differs_by_block_has_a_letter_and_one_that_does_not_a_number(small):
    record = PlacementConfig(
        name="mine", skip_scale=ScaleConfig(value="2*depth"), branch_scale=ScaleConfig(value="sublayer")
    )
    text = text_of(dataclasses.replace(small({"depth": 3}), placement=record))
    assert "x' = 6.0 * x + b * A(x)" in text
    assert "b = sublayer: 1.0 in block 1 and 5.0 in block 3" in text
    assert "b = sublayer: 2.0 in block 1 and 6.0 in block 3" in text


def test_blocks_of_one_structure_are_one_group_wherever_they_are(small):
    odd = ExceptionConfig(where="layer/2 - floor(layer/2)", set={"norm_post": True})
    config = dataclasses.replace(
        small({"depth": 5}), placement=PlacementConfig(name="mine", exceptions=[odd])
    )
    assert [blocks.ranges(group.layers) for group in blocks.groups(config)] == ["1, 3, 5", "2, 4"]

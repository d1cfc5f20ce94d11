"""Initial weights of presets against their papers' formulas, by the standard deviation of what is drawn."""

import pytest
import torch

from normlab.compose.from_words import compose
from normlab.model.gpt import GPT

VOCAB, DEPTH, WIDTH = 256, 3, 128
BETA, GLM = (8 * DEPTH) ** -0.25, (2 * DEPTH) ** -0.5
#: What is left of the deviation of a normal distribution that is cut at twice it.
CUT = 0.8796
GATED = 344  # 8/3 widths, up to a multiple of 8


def xavier(fan_in, fan_out, gain=1.0):
    return gain * (2 / (fan_in + fan_out)) ** 0.5


def same(std):
    parts = ("embedding", "q", "k", "v", "out", "ffn.in", "ffn.out")
    return dict.fromkeys(parts, std)


EXPECTED = {
    "transformer": {
        "embedding": WIDTH**-0.5,
        **dict.fromkeys(("q", "k", "v", "out"), xavier(WIDTH, WIDTH)),
        **dict.fromkeys(("ffn.in", "ffn.out"), xavier(WIDTH, 4 * WIDTH)),
    },
    "deepnet": {
        "embedding": WIDTH**-0.5,
        **dict.fromkeys(("q", "k"), xavier(WIDTH, WIDTH)),
        **dict.fromkeys(("v", "out"), xavier(WIDTH, WIDTH, BETA)),
        **dict.fromkeys(("ffn.in", "ffn.out"), xavier(WIDTH, 4 * WIDTH, BETA)),
    },
    "glm130b": {
        **dict.fromkeys(("q", "k"), xavier(WIDTH, WIDTH)),
        **dict.fromkeys(("v", "out"), xavier(WIDTH, WIDTH, GLM)),
        **dict.fromkeys(("ffn.gate", "ffn.in", "ffn.out"), xavier(WIDTH, GATED, GLM)),
    },
    "palm": {
        "embedding": 1.0,
        **dict.fromkeys(("q", "k", "v", "out", "ffn.gate", "ffn.in"), WIDTH**-0.5),
        "ffn.out": (4 * WIDTH) ** -0.5,
    },
    "cogview": same(0.02)
    | {"positions": 0.02}
    | dict.fromkeys(("out", "ffn.out"), 0.02 * (2 * DEPTH) ** -0.5),
    "bert": same(CUT * 0.02) | {"positions": CUT * 0.02},
    "roberta": same(0.02) | {"positions": 0.02},
    "xlnet": same(0.02),
    "swin_v2": same(0.02) | {"head": 0.02},
    # By its inputs as 0.02 is at width 1024; the embedding, times sqrt(width), starts at 1.
    "dyt_llama": same(0.02 * (1024 / WIDTH) ** 0.5)
    | {"embedding": WIDTH**-0.5, "ffn.out": 0.02 * (1024 / GATED) ** 0.5},
}
UNTIED = {"swin_v2", "dyt_llama"}


def drawn(preset):
    """The matrices by name, those of the last block for the blocks."""
    words = [f"preset={preset}", f"depth={DEPTH}", f"model.width={WIDTH}", "model.context=64"]
    model = GPT(compose(words), VOCAB)
    attn, ffn = model.layers[-1].attn.branch, model.layers[-1].ffn.branch
    found = dict(zip("qkv", attn.qkv.weight.split(attn.widths), strict=True))
    found |= {"out": attn.out.weight, "ffn.in": ffn.w_in.weight, "ffn.out": ffn.w_out.weight}
    if ffn.w_gate is not None:
        found["ffn.gate"] = ffn.w_gate.weight
    positions = dict(model.embedding.positions.named_parameters())
    found |= {"positions": positions["weight"]} if positions else {}
    return found | {"embedding": model.embedding.tokens.weight, "head": model.head.weight}


@pytest.mark.parametrize("preset", EXPECTED)
def test_initial_deviations_are_the_paper_s(preset):
    found = drawn(preset)
    assert (found["head"] is found["embedding"]) == (preset not in UNTIED)
    for part, std in EXPECTED[preset].items():
        assert found[part].std().item() == pytest.approx(std, rel=0.04), part


def test_bert_draws_nothing_further_out_than_twice_its_deviation():
    assert 0.039 < max(matrix.abs().max().item() for matrix in drawn("bert").values()) <= 0.04


def test_swin_v2_starts_with_silent_branches_and_dyt_llama_with_the_slopes_of_its_narrowest_model():
    words = [f"depth={DEPTH}", f"model.width={WIDTH}"]
    swin = GPT(compose(["preset=swin_v2", *words]), VOCAB).state_dict()
    dyt = GPT(compose(["preset=dyt_llama", *words]), VOCAB).state_dict()
    out_norms = [value for name, value in swin.items() if "norm_out" in name]
    assert len(out_norms) == 2 * 2 * DEPTH and not any(value.any() for value in out_norms)
    assert {value.item() for name, value in dyt.items() if name.endswith("alpha")} == {1.0}
    assert dyt["embedding.scale.weight"].item() == pytest.approx(WIDTH**0.5)


def test_every_vector_of_ngpt_starts_at_length_1():
    for part, matrix in drawn("ngpt").items():
        lengths = matrix.norm(dim=0 if part in ("out", "ffn.out") else 1)
        torch.testing.assert_close(lengths, torch.ones_like(lengths))

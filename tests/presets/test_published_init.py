"""A preset's initial weights at the size it was published with, as its paper or its code has them.

The library's models cannot tell: they draw nearly everything with one std of their own.
"""

import pytest

from normlab.catalogue import inits
from normlab.compose.from_words import compose
from normlab.config import laws
from normlab.model.gpt import GPT

#: Preset: (blocks, width, standard deviations).
PUBLISHED = {
    # openai/finetune-transformer-lm, train.py.
    "gpt1": (
        12,
        768,
        {"embedding": 0.02, "positions": 0.02, "attn.q": 0.02, "attn.out": 0.02, "ffn.out": 0.02},
    ),
    # 2205.01068, section 2.2: 0.006, by sqrt(2 * 24) on what writes into the stream.
    "opt_350m": (
        24,
        1024,
        {"embedding": 0.006, "positions": 0.006, "attn.k": 0.006, "attn.out": 8.66e-4, "ffn.out": 8.66e-4},
    ),
    # kingoflolz/mesh-transformer-jax, layers.py: 50400^-0.5, 4096^-0.5, 2 / 28 * 4096^-0.5.
    "gptj": (
        28,
        4096,
        {
            "embedding": 0.00445,
            "attn.v": 0.015625,
            "attn.out": 0.001116,
            "ffn.in": 0.015625,
            "ffn.out": 0.001116,
            "head": 0.015625,
        },
    ),
    # 2204.06745, section 2.1.4: sqrt(2 / (5 * 6144)), 2 / 44 * 6144^-0.5.
    "neox": (
        44,
        6144,
        {
            "embedding": 0.008069,
            "attn.q": 0.008069,
            "attn.out": 5.799e-4,
            "ffn.out": 5.799e-4,
            "head": 0.008069,
        },
    ),
    # bigscience-workshop/bigscience, tr11-176B-ml.slurm: 0.0048, and Megatron's by sqrt(2 * 70).
    "bloom": (70, 14336, {"embedding": 0.0048, "ffn.in": 0.0048, "attn.out": 4.057e-4, "ffn.out": 4.057e-4}),
    # `initializer_range` of the released configurations.
    "falcon": (32, 4544, {"embedding": 0.02, "attn.q": 0.02, "attn.out": 0.02, "ffn.out": 0.02}),
    "falcon_40b": (60, 8192, {"embedding": 0.02, "attn.q": 0.02, "attn.out": 0.02, "ffn.out": 0.02}),
}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_a_preset_draws_its_weights_as_published(preset):
    depth, width, published = PUBLISHED[preset]
    config = compose(
        [f"preset={preset}", f"depth={depth}", f"model.width={width}", f"model.heads={width // 64}"]
    )
    gains = inits.selected(config.init, config.placement.gains)
    for projection, std in published.items():
        fan_in = 4 * width if projection == "ffn.out" else width
        at = inits.variables(laws.variables(depth, width, 1, 0), fan_in=fan_in, fan_out=width)
        found = inits.std(config.init, gains, projection, at)
        assert found == pytest.approx(std, rel=1e-3), projection


def test_gptj_s_weights_lie_within_two_standard_deviations():
    """As haiku's TruncatedNormal has them."""
    model = GPT(compose(["preset=gptj", "depth=2", "model.width=64"]), vocab=256)
    attn, ffn = model.layers[0].attn.branch, model.layers[0].ffn.branch
    for weight, std in (
        (attn.qkv.weight, 64**-0.5),
        (attn.out.weight, 64**-0.5),
        (ffn.w_in.weight, 64**-0.5),
    ):
        assert 1.9 * std < weight.abs().max() <= 2 * std
    assert model.embedding.tokens.weight.abs().max() <= 2 * 0.00445


@pytest.mark.parametrize("preset", ["falcon", "falcon_40b"])
def test_falcon_s_z_loss_is_that_of_its_model_cards(preset):
    assert compose([f"preset={preset}"]).train.z_loss == 1e-4

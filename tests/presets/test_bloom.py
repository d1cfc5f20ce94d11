"""BLOOM (2211.05100) against transformers' BloomForCausalLM; nothing is left out."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import BloomConfig, BloomForCausalLM
from transformers.models.bloom.modeling_bloom import BloomGelu


def bloom(config):
    """The library's model; in float64 with the sqrt(2/pi) of its GELU, and of its slope, in full.

    It rounds them to eight and ten digits, which alone would make a difference of 1e-9.
    """
    model = BloomForCausalLM(config)
    if torch.get_default_dtype() is torch.float64:
        for block in model.transformer.h:
            block.mlp.gelu_impl = nn.GELU(approximate="tanh")
    return model


def mapping(theirs, depth, qkv):
    yield "embedding.tokens.weight", theirs["transformer.word_embeddings.weight"]
    for kind in ("weight", "bias"):
        yield f"embedding.norm.{kind}", theirs[f"transformer.word_embeddings_layernorm.{kind}"]
        yield f"final_norm.{kind}", theirs[f"transformer.ln_f.{kind}"]
    for layer in range(depth):
        here, there = f"layers.{layer}", f"transformer.h.{layer}"
        for kind in ("weight", "bias"):
            fused = theirs[f"{there}.self_attention.query_key_value.{kind}"]
            yield f"{here}.attn.norm_in.{kind}", theirs[f"{there}.input_layernorm.{kind}"]
            yield f"{here}.ffn.norm_in.{kind}", theirs[f"{there}.post_attention_layernorm.{kind}"]
            yield f"{here}.attn.branch.qkv.{kind}", qkv(fused)
            yield f"{here}.attn.branch.out.{kind}", theirs[f"{there}.self_attention.dense.{kind}"]
            yield f"{here}.ffn.branch.w_in.{kind}", theirs[f"{there}.mlp.dense_h_to_4h.{kind}"]
            yield f"{here}.ffn.branch.w_out.{kind}", theirs[f"{there}.mlp.dense_4h_to_h.{kind}"]


@pytest.mark.parametrize("heads, width", [(4, 32), (6, 48)], ids=["4_heads", "6_heads"])
def test_bloom_is_the_library_s(same_model, sizes, ungrouped, heads, width):
    """With a power of two of heads and without: its ALiBi has another rule there, and 176B has 112 heads."""
    config = BloomConfig(
        vocab_size=sizes.vocab,
        n_layer=sizes.depth,
        hidden_size=width,
        n_head=heads,
        attn_implementation="eager",
    )
    same_model(
        "bloom",
        lambda: bloom(config),
        lambda *of: mapping(*of, lambda rows: ungrouped(rows, heads, width // heads)),
        (f"model.width={width}", f"model.heads={heads}"),
    )


def test_the_library_s_gelu_is_the_tanh_approximation_but_for_its_digits():
    z = torch.linspace(-8, 8, 1001, dtype=torch.float64, requires_grad=True)
    theirs, ours = BloomGelu()(z), F.gelu(z, approximate="tanh")
    assert 0 < (theirs - ours).abs().max() < 1e-8
    slopes = [torch.autograd.grad(values.sum(), z)[0] for values in (theirs, ours)]
    assert 0 < (slopes[0] - slopes[1]).abs().max() < 1e-8

"""GPT-NeoX (2204.06745) against transformers' GPTNeoXForCausalLM; nothing is left out."""

import pytest
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

#: A quarter of a head is then two pairs, so that the base of the rotation matters.
WIDTH = 64


def mapping(theirs, depth, qkv):
    yield "embedding.tokens.weight", theirs["gpt_neox.embed_in.weight"]
    for layer in range(depth):
        here, there = f"layers.{layer}", f"gpt_neox.layers.{layer}"
        for kind in ("weight", "bias"):
            yield f"{here}.attn.norm_in.{kind}", theirs[f"{there}.input_layernorm.{kind}"]
            yield f"{here}.ffn.norm_in.{kind}", theirs[f"{there}.post_attention_layernorm.{kind}"]
            yield f"{here}.attn.branch.qkv.{kind}", qkv(theirs[f"{there}.attention.query_key_value.{kind}"])
            yield f"{here}.attn.branch.out.{kind}", theirs[f"{there}.attention.dense.{kind}"]
            yield f"{here}.ffn.branch.w_in.{kind}", theirs[f"{there}.mlp.dense_h_to_4h.{kind}"]
            yield f"{here}.ffn.branch.w_out.{kind}", theirs[f"{there}.mlp.dense_4h_to_h.{kind}"]
    for kind in ("weight", "bias"):
        yield f"final_norm.{kind}", theirs[f"gpt_neox.final_layer_norm.{kind}"]
    yield "head.weight", theirs["lm_head.weight"]


@pytest.mark.parametrize(
    "more, words",
    [({}, ()), ({"hidden_act": "gelu_fast"}, ("activation=gelu_tanh",))],
    ids=["neox", "20b"],
)
def test_neox_is_the_library_s(same_model, sizes, ungrouped, more, words):
    """`20b` has the activation of that model's configuration; its sqrt(2/pi) is rounded to ten digits."""
    config = GPTNeoXConfig(
        vocab_size=sizes.vocab,
        num_hidden_layers=sizes.depth,
        hidden_size=WIDTH,
        num_attention_heads=sizes.heads,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=sizes.context,
        attn_implementation="eager",
        **more,
    )
    same_model(
        "neox",
        lambda: GPTNeoXForCausalLM(config),
        lambda *of: mapping(*of, lambda rows: ungrouped(rows, sizes.heads, WIDTH // sizes.heads)),
        (f"model.width={WIDTH}", *words),
    )

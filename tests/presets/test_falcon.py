"""Falcon (2311.16867), 7B and 40B, against transformers' FalconForCausalLM; nothing is left out."""

from transformers import FalconConfig, FalconForCausalLM


def mapping(theirs, depth, norms, qkv):
    yield "embedding.tokens.weight", theirs["transformer.word_embeddings.weight"]
    for layer in range(depth):
        here, there = f"layers.{layer}", f"transformer.h.{layer}"
        fused = theirs[f"{there}.self_attention.query_key_value.weight"]
        yield f"{here}.attn.branch.qkv.weight", qkv(fused)
        yield f"{here}.attn.branch.out.weight", theirs[f"{there}.self_attention.dense.weight"]
        yield f"{here}.ffn.branch.w_in.weight", theirs[f"{there}.mlp.dense_h_to_4h.weight"]
        yield f"{here}.ffn.branch.w_out.weight", theirs[f"{there}.mlp.dense_4h_to_h.weight"]
        for kind in ("weight", "bias"):
            for branch, norm in norms.items():
                yield f"{here}.{branch}.norm_in.{kind}", theirs[f"{there}.{norm}.{kind}"]
    for kind in ("weight", "bias"):
        yield f"final_norm.{kind}", theirs[f"transformer.ln_f.{kind}"]


def falcon(sizes, **more):
    return FalconForCausalLM(
        FalconConfig(
            vocab_size=sizes.vocab,
            num_hidden_layers=sizes.depth,
            hidden_size=sizes.width,
            num_attention_heads=sizes.heads,
            max_position_embeddings=sizes.context,
            attn_implementation="eager",
            **more,
        )
    )


def test_falcon_is_the_library_s(same_model, sizes, ungrouped):
    """The default: multi-query, and one norm for both branches."""
    same_model(
        "falcon",
        lambda: falcon(sizes),
        lambda *of: mapping(
            *of, {"attn": "input_layernorm"}, lambda rows: ungrouped(rows, 1, sizes.width // sizes.heads)
        ),
    )


def test_falcon_40b_is_the_library_s(same_model, sizes, ungrouped):
    """`new_decoder_architecture` is what sets 40B apart, as in its configuration; the groups are a size."""
    same_model(
        "falcon_40b",
        lambda: falcon(sizes, new_decoder_architecture=True, num_kv_heads=2),
        lambda *of: mapping(
            *of,
            {"attn": "ln_attn", "ffn": "ln_mlp"},
            lambda rows: ungrouped(rows, 2, sizes.width // sizes.heads),
        ),
    )

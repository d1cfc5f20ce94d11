"""OPT (2205.01068) against transformers' OPTForCausalLM, with the norms of its 350M and of its other sizes.

Left out: the 350M's projections between its embeddings of width 512 and its stream of 1024. They are a size
here (`word_embed_proj_dim`, by default the stream's width), and the library's model is built without them.
Nothing else is: that its positions begin in the third row leaves two rows of the table that nothing reads.
"""

import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM


def mapping(theirs, depth, norm):
    yield "embedding.tokens.weight", theirs["model.decoder.embed_tokens.weight"]
    yield "embedding.positions.weight", theirs["model.decoder.embed_positions.weight"][2:]
    for layer in range(depth):
        here, there = f"layers.{layer}", f"model.decoder.layers.{layer}"
        for kind in ("weight", "bias"):
            yield f"{here}.attn.{norm}.{kind}", theirs[f"{there}.self_attn_layer_norm.{kind}"]
            yield f"{here}.ffn.{norm}.{kind}", theirs[f"{there}.final_layer_norm.{kind}"]
            qkv = [theirs[f"{there}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            yield f"{here}.attn.branch.qkv.{kind}", torch.cat(qkv)
            yield f"{here}.attn.branch.out.{kind}", theirs[f"{there}.self_attn.out_proj.{kind}"]
            yield f"{here}.ffn.branch.w_in.{kind}", theirs[f"{there}.fc1.{kind}"]
            yield f"{here}.ffn.branch.w_out.{kind}", theirs[f"{there}.fc2.{kind}"]
    if norm == "norm_in":
        for kind in ("weight", "bias"):
            yield f"final_norm.{kind}", theirs[f"model.decoder.final_layer_norm.{kind}"]


@pytest.mark.parametrize("placement, norm", [("post", "norm_post"), ("pre", "norm_in")], ids=["350m", "pre"])
def test_opt_is_the_library_s(same_model, sizes, placement, norm):
    config = OPTConfig(
        vocab_size=sizes.vocab,
        num_hidden_layers=sizes.depth,
        hidden_size=sizes.width,
        num_attention_heads=sizes.heads,
        ffn_dim=4 * sizes.width,
        max_position_embeddings=sizes.context,
        # What sets the 350M apart from the default, as in its released configuration.
        do_layer_norm_before=placement == "pre",
        # No token of ours is padding, whose embedding the library gives no gradient.
        pad_token_id=None,
        attn_implementation="eager",
    )
    # The preset says post itself.
    words = () if placement == "post" else (f"placement={placement}",)
    same_model("opt_350m", lambda: OPTForCausalLM(config), lambda *of: mapping(*of, norm), words)

"""GPT-1 (Radford et al. 2018) against transformers' OpenAIGPTLMHeadModel; nothing is left out."""

from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel


def mapping(theirs, depth):
    yield "embedding.tokens.weight", theirs["transformer.tokens_embed.weight"]
    yield "embedding.positions.weight", theirs["transformer.positions_embed.weight"]
    for layer in range(depth):
        here, there = f"layers.{layer}", f"transformer.h.{layer}"
        for kind in ("weight", "bias"):
            yield f"{here}.attn.norm_post.{kind}", theirs[f"{there}.ln_1.{kind}"]
            yield f"{here}.ffn.norm_post.{kind}", theirs[f"{there}.ln_2.{kind}"]
            # Its Conv1D holds (in, out).
            yield f"{here}.attn.branch.qkv.{kind}", theirs[f"{there}.attn.c_attn.{kind}"].t()
            yield f"{here}.attn.branch.out.{kind}", theirs[f"{there}.attn.c_proj.{kind}"].t()
            yield f"{here}.ffn.branch.w_in.{kind}", theirs[f"{there}.mlp.c_fc.{kind}"].t()
            yield f"{here}.ffn.branch.w_out.{kind}", theirs[f"{there}.mlp.c_proj.{kind}"].t()


def test_gpt1_is_the_library_s(same_model, sizes):
    config = OpenAIGPTConfig(
        vocab_size=sizes.vocab,
        n_layer=sizes.depth,
        n_embd=sizes.width,
        n_head=sizes.heads,
        n_positions=sizes.context,
        attn_implementation="eager",
    )
    same_model("gpt1", lambda: OpenAIGPTLMHeadModel(config), mapping)

"""XLNet's block from left to right against transformers' XLNetLMHeadModel with attn_type="uni".

Left out of the library's model, as constants of 0: what it knows of positions (`r`, `r_r_bias`, `r_w_bias`)
and of sentences (`r_s_bias`, `seg_embed`), and the vector of masked tokens, which it does not use here.
Compared without positions: the preset's rotary ones stand in for the library's.
"""

import torch
from transformers import XLNetConfig, XLNetLMHeadModel


def mapping(theirs, depth):
    yield "embedding.tokens.weight", theirs["transformer.word_embedding.weight"]
    for layer in range(depth):
        here, there = f"layers.{layer}", f"transformer.layer.{layer}"
        # (D, H, K), the width that attention reads or writes first.
        qkv = [theirs[f"{there}.rel_attn.{part}"].flatten(1).t() for part in "qkv"]
        yield f"{here}.attn.branch.qkv.weight", torch.cat(qkv)
        yield f"{here}.attn.branch.out.weight", theirs[f"{there}.rel_attn.o"].flatten(1)
        for kind in ("weight", "bias"):
            yield f"{here}.attn.norm_post.{kind}", theirs[f"{there}.rel_attn.layer_norm.{kind}"]
            yield f"{here}.ffn.branch.w_in.{kind}", theirs[f"{there}.ff.layer_1.{kind}"]
            yield f"{here}.ffn.branch.w_out.{kind}", theirs[f"{there}.ff.layer_2.{kind}"]
            yield f"{here}.ffn.norm_post.{kind}", theirs[f"{there}.ff.layer_norm.{kind}"]
    yield "head.bias", theirs["lm_loss.bias"]


def hold_at_zero(module, *names):
    for name in names:
        zeros = torch.zeros_like(getattr(module, name))
        delattr(module, name)
        module.register_buffer(name, zeros)


def test_xlnet_s_block_is_the_library_s(same_model, sizes):
    config = XLNetConfig(
        vocab_size=sizes.vocab,
        n_layer=sizes.depth,
        d_model=sizes.width,
        n_head=sizes.heads,
        d_inner=4 * sizes.width,
        ff_activation="gelu_new",
        attn_type="uni",
    )

    def library():
        model = XLNetLMHeadModel(config)
        hold_at_zero(model.transformer, "mask_emb")
        for layer in model.transformer.layer:
            hold_at_zero(layer.rel_attn, "r", "r_r_bias", "r_w_bias", "r_s_bias", "seg_embed")
        return model

    same_model("xlnet", library, mapping, ("model.positions=none",))

"""GPT-J (Wang, Komatsuzaki 2021) against transformers' GPTJForCausalLM; nothing is left out."""

import torch
from transformers import GPTJConfig, GPTJForCausalLM

#: Four of the sixteen channels of a head: two pairs, whose order and base then matter.
WIDTH, ROTARY = 64, 4


def halves(rows, heads):
    """Rows of q or k with the channels of each head's pairs (0, 1), (2, 3) as (0, 2), (1, 3).

    Their dot products are the same, and normlab turns channel i with i + ROTARY/2.
    """
    rows = rows.unflatten(0, (heads, -1))
    return torch.cat([rows[:, :ROTARY:2], rows[:, 1:ROTARY:2], rows[:, ROTARY:]], dim=1).flatten(0, 1)


def mapping(theirs, depth, heads):
    yield "embedding.tokens.weight", theirs["transformer.wte.weight"]
    for layer in range(depth):
        here, there = f"layers.{layer}", f"transformer.h.{layer}"
        q, k, v = (theirs[f"{there}.attn.{part}_proj.weight"] for part in "qkv")
        yield f"{here}.attn.branch.qkv.weight", torch.cat([halves(q, heads), halves(k, heads), v])
        yield f"{here}.attn.branch.out.weight", theirs[f"{there}.attn.out_proj.weight"]
        for kind in ("weight", "bias"):
            yield f"{here}.attn.norm_in.{kind}", theirs[f"{there}.ln_1.{kind}"]
            yield f"{here}.ffn.branch.w_in.{kind}", theirs[f"{there}.mlp.fc_in.{kind}"]
            yield f"{here}.ffn.branch.w_out.{kind}", theirs[f"{there}.mlp.fc_out.{kind}"]
    for kind in ("weight", "bias"):
        yield f"final_norm.{kind}", theirs[f"transformer.ln_f.{kind}"]
        yield f"head.{kind}", theirs[f"lm_head.{kind}"]


def test_gptj_is_the_library_s(same_model, sizes):
    config = GPTJConfig(
        vocab_size=sizes.vocab,
        n_layer=sizes.depth,
        n_embd=WIDTH,
        n_head=sizes.heads,
        n_positions=sizes.context,
        # A size: a quarter of a head, as the default's 64 are of its 256.
        rotary_dim=ROTARY,
        attn_implementation="eager",
    )
    words = (f"model.width={WIDTH}",)
    same_model("gptj", lambda: GPTJForCausalLM(config), lambda *of: mapping(*of, sizes.heads), words)

"""Gemma 3 (2503.19786) against transformers' Gemma3ForCausalLM; no parameter is left out.

The local layers of the library's see the last 4096 tokens alone: as full attention in a context below.
"""

import pytest
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

MAPPED = {
    "attn.norm_in": "input_layernorm",
    "attn.norm_out": "post_attention_layernorm",
    "ffn.norm_in": "pre_feedforward_layernorm",
    "ffn.norm_out": "post_feedforward_layernorm",
    "attn.branch.q_norm.norm": "self_attn.q_norm",
    "attn.branch.k_norm.norm": "self_attn.k_norm",
}


@pytest.mark.parametrize(
    ("kind", "words"), [("sliding", ()), ("full", ("model.rope_base=1e6",))], ids=["local", "global"]
)
def test_gemma3_is_the_library_s(kind, words, same_model, sizes, llama_names):
    """Layers of one kind, for normlab has one rotary base: all local, as in the preset, or all global.

    The library divides attention logits by sqrt(256), its head width, so here by that of a head here. No
    token is set apart for padding: the library would give it no gradient as an input.
    """
    head_width = sizes.width // sizes.heads
    config = Gemma3TextConfig(
        **sizes.llama,
        num_key_value_heads=sizes.heads // 2,
        head_dim=head_width,
        query_pre_attn_scalar=head_width,
        intermediate_size=4 * sizes.width,
        layer_types=[f"{kind}_attention"] * sizes.depth,
        pad_token_id=None,
    )
    same_model("gemma3", lambda: Gemma3ForCausalLM(config), llama_names(MAPPED), words)

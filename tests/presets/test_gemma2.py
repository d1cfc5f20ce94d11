"""Gemma 2 (2408.00118) against transformers' Gemma2ForCausalLM; no parameter is left out.

Every second layer of the library's sees the last 4096 tokens alone: as full attention in a context below.
"""

from transformers import Gemma2Config, Gemma2ForCausalLM

NORMS = {
    "attn.norm_in": "input_layernorm",
    "attn.norm_out": "post_attention_layernorm",
    "ffn.norm_in": "pre_feedforward_layernorm",
    "ffn.norm_out": "post_feedforward_layernorm",
}


def test_gemma2_is_the_library_s(same_model, sizes, llama_names):
    """The library divides attention logits by sqrt(256), its head width, so here by that of a head here.

    No token is set apart for padding: the library would give it no gradient as an input.
    """
    head_width = sizes.width // sizes.heads
    config = Gemma2Config(
        **sizes.llama,
        num_key_value_heads=sizes.heads // 2,
        head_dim=head_width,
        query_pre_attn_scalar=head_width,
        intermediate_size=4 * sizes.width,
        pad_token_id=None,
    )
    same_model("gemma2", lambda: Gemma2ForCausalLM(config), llama_names(NORMS))

"""Gemma (2403.08295) against transformers' GemmaForCausalLM; no part is left out."""

from transformers import GemmaConfig, GemmaForCausalLM

NORMS = {"attn.norm_in": "input_layernorm", "ffn.norm_in": "post_attention_layernorm"}


def test_gemma_is_the_library_s(same_model, sizes, llama_names):
    """No token is set apart for padding: the library would give it no gradient as an input."""
    config = GemmaConfig(
        **sizes.llama,
        num_key_value_heads=sizes.heads,
        head_dim=sizes.width // sizes.heads,
        intermediate_size=8 * sizes.width,
        pad_token_id=None,
    )
    same_model("gemma", lambda: GemmaForCausalLM(config), llama_names(NORMS))

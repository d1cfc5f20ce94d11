"""Qwen3 (2505.09388) against transformers' Qwen3ForCausalLM; no part is left out."""

from transformers import Qwen3Config, Qwen3ForCausalLM

MAPPED = {
    "attn.norm_in": "input_layernorm",
    "ffn.norm_in": "post_attention_layernorm",
    "attn.branch.q_norm.norm": "self_attn.q_norm",
    "attn.branch.k_norm.norm": "self_attn.k_norm",
}


def test_qwen3_is_the_library_s(same_model, sizes, llama_names):
    """Rotary base and tied embeddings are the released 1.7B's; the library's defaults are no Qwen3's."""
    config = Qwen3Config(
        **sizes.llama,
        num_key_value_heads=sizes.heads // 2,
        head_dim=sizes.width // sizes.heads,
        intermediate_size=3 * sizes.width,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        tie_word_embeddings=True,
    )
    same_model("qwen3", lambda: Qwen3ForCausalLM(config), llama_names(MAPPED))

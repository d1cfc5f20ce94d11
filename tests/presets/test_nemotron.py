"""Nemotron-4 (2402.16819) against transformers' NemotronForCausalLM; no part is left out."""

from transformers import NemotronConfig, NemotronForCausalLM

NORMS = {"attn.norm_in": "input_layernorm", "ffn.norm_in": "post_attention_layernorm"}


def test_nemotron_is_the_library_s(same_model, sizes, llama_names):
    config = NemotronConfig(
        **sizes.llama, num_key_value_heads=sizes.heads // 2, intermediate_size=4 * sizes.width
    )
    same_model("nemotron", lambda: NemotronForCausalLM(config), llama_names(NORMS))

"""LLaMA (2302.13971) against transformers' LlamaForCausalLM; nothing is left out."""

from transformers import LlamaConfig, LlamaForCausalLM

NORMS = {"attn.norm_in": "input_layernorm", "ffn.norm_in": "post_attention_layernorm"}


def test_llama_is_the_library_s(same_model, sizes, llama_names):
    config = LlamaConfig(**sizes.llama, intermediate_size=88)
    same_model("llama", lambda: LlamaForCausalLM(config), llama_names(NORMS))

"""OLMo (2402.00838) against transformers' OlmoForCausalLM; no part of the 7B is left out.

Its successor OLMo 1.7 clips queries, keys and values at 8 (`clip_qkv`), which normlab lacks.
"""

from transformers import OlmoConfig, OlmoForCausalLM


def test_olmo_is_the_library_s(same_model, sizes, llama_names):
    """No token is set apart for padding: the library would give it no gradient as an input."""
    config = OlmoConfig(**sizes.llama, intermediate_size=88, pad_token_id=None)
    same_model("olmo", lambda: OlmoForCausalLM(config), llama_names({}))

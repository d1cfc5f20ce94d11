"""OLMo 2 (2501.00656) against transformers' Olmo2ForCausalLM; no part is left out."""

from transformers import Olmo2Config, Olmo2ForCausalLM

from normlab.compose.from_words import compose

MAPPED = {
    "attn.norm_out": "post_attention_layernorm",
    "ffn.norm_out": "post_feedforward_layernorm",
    "attn.branch.q_norm": "self_attn.q_norm",
    "attn.branch.k_norm": "self_attn.k_norm",
}


def test_olmo2_is_the_library_s(same_model, sizes, llama_names):
    """Rotary base and eps are those of the released models; the library's defaults are OLMo 1's.

    No token is set apart for padding: the library would give it no gradient as an input.
    """
    config = Olmo2Config(
        **sizes.llama,
        intermediate_size=88,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        rms_norm_eps=1e-6,
        pad_token_id=None,
    )
    same_model("olmo2", lambda: Olmo2ForCausalLM(config), llama_names(MAPPED))


def test_olmo2_trains_with_its_released_loss():
    """OLMo2-7B-stage1.yaml of its code: `auxiliary_loss_multiplier` and `decay_embeddings: false`."""
    config = compose(["preset=olmo2"])
    assert (config.train.z_loss, config.optimizer.decay) == (1e-5, "no_embeddings")

"""Command R (c4ai-command-r-v01) against transformers' CohereForCausalLM.

Left out: the norms of queries and keys that Command R+ has (`use_qk_norm`, off by default), whose gains
differ from head to head.
"""

from transformers import CohereConfig, CohereForCausalLM

#: One norm feeds both branches.
NORMS = {"attn.norm_in": "input_layernorm"}


def test_cohere_is_the_library_s(same_model, sizes, llama_names):
    """The library turns channels 2i and 2i + 1 of a head together, normlab i and i + half a head.

    With the rows of the query and key projections in that order the logits q.k are the same sum.
    The rotary base is the released one. No token is set apart for padding: the library would give it no
    gradient as an input.
    """

    def rows(part, weight):
        if part == "v":
            return weight
        pairs = weight.unflatten(0, (sizes.heads, -1, 2))
        return pairs.transpose(1, 2).flatten(0, 2)

    config = CohereConfig(
        **sizes.llama,
        intermediate_size=11 * sizes.width // 4,
        rope_parameters={"rope_type": "default", "rope_theta": 8000000.0},
        pad_token_id=None,
    )
    same_model("cohere", lambda: CohereForCausalLM(config), llama_names(NORMS, rows))

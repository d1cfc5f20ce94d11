"""LLaMA (2302.13971) against transformers' LlamaForCausalLM; nothing is left out."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def mapping(theirs, depth):
    yield "embedding.tokens.weight", theirs["model.embed_tokens.weight"]
    for layer in range(depth):
        here, there = f"layers.{layer}", f"model.layers.{layer}"
        qkv = [theirs[f"{there}.self_attn.{part}_proj.weight"] for part in "qkv"]
        yield f"{here}.attn.norm_in.weight", theirs[f"{there}.input_layernorm.weight"]
        yield f"{here}.attn.branch.qkv.weight", torch.cat(qkv)
        yield f"{here}.attn.branch.out.weight", theirs[f"{there}.self_attn.o_proj.weight"]
        yield f"{here}.ffn.norm_in.weight", theirs[f"{there}.post_attention_layernorm.weight"]
        yield f"{here}.ffn.branch.w_gate.weight", theirs[f"{there}.mlp.gate_proj.weight"]
        yield f"{here}.ffn.branch.w_in.weight", theirs[f"{there}.mlp.up_proj.weight"]
        yield f"{here}.ffn.branch.w_out.weight", theirs[f"{there}.mlp.down_proj.weight"]
    yield "final_norm.weight", theirs["model.norm.weight"]
    yield "head.weight", theirs["lm_head.weight"]


def test_llama_is_the_library_s(same_model, sizes):
    config = LlamaConfig(
        vocab_size=sizes.vocab,
        num_hidden_layers=sizes.depth,
        hidden_size=sizes.width,
        num_attention_heads=sizes.heads,
        intermediate_size=88,
        attn_implementation="eager",
    )
    same_model("llama", lambda: LlamaForCausalLM(config), mapping)

"""BERT and RoBERTa, attending both ways, against transformers' BertForMaskedLM and RobertaForMaskedLM.

Left out of the library's models, each in its place by something that does nothing: the embeddings of
sentences, and the layer, activation and norm between the last block and the head. Every token counts: no id
stands for padding.
"""

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM, RobertaConfig, RobertaForMaskedLM


class Zero(nn.Module):
    """Embeddings of sentences that add nothing."""

    def forward(self, ids):
        return torch.zeros(())


def mapping(stem):
    """From the library's names, which start with `stem` but for the head's bias."""
    bias = {"bert": "cls.predictions.bias", "roberta": "lm_head.bias"}[stem]

    def mapped(theirs, depth):
        yield "embedding.tokens.weight", theirs[f"{stem}.embeddings.word_embeddings.weight"]
        yield "embedding.positions.weight", theirs[f"{stem}.embeddings.position_embeddings.weight"]
        for layer in range(depth):
            here, there = f"layers.{layer}", f"{stem}.encoder.layer.{layer}"
            for kind in ("weight", "bias"):
                qkv = [theirs[f"{there}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
                yield f"{here}.attn.branch.qkv.{kind}", torch.cat(qkv)
                yield f"{here}.attn.branch.out.{kind}", theirs[f"{there}.attention.output.dense.{kind}"]
                yield f"{here}.attn.norm_post.{kind}", theirs[f"{there}.attention.output.LayerNorm.{kind}"]
                yield f"{here}.ffn.branch.w_in.{kind}", theirs[f"{there}.intermediate.dense.{kind}"]
                yield f"{here}.ffn.branch.w_out.{kind}", theirs[f"{there}.output.dense.{kind}"]
                yield f"{here}.ffn.norm_post.{kind}", theirs[f"{there}.output.LayerNorm.{kind}"]
        for kind in ("weight", "bias"):
            yield f"embedding.norm.{kind}", theirs[f"{stem}.embeddings.LayerNorm.{kind}"]
        yield "head.bias", theirs[bias]

    return mapped


def settings(sizes):
    return {
        "vocab_size": sizes.vocab,
        "num_hidden_layers": sizes.depth,
        "hidden_size": sizes.width,
        "num_attention_heads": sizes.heads,
        "intermediate_size": 4 * sizes.width,
        "max_position_embeddings": sizes.context,
        "attn_implementation": "eager",
    }


def without_padding(model):
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.padding_idx = None
    return model


def test_bert_is_the_library_s(same_model, sizes):
    def library():
        model = BertForMaskedLM(BertConfig(**settings(sizes)))
        model.bert.embeddings.token_type_embeddings = Zero()
        model.cls.predictions.transform = nn.Identity()
        return without_padding(model)

    same_model("bert", library, mapping("bert"))


def test_roberta_is_the_library_s(same_model, sizes):
    def library():
        # Of no token: positions count from 0, where the released model keeps two rows for padding.
        model = RobertaForMaskedLM(RobertaConfig(**settings(sizes), layer_norm_eps=1e-5, pad_token_id=-1))
        model.roberta.embeddings.token_type_embeddings = Zero()
        model.lm_head.forward = model.lm_head.decoder.forward
        del model.lm_head.dense, model.lm_head.layer_norm
        return without_padding(model)

    same_model("roberta", library, mapping("roberta"))


@pytest.mark.parametrize(("preset", "eps"), [("bert", 1e-12), ("roberta", 1e-5)])
def test_their_only_difference_is_eps_and_how_far_weights_start_out(preset, eps, sizes):
    from normlab.compose.from_words import compose

    config = compose([f"preset={preset}", *sizes.words])
    assert (config.norm.eps, config.init.truncate) == (eps, 2 if preset == "bert" else None)

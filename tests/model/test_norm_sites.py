"""Settings of a norm that differ by where in the model it stands, and the factor on the embedding."""

import dataclasses
import re

import pytest
import torch

from normlab.catalogue.norms import NORMS
from normlab.model.gpt import GPT, site
from normlab.model.norms.base import Norm

CURVES = ("dyt", "derf", "isru")
SLOPES = {"norm.alpha_attn": 0.8, "norm.alpha_ffn": 0.2, "norm.alpha_final": 0.3}


def slopes(config):
    """The slope of each norm of a model, by where it stands."""
    named = GPT(config, 11).named_modules()
    found = {name: module.alpha.item() for name, module in named if isinstance(module, Norm)}
    return {
        re.sub(r"layers\.\d+\.(attn|ffn)\..*", r"\1", name): alpha for name, alpha in found.items()
    }, found


@pytest.mark.parametrize("norm", CURVES)
@pytest.mark.parametrize("placement", ["peri", "siamese", "gemma3", "subln", "hybridnorm_star"])
def test_a_slope_is_that_of_its_site(norm, placement, small):
    """Norms inside a branch, of queries and keys too, are of that branch's site."""
    by_site, named = slopes(small(SLOPES, norm=norm, placement=placement))
    wanted = {"attn": 0.8, "ffn": 0.2, "final_norm": 0.3, "embedding.norm": 0.5}
    wanted |= {"streams.first_norm": 0.5, "streams.joint_norm": 0.3}
    assert by_site == pytest.approx({place: wanted[place] for place in by_site})
    assert {"attn", "ffn", "final_norm"} <= by_site.keys()
    assert all(
        alpha == pytest.approx(wanted["attn" if ".attn." in name else "ffn"])
        for name, alpha in named.items()
        if name.startswith("layers.")
    )


@pytest.mark.parametrize("norm", CURVES)
def test_without_slopes_of_their_own_all_sites_have_one(norm, small):
    assert set(slopes(small({"norm.alpha": 0.25}, norm=norm, placement="peri"))[1].values()) == {0.25}


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_without_such_settings_is_the_same_everywhere(name):
    config = NORMS[name].config
    assert all(config.at(place) == config for place in ("attn", "ffn", "embedding", "final"))


def test_a_slope_of_a_site_keeps_the_other_settings():
    config = dataclasses.replace(NORMS["dyt"].config, alpha=0.7, alpha_ffn=0.1, bias=False)
    assert config.at("ffn") == dataclasses.replace(config, alpha=0.1)


@pytest.mark.parametrize("positions", ["learned", "rope"])
def test_the_embedding_s_factor_can_be_learned_from_its_law_on(positions, small):
    """As DyT's LLaMA has it: at the start the same model, and one number more to learn."""
    fixed = {"model.embedding_scale": "sqrt(width)", "model.positions": positions}
    learned = fixed | {"model.embedding_scale_learn": True}
    ours, theirs = (GPT(small(changes), 11).double() for changes in (learned, fixed))
    ids = torch.randint(11, (2, 8))
    assert torch.equal(ours(ids), theirs(ids))
    names = [[name for name, _ in model.named_parameters()] for model in (ours, theirs)]
    assert set(names[0]) - set(names[1]) == {"embedding.scale.weight"}
    assert ours.embedding.scale.weight.item() == 4 and site("embedding.scale.weight") == ("embedding", "")
    with torch.no_grad():
        ours.embedding.scale.weight.fill_(-1.5)
    x = -1.5 * ours.embedding.tokens(ids)
    torch.testing.assert_close(ours.embedding(ids), ours.embedding.positions(x))
    ours(ids).square().mean().backward()
    assert ours.embedding.scale.weight.grad.abs() > 0

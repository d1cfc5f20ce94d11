import math
import re

import pytest
import torch
import torch.nn.functional as F

from normlab.catalogue.placements import PLACEMENTS
from normlab.measure.gradients import GradientNorms
from normlab.measure.instrument import copied
from normlab.measure.layout import Layout
from normlab.model.gpt import GPT, site

KINDS = {"attn.qkv", "attn.out", "ffn.in", "ffn.out"}


def trained(config):
    """A model with gradients, and the same gradients by torch.autograd.grad."""
    model, ids = GPT(config, 11), torch.randint(11, (4, 9))
    loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    named = dict(model.named_parameters())
    reference = dict(
        zip(named, torch.autograd.grad(loss, list(named.values()), retain_graph=True), strict=True)
    )
    loss.backward()
    return model, reference


def norms(model):
    measured = GradientNorms(Layout(model, site))
    return copied(measured.measure(detail=True))


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
def test_norms_equal_plain_autograd(placement, activation, small):
    torch.manual_seed(0)
    model, reference = trained(small({"model.bias": True}, placement=placement, activation=activation))
    values = norms(model)
    expected: dict[str, float] = {"grad_norm/global": 0.0}
    for name, gradient in reference.items():
        place, kind = site(name)
        for key in {"grad_norm/global", f"grad_norm/{place}", f"grad_norm/{place}/{kind}".rstrip("/")}:
            expected[key] = expected.get(key, 0.0) + gradient.double().square().sum().item()
    assert {key for key in values if key.startswith("grad_norm/")} == {*expected, "grad_norm/first_to_last"}
    for key, square in expected.items():
        assert values[key] == pytest.approx(square**0.5, rel=1e-6), key


def test_places_partition_the_global_norm_and_kinds_partition_a_layer(small):
    model, _ = trained(small())
    values = norms(model)
    places = [
        key for key in values if re.fullmatch(r"grad_norm/[a-z]+(_norm|_\d\d)?", key) and "global" not in key
    ]
    assert len(places) == 2 + 3
    assert sum(values[key] ** 2 for key in places) ** 0.5 == pytest.approx(
        values["grad_norm/global"], rel=1e-6
    )
    kinds = {key.split("/")[2] for key in values if key.startswith("grad_norm/layer_01/")}
    assert kinds == KINDS | {"norm"}
    square = sum(values[f"grad_norm/layer_01/{kind}"] ** 2 for kind in kinds)
    assert square**0.5 == pytest.approx(values["grad_norm/layer_01"], rel=1e-6)
    sizes = Layout(model, site).sizes
    assert sum(sizes.values()) == sum(p.numel() for p in model.parameters())
    for place, size in sizes.items():
        assert values[f"grad_rms/{place}"] == pytest.approx(values[f"grad_norm/{place}"] / size**0.5)
    first_to_last = values["grad_norm/layer_00"] / values["grad_norm/layer_01"]
    assert values["grad_norm/first_to_last"] == pytest.approx(first_to_last)


def test_a_tied_head_counts_once_as_embedding(small):
    model, _ = trained(small({"model.tie": True}))
    layout = Layout(model, site)
    assert "grad_norm/embedding" in norms(model) and "grad_norm/head" not in norms(model)
    assert sum(layout.sizes.values()) == sum(p.numel() for p in model.parameters())


def test_without_detail_there_is_the_global_norm_alone_and_it_is_the_same(small):
    model, _ = trained(small())
    measured = GradientNorms(Layout(model, site))
    brief, full = (copied(measured.measure(detail=detail)) for detail in (False, True))
    assert list(brief) == ["grad_norm/global"] and brief.items() <= full.items()


def test_large_finite_gradients_do_not_overflow_the_sum(small):
    model, _ = trained(small())
    for parameter in model.parameters():
        parameter.grad.fill_(3e17)
    assert all(math.isfinite(value) for value in norms(model).values())


def test_nan_spoils_its_own_site_only(small):
    model, _ = trained(small())
    model.layers[1].ffn.branch.w_in.weight.grad[0, 0] = torch.nan
    values = norms(model)
    bad = {key for key, value in values.items() if value != value}
    layer = {"grad_norm/layer_01", "grad_rms/layer_01", "grad_norm/layer_01/ffn.in"}
    assert bad == {"grad_norm/global", "grad_norm/first_to_last"} | layer


def test_first_bad_parameter_is_the_last_in_forward_order(small):
    model, _ = trained(small())
    layout = Layout(model, site)
    assert layout.nonfinite() is None
    with torch.no_grad():
        model.embedding.tokens.weight[0, 0] = torch.inf
        model.layers[1].attn.branch.out.weight[0, 0] = torch.nan
    assert layout.nonfinite() == "layer_01/attn.out"

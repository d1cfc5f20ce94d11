"""Every norm in every placement takes a step forward and backward, or is refused with a reason."""

import copy
import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from normlab.catalogue.norms import NORMS
from normlab.catalogue.placements import PLACEMENTS
from normlab.errors import ConfigError
from normlab.model.gpt import GPT
from normlab.training.checks import check_parts

ACTIVATIONS = ("gelu", "relu", "swiglu")
VOCAB = 11
#: How many norms a placement refuses, under which key.
REFUSED = {"swin_v2": {"placement.norm_out_gain": 5}, "ngpt": {"placement.qk_scale": len(NORMS) - 1}}


def attempt(small, norm, placement, activation):
    """`trained`, or the key that is refused; anything else is an error."""
    torch.manual_seed(0)
    try:
        config = small({"norm.allow_leaky": True}, norm=norm, placement=placement, activation=activation)
        check_parts(config)
    except ConfigError as refusal:
        return refusal.key
    model = GPT(config, VOCAB)
    ids = torch.randint(VOCAB, (2, 9))
    model.profile(ids[:, :-1])
    loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    model.constrain()
    squares = [
        parameter.grad.square().sum() for parameter in model.parameters() if parameter.grad is not None
    ]
    assert math.isfinite(loss.item()) and torch.stack(squares).isfinite().all(), (norm, placement, activation)
    return "trained"


def attempts(small, rows):
    """How each of `rows` ended, counted."""
    ends: dict[str, int] = {}
    for row in rows:
        end = attempt(small, *row)
        ends[end] = ends.get(end, 0) + 1
    return ends


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_every_norm_trains_in_this_placement(placement, small):
    """A sample of the matrix: each norm once, the activations in turn."""
    turns = itertools.cycle(ACTIVATIONS)
    ends = attempts(small, [(norm, placement, next(turns)) for norm in NORMS])
    assert sum(ends.values()) == len(NORMS)
    assert {key: count for key, count in ends.items() if key != "trained"} == REFUSED.get(placement, {})


@pytest.mark.slow
def test_the_whole_matrix(small, capsys):
    rows = list(itertools.product(NORMS, PLACEMENTS, ACTIVATIONS))
    ends = attempts(small, rows)
    with capsys.disabled():
        print(f"\n{len(rows)} combinations of norm, placement and activation: {ends}")
    assert len(rows) - ends["trained"] == len(ACTIVATIONS) * sum(
        sum(row.values()) for row in REFUSED.values()
    )


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_future_reaches_the_past_just_where_the_norm_leaks(placement, small):
    """In training mode, to the bit: later tokens change earlier predictions just where the row says leaky."""
    ids = torch.randint(VOCAB, (3, 8), generator=torch.Generator().manual_seed(0))
    changed = ids.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % VOCAB
    used = PLACEMENTS[placement].norms(depth=2) > 0
    for norm, row in NORMS.items():
        torch.manual_seed(0)
        config = small({"norm.allow_leaky": True}, norm=norm, placement=placement)
        if placement in REFUSED and (attempt(small, norm, placement, "gelu") != "trained"):
            continue
        model = GPT(config, VOCAB).train()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "scale" in name or "norm_out" in name:  # branches that start at 0 would not be heard
                    parameter.add_(0.5)
            twin = copy.deepcopy(
                model
            )  # running statistics and power iterations move with every forward pass
            same = torch.equal(model(ids)[:, :5], twin(changed)[:, :5])
        if norm != "pb_relax_ln":  # whose leak of 1e-6 is heard only where the largest entry moves
            assert same == (not row.leak or not used), norm

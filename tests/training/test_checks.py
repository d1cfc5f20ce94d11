"""Parts of a run that contradict each other: refused by `check`, with both keys and a way out."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from normlab.catalogue.activations import ACTIVATIONS
from normlab.catalogue.inits import GAINS
from normlab.catalogue.norms import NORMS
from normlab.catalogue.placements import PLACEMENTS
from normlab.errors import ConfigError
from normlab.model.gpt import GPT
from normlab.model.norms import build_norm
from normlab.training import checks
from normlab.training.checks import check_model, check_parts

VOCAB = 11
NGPT = {"placement": "ngpt", "norm": "l2norm"}
#: Changes, rows, and how the refusal begins.
_WRONG = [
    # Norms and widths.
    (
        {"norm.groups": 5},
        {"norm": "groupnorm_token"},
        "norm.groups: 5 does not divide the 16 channels of the norms by model.width; .* here is 4$",
    ),
    (
        {"norm.groups": 16, "model.heads": 4},
        {"norm": "powernorm", "placement": "qk_norm"},
        "norm.groups: 16 does not divide the 4 channels of the norms by placement.qk_norm=head; .* is 4$",
    ),
    (
        {"norm.groups": 8, "model.kv_heads": 1, "model.width": 24},
        {"norm": "groupnorm_time", "placement": "olmo2"},
        "norm.groups: 8 does not divide the 12 channels of the norms by placement.qk_norm=width; .* is 6$",
    ),
    (
        {"norm.groups": 16, "model.ffn.ratio": 1.5},
        {"norm": "powernorm", "placement": "subln"},
        "norm.groups: 16 does not divide the 24 .* by placement.mid_norm=true in the feed-forward .* is 8$",
    ),
    (
        {"norm.groups": 16},
        {"norm": "groupnorm_token"},
        "norm.groups: groupnorm_token takes the mean away, .* by model.width; use norm.groups=8$",
    ),
    (
        {"model.heads": 16},
        {"placement": "qk_norm"},
        "norm: layernorm takes the mean away, .* by placement.qk_norm=head; use norm=rmsnorm$",
    ),
    (
        {},
        {"placement": "swin_v2", "norm": "l2norm"},
        "placement.norm_out_gain: 0 .* norm=l2norm has none; use",
    ),
    # A model that sees its targets.
    ({"model.causal": False}, {}, "model.causal: false .* data.objective=clm .* use data.objective=mlm, or"),
    # nGPT.
    (
        {},
        {"placement": "ngpt"},
        "placement.qk_scale: .*which norm=layernorm does not give them; use norm=l2norm",
    ),
    (
        {"placement.weights": "unit"},
        {"norm": "rmsnorm"},
        "norm: rmsnorm does not keep the stream at length 1, .*weights=unit .*; use norm=l2norm",
    ),
    ({"model.kv_heads": 1}, NGPT, "placement.qk_scale: .*; use model.kv_heads=0"),
    (
        {"optimizer.weight_decay": 0.1},
        NGPT,
        "optimizer.weight_decay: is undone by placement.weights=unit.* use 0",
    ),
    (
        {"init.gains": "gpt2"},
        NGPT,
        "init.gains: sets the size of attn.out, ffn.out, .*=unit .* use init.gains=none",
    ),
    (
        {"placement.weights": "sigma_reparam"},
        {"placement": "deepnorm"},
        "placement.gains: sets the size of .*, which placement.weights=sigma_reparam sets itself",
    ),
    (
        {"init.std": 0.0},
        {"placement": "sigma_reparam", "init": "normal"},
        "placement.weights: sigma_reparam divides each matrix by its size, and attn.q, .* would start at 0",
    ),
    (
        {"init.head_std": 0.0},
        {"placement": "sigma_reparam"},
        "init.head_std: .*start at 0; use another number",
    ),
    (
        {"init.embedding_std": 0.0, "model.tie": True},
        {"placement": "sigma_reparam"},
        "init.embedding_std: .*start at 0; use another number",
    ),
    # Embedding and head.
    (
        {"model.tie": True, "init.head_std": 1.0},
        {},
        "init.head_std: .*use init.embedding_std, or model.tie=false",
    ),
    (
        {"model.tie": True},
        {"placement": "fixup"},
        "model.tie: .*placement=fixup sets .*; use model.tie=false",
    ),
    (
        {"model.tie": True, "init.gains": "fixup"},
        {},
        "model.tie: .* and init.gains sets the head's own size; use model.tie=false",
    ),
    ({"model.embedding_scale": "0"}, {}, "model.embedding_scale: 0 hides the tokens from the loss"),
    (
        {"model.embedding_scale": "2"},
        {"placement": "admin"},
        "model.embedding_scale: .*deviation 0.5, and placement=admin counts on 1; use .*_scale=1",
    ),
    ({"init.embedding_std": 0.0}, {"placement": "none"}, "init.embedding_std: 0 cannot be brought to 1"),
    ({"model.logit_scale": "depth - 2"}, {}, "model.logit_scale: 0 hides the tokens from the loss"),
    ({"depth": 3, "model.logit_scale": "1/(depth - 3)"}, {}, "model.logit_scale: .*has no value here"),
    # Branches that would never wake up.
    ({"init.gain": 0.0}, {}, "init.gain: starts two factors of attn's branch at 0, so none"),
    ({"init.std": 0.0}, {"init": "normal"}, "init.std: starts two factors of attn's branch at 0, so none"),
    (
        {"init.gains": "fixup"},
        {"placement": "rezero"},
        "placement.branch_scale.value: starts a factor of attn's branch at 0, and init.gains another",
    ),
    (
        {"placement.norm_out": True, "placement.norm_out_gain": 0.0},
        {"placement": "fixup"},
        "placement.norm_out_gain: starts a factor of attn's branch at 0, and placement.gains another",
    ),
    (
        {"placement.norm_out": True, "placement.norm_out_gain": 0.0},
        {"placement": "skipinit"},
        "placement.branch_scale.value: starts .* branch at 0, and placement.norm_out_gain another",
    ),
]


@pytest.mark.parametrize(("changes", "rows", "says"), _WRONG)
def test_parts_that_contradict_each_other_are_refused_with_their_keys(changes, rows, says, small):
    with pytest.raises(ConfigError, match=f"^{says}"):
        check_parts(small(changes, **rows))


@pytest.mark.parametrize("norm", ["layernorm", "l2norm", "groupnorm_token", "layernorm_TC"])
@pytest.mark.parametrize("name", PLACEMENTS)
def test_what_is_refused_of_a_placement_and_a_norm_is_what_they_say_of_each_other(name, norm, small):
    record = PLACEMENTS[name].config
    refused = (record.weights == "unit" and norm != "l2norm") or (
        record.norm_out_gain != 1 and norm == "l2norm"
    )
    config = small(placement=name, norm=norm)
    if refused:
        with pytest.raises(ConfigError):
            check_parts(config)
    else:
        check_parts(config)


@pytest.mark.parametrize("name", GAINS)
@pytest.mark.parametrize("activation", ["gelu", "sigmoid", "swiglu"])
def test_gains_that_silence_one_factor_are_right(name, activation, small):
    check_parts(small({"init.gains": name}, activation=activation))


def wakes(config, branch):
    """Whether any matrix of the branch has a gradient after two steps of descent."""
    torch.manual_seed(0)
    model, ids = GPT(config, VOCAB).double(), torch.randint(VOCAB, (2, 9))
    for _ in range(3):
        model.zero_grad()
        F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.sub_(0.1 * parameter.grad)
    inside = model.layers[0].get_submodule(branch).parameters()
    return any(parameter.grad.any() for parameter in inside if parameter.dim() == 2)


@pytest.mark.parametrize(
    ("changes", "rows", "branch"),
    [(changes, rows, "attn") for changes, rows, says in _WRONG if "branch at 0" in says],
)
def test_what_is_refused_for_starting_at_0_twice_would_never_learn(changes, rows, branch, small):
    assert not wakes(small(changes, **rows), branch)


# But for rectifiers, whose slope at 0 torch takes for 0: a single matrix at 0 before one sleeps.
@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name not in ("relu", "relu2")])
@pytest.mark.parametrize("silent", [("ffn.in", "ffn.out"), ("ffn.gate", "ffn.out"), ("ffn.gate", "ffn.in")])
def test_two_matrices_at_0_are_refused_just_where_the_feed_forward_layer_would_sleep(
    silent, activation, small
):
    config = small(activation=activation)
    placement = dataclasses.replace(config.placement, gains=dict.fromkeys(silent, "0"))
    config = dataclasses.replace(config, placement=placement)
    try:
        check_parts(config)
    except ConfigError as refusal:
        assert refusal.key == "placement.gains" and not wakes(config, "ffn")
    else:
        assert wakes(config, "ffn")


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_takes_the_mean_away_just_where_its_row_says(name):
    """Over a token's channels, or each group of them: what is equal in all becomes 0."""
    config = NORMS[name].config
    config = dataclasses.replace(config, groups=2) if hasattr(config, "groups") else config
    norm = build_norm(config, 8, 6).double().eval()
    flat = torch.randn(3, 6, 2, 1, dtype=torch.float64).expand(3, 6, 2, 4).flatten(2)
    flat = flat if getattr(config, "groups", 1) == 2 else flat[..., :4].repeat(1, 1, 2)
    by_token = NORMS[name].scope in ("token", "token_group", "tensor")
    assert NORMS[name].centred == (by_token and bool(norm(flat).abs().max() < 1e-6))


def test_a_norm_that_shows_the_future_is_refused_unless_that_is_wanted(small):
    with pytest.raises(
        ConfigError, match=r"norm: batchnorm lets predictions see the future: .*allow_leaky=true"
    ):
        check_model(small(norm="batchnorm"))
    check_model(small({"norm.allow_leaky": True}, norm="batchnorm"))


def test_a_model_that_the_machine_cannot_hold_is_refused(small, monkeypatch):
    check_model(small())
    monkeypatch.setattr(checks, "machine_bytes", lambda: 1_000)
    with pytest.raises(ConfigError, match="memory"):
        check_model(small())

"""Placements that contradict themselves: each is refused under the key that was typed, with a way out."""

import re
from dataclasses import fields, replace

import pytest

from normlab.catalogue.placements import PLACEMENTS
from normlab.config.placement import ExceptionConfig, PlacementConfig
from normlab.config.sublayer import ONLY_IN, ScaleConfig, SublayerConfig
from normlab.errors import ConfigError


def refusal(small, depth=2, **record):
    """What is said of a run with this placement."""
    with pytest.raises(ConfigError) as error:
        replace(small({"depth": depth}), placement=PlacementConfig(name="own", **record))
    return str(error.value)


LEARNED = ScaleConfig(learn="scalar")
_WRONG = [
    ({"skip": "norm_in"}, "placement.skip: norm_in needs placement.norm_in=true"),
    ({"qk_norm": "heads"}, "placement.qk_norm: 'heads' is not one of .*Did you mean 'head'"),
    ({"softcap": -1.0}, "placement.softcap: must be a finite number, 0 or more, got -1.0"),
    ({"parameters": {"fraction": 1.5}}, "placement.parameters.fraction: a fraction lies between 0 and 1"),
    ({"parameters": {"depth": 1.5}}, "placement.parameters.depth: .*use another"),
    (
        {"parameters": {"rump": 1.0, "ramp": 2.0}, "branch_scale": ScaleConfig(value="ramp")},
        "placement.parameters.rump: no law of this placement speaks of it. Did you mean 'ramp'",
    ),
    ({"in_scale": LEARNED}, "placement.in_scale.learn: .*use placement.branch_scale"),
    (
        {"branch_scale": ScaleConfig(value="step", learn="scalar")},
        "placement.branch_scale.value: a learned scale .*cannot follow the step; use learn=none",
    ),
    ({"shared_norm": True}, "placement.shared_norm: needs placement.norm_in=true and placement.reads=block"),
    ({"gpas": "stream", "norm_post": True}, "placement.gpas: .*use placement.gpas=skip"),
    ({"gpas": "skip", "weights": "unit"}, "placement.gpas: .*nGPT.*use placement.gpas=none"),
    ({"unit_embedding": True, "weights": "unit"}, "placement.unit_embedding: .*use one of them"),
    ({"sigma_head": True}, "placement.sigma_head: is for placement.weights=sigma_reparam; set that too"),
    ({"weights": "units"}, "placement.weights: .*Did you mean 'unit'"),
    ({"reads": "both"}, "placement.reads: both needs placement.second_stream=true"),
    ({"reads": "block", "norm_post": True}, "placement.norm_post: parallel .*use norm_out, or reads=x"),
    ({"reads": "block", "norm_in": True, "skip": "norm_in"}, "placement.skip: .*use placement.skip=x"),
    ({"skip": "block", "norm_post": True}, "placement.skip: .*sublayer: ffn alone, as placement=b2t does"),
    ({"second_stream": True}, "placement.second_stream: .*set placement.final_norm=true"),
    ({"second_stream": True, "final_norm": True}, "placement.second_stream: .*set placement.norm_post=true"),
    ({"second_scale": "0.5"}, "placement.second_scale: .*set placement.second_stream=true"),
    ({"second_scale": "rho"}, "placement.second_scale: 'rho': unknown name"),
    ({"first_norm": True}, "placement.first_norm: .*set placement.second_stream=true"),
    ({"joint_norm": True}, "placement.joint_norm: .*set placement.second_stream=true"),
    ({"profile": True}, "placement.profile: .*use placement.skip_scale.learn=vector"),
    ({"profile": True, "skip_scale": LEARNED}, "placement.profile: .*set placement.norm_post=true"),
    ({"branch_scale": ScaleConfig(tie=True)}, "placement.branch_scale.tie: only skip_scale"),
    ({"skip_scale": ScaleConfig(tie=True, learn="scalar")}, "placement.skip_scale.tie: needs learn=none"),
    ({"skip_scale": ScaleConfig(tie=True)}, "placement.skip_scale.tie: .*set placement.branch_scale.value"),
    (
        {"skip_scale": ScaleConfig(tie=True, value="2"), "branch_scale": LEARNED},
        "placement.skip_scale.value: .*leave the value at 1",
    ),
    ({"skip_scale": ScaleConfig(stored="2")}, "placement.skip_scale.stored: needs a learned scale"),
    (
        {"skip_scale": ScaleConfig(stored="0", learn="scalar")},
        "placement.skip_scale.stored: .*above 0, got 0",
    ),
    ({"branch_scale": ScaleConfig(share="block")}, "placement.branch_scale.share: .*set its learn"),
    ({"norm_out_gain": 0.0}, "placement.norm_out_gain: .*needs placement.norm_out=true"),
    ({"norm_out": True, "norm_out_gain": -1.0}, "placement.norm_out_gain: .*0 or more, got -1.0"),
    ({"cosine": True, "qk_norm": "head"}, "placement.cosine: .*use placement.qk_norm=none"),
    ({"cosine": True, "qk_scale": True}, "placement.cosine: and placement.qk_scale .*use one of them"),
    ({"qk_scale": True}, "placement.qk_scale: .*needs placement.qk_norm=head"),
    ({"qk_scale": True, "qk_norm": "width"}, "placement.qk_scale: .*needs placement.qk_norm=head"),
    ({"gains": {"attn.outt": "1"}}, "placement.gains: 'attn.outt' is not .*Did you mean 'attn.out'"),
    (
        {"gains": {"attn.out": "dept"}},
        "placement.gains.attn.out: 'dept': unknown name .*Did you mean 'depth'",
    ),
    ({"gains": {"attn.out": "-1"}}, "placement.gains.attn.out: .*must be 0 or more, got -1"),
]


@pytest.mark.parametrize(("fields", "says"), _WRONG)
def test_a_contradiction_in_the_record_is_refused_with_its_key(fields, says, small):
    assert re.match(says, refusal(small, **fields))


ON = {"norm_in": False}
_WRONG_EXCEPTIONS = [
    ({"where": "dept", "set": ON}, "where: .*Did you mean 'depth'"),
    ({"where": "step < 3", "set": ON}, "where: .*unknown name 'step'"),
    ({"where": "layer <", "set": ON}, "where: 'layer <' is not an arithmetic expression"),
    ({"sublayer": "atn", "set": ON}, "sublayer: 'atn' is not one of attn, ffn, both. Did you mean 'attn'"),
    ({"set": {}}, "set: is empty; name what differs"),
    ({"set": {"norm_im": True}}, "set: 'norm_im' is not .*Did you mean 'norm_in'"),
    ({"set": {"norm_in": 1}}, "set.norm_in: must be true or false, got 1"),
    ({"set": {"norm_in": "true"}}, "set.norm_in: must be true or false, got true"),
    ({"set": {"skip": "norm"}}, "set.skip: 'norm' is not one of x, norm_in, block. Did you mean 'norm_in'"),
    ({"set": {"softcap": "a"}}, "set.softcap: must be a number, got a"),
    ({"set": {"in_scale": 2}}, "set.in_scale: must be a mapping such as {value: 2}, got 2"),
    ({"set": {"in_scale": {"valu": 2}}}, "set.in_scale: 'valu' is not .*Did you mean 'value'"),
    ({"set": {"in_scale": {"learn": "scaler"}}}, "set.in_scale.learn: 'scaler' is not .*mean 'scalar'"),
    ({"set": {"skip_scale": {"tie": 1}}}, "set.skip_scale.tie: must be true or false, got 1"),
    ({"set": {"in_scale": {"value": "widht"}}}, "set.in_scale.value: .*Did you mean 'width'"),
    ({"sublayer": "ffn", "set": {"skip": "norm_in"}}, "set.skip: at layer 1 of 2: norm_in needs"),
    (
        {"where": "layer == 2", "set": {"norm_out": False}},
        "set: at layer 2 of 2: contradicts placement.norm_out_gain, which says: is the gain of N_out",
    ),
]


@pytest.mark.parametrize(("fields", "says"), _WRONG_EXCEPTIONS)
def test_a_wrong_exception_is_refused_with_its_key(fields, says, small):
    record = {"norm_out": True, "norm_out_gain": 0.5, "exceptions": [ExceptionConfig(**fields)]}
    said = refusal(small, **record)
    assert re.match(rf"placement\.exceptions\[0\]\.{says}", said), said


@pytest.mark.parametrize(("place", "name"), [(place, name) for place in ONLY_IN for name in ONLY_IN[place]])
def test_a_hook_is_refused_where_it_would_do_nothing(place, name, small):
    """An exception may set it for its own kind of sub-layer, or for both."""
    default = getattr(SublayerConfig(), name)
    value = {bool: True, str: "head", float: 3.0}[type(default)]
    other = {"attn": "ffn", "ffn": "attn"}[place]
    said = refusal(small, exceptions=[ExceptionConfig(sublayer=other, set={name: value})])
    assert said.startswith(f"placement.exceptions[0].set.{name}: acts in ")
    assert said.endswith(f"alone; use sublayer: {place}")
    PlacementConfig(name="own", exceptions=[ExceptionConfig(sublayer=place, set={name: value})])
    PlacementConfig(name="own", exceptions=[ExceptionConfig(set={name: value})])


def test_hooks_are_fields_of_the_record():
    assert {name for names in ONLY_IN.values() for name in names} < {
        item.name for item in fields(SublayerConfig)
    }


def test_exceptions_are_judged_by_the_records_that_they_make_and_no_others(small):
    """Two that never meet may be wrong with each other, and one may need another."""
    apart = [
        ExceptionConfig(where="layer == 1", set={"norm_in": False, "norm_post": True}),
        ExceptionConfig(where="layer == 2", set={"skip": "norm_in"}),
    ]
    replace(small(), placement=PlacementConfig(name="own", norm_in=True, exceptions=apart))
    needing = [ExceptionConfig(set={"norm_in": True}), ExceptionConfig(set={"skip": "norm_in"})]
    replace(small(), placement=PlacementConfig(name="own", exceptions=needing))
    meeting = [
        ExceptionConfig(where="layer < 3", set={"norm_in": False}),
        ExceptionConfig(where="layer > 1", set={"skip": "norm_in"}),
    ]
    said = refusal(small, depth=4, norm_in=True, exceptions=meeting)
    assert said == "placement.exceptions[1].set.skip: at layer 2 of 4: norm_in needs placement.norm_in=true"


def test_what_a_block_shares_must_be_there_to_share(small):
    parallel = {"norm_in": True, "reads": "block", "shared_norm": True}
    said = refusal(small, exceptions=[ExceptionConfig(sublayer="ffn", set=parallel)])
    assert said.startswith("placement.shared_norm: at layer 1 of 2: attention has no N_in to share")
    shared = ScaleConfig(learn="scalar", share="block")
    other = [ExceptionConfig(sublayer="ffn", where="layer == 2", set={"branch_scale": {"value": 2}})]
    said = refusal(small, branch_scale=shared, exceptions=other)
    assert said.startswith("placement.branch_scale.share: at layer 2 of 2: block means one scale")


def test_a_law_without_value_at_some_layer_is_refused_before_a_model_is_built(small):
    says = r"placement.branch_scale.value: at layer 3 of 4: .*has no value here: division by zero"
    with pytest.raises(ConfigError, match=says):
        small({"depth": 4, "placement.branch_scale.value": "1/(layer - 3)"})


def test_a_law_without_value_at_the_last_step_is_refused(small):
    small({"train.steps": 5, "placement.branch_scale.value": "1/(5 - step)"})
    with pytest.raises(ConfigError, match=r"placement.branch_scale.value: at layer 1 of 2: .*no value here"):
        small({"train.steps": 6, "placement.branch_scale.value": "1/(5 - step)"})


@pytest.mark.parametrize("name", PLACEMENTS)
@pytest.mark.parametrize("depth", [1, 2, 7, 24])
def test_every_row_holds_at_every_depth(name, depth, small):
    assert small({"depth": depth}, placement=name).placement.name == name

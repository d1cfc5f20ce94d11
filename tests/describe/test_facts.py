import dataclasses
import json

import pytest

from normlab.catalogue import groups
from normlab.catalogue.placements import PLACEMENTS
from normlab.describe import saved
from normlab.describe.facts import describe

VOCAB = 11


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(saved, "activations", lambda model, config: 0)


def told(config):
    """All that is said, less the list of settings that a row does not have."""
    record = describe(config, VOCAB).record()
    for choice in ("placement", "norm"):
        record[choice].pop("changed")
    return json.dumps(record)


#: What a setting needs beside it to have a meaning.
NEEDS = {
    "placement.skip": {"placement.norm_post": False},
    "placement.shared_norm": {"placement.reads": "block"},
    "placement.branch_scale.share": {"placement.branch_scale.learn": "scalar"},
    "placement.skip_scale.share": {"placement.skip_scale.learn": "scalar"},
    "placement.branch_scale.stored": {"placement.branch_scale.learn": "scalar"},
    "placement.skip_scale.stored": {"placement.skip_scale.learn": "scalar"},
    "placement.skip_scale.tie": {"placement.branch_scale.learn": "scalar"},
    "placement.second_stream": {"placement.norm_post": True},
    "placement.second_scale": {"placement.second_stream": True, "placement.norm_post": True},
    "placement.sigma_head": {"placement.weights": "sigma_reparam"},
    "placement.first_norm": {"placement.second_stream": True, "placement.norm_post": True},
    "placement.joint_norm": {"placement.second_stream": True, "placement.norm_post": True},
    "placement.profile": {"placement.skip_scale.learn": "scalar", "placement.norm_post": True},
    "placement.norm_out_gain": {"placement.norm_out": True},
    "placement.qk_scale": {"placement.qk_norm": "head"},
    "placement.parameters": {"placement.parameters": {"ramp": 2.0}, "placement.in_scale.value": "ramp"},
    "model.rope_base": {"model.positions": "rope"},
    "model.rope_fraction": {"model.positions": "rope"},
    "model.ffn.multiple_of": {"activation": "swiglu"},
}
VALUES = {
    "placement.reads": "block",
    "placement.gpas": "skip",
    "placement.gains": {"attn.q": "0.5"},
    "placement.parameters": {"ramp": 10.0},
    "placement.exceptions": None,
    "placement.branch_scale.learn": "vector",
    "placement.skip_scale.learn": "vector",
    "placement.skip_scale.share": "block",
    "placement.branch_scale.share": "block",
    "model.heads": 1,
    "model.kv_heads": 1,
    "model.width": 32,
    "model.context": 16,
    "model.ffn.multiple_of": 64,
    "model.positions": "rope",
    "init.truncate": 2.0,
    "init.gains": "gpt2",
}
#: `in_scale` is never learned, and only the skip scale tied.
MEANINGLESS = {
    *(f"placement.in_scale.{name}" for name in ("learn", "share", "stored", "tie")),
    "placement.branch_scale.tie",
}


def keys():
    """Settings of placement, model and initialization, as the schema has them."""
    known = groups.known_keys()
    return [
        key
        for key in known
        if key.split(".")[0] in ("placement", "model", "init")
        and not key.endswith(".name")
        and key not in (*MEANINGLESS, "placement.exceptions")
    ]


def other(key, value):
    """Another value for a setting, whatever its type."""
    if key in VALUES:
        return VALUES[key]
    if isinstance(value, bool):
        return not value
    if key in groups.CHOICES:
        return next(word for word in groups.CHOICES[key] if word != value)
    if isinstance(value, str):
        return "0.5"
    return 0.5 if value is None or isinstance(value, float) else value + 1


def current(config, key):
    for part in key.split("."):
        config = getattr(config, part)
    return config


@pytest.mark.parametrize("key", keys())
def test_every_setting_of_the_model_changes_what_is_said(key, small):
    needs = dict(NEEDS.get(key, {}))
    rows = {"activation": needs.pop("activation")} if "activation" in needs else {}
    init = "normal" if key == "init.std" else "fan_in"
    before = small(needs, placement="pre", init=init, **rows)
    after = small({**needs, key: other(key, current(before, key))}, placement="pre", init=init, **rows)
    assert told(before) != told(after)


def test_a_setting_that_is_not_the_rows_is_named(small):
    found = describe(small({"placement.norm_out": True, "norm.eps": 1e-3}, placement="pre"), VOCAB)
    assert found.placement.changed == {"norm_out": (False, True)}
    assert found.norm.changed == {"eps": (1e-5, 1e-3)}
    assert found.norm.facts["eps"] == "0.001, inside"
    assert describe(small({}, placement="pre"), VOCAB).placement.changed == {}


def test_a_placement_of_the_users_own_has_its_true_equation_and_no_published_one(small):
    record = dataclasses.replace(PLACEMENTS["keel"].config, name="mine")
    found = describe(dataclasses.replace(small({}), placement=record), VOCAB)
    assert found.placement.equation == "" and found.structures[0].attn.lines == (
        "x' = N_post(4 * x + A(N_in(x)))",
    )
    assert any("not one of normlab's" in note for note in found.notes)
    assert found.placement.facts["norms a block"] == "4"


@pytest.mark.parametrize(
    ("changes", "rows", "note"),
    [
        ({}, {"placement": "post"}, "published with a warm-up, and this config has none"),
        ({}, {"norm": "batchnorm"}, "LEAKY: batchnorm lets predictions see the future"),
        ({}, {"norm": "batchnorm"}, "it trains only with norm.allow_leaky=true"),
        ({}, {"norm": "batchnorm"}, "evaluation uses running statistics"),
        ({"init.gains": "gpt2"}, {"placement": "deepnorm"}, "takes the place of the placement's own gains"),
        ({}, {"placement": "admin"}, "set anew from the variances of the first batch"),
        ({}, {"placement": "sigma_reparam"}, "gamma / sigma(W) * W"),
        ({}, {"placement": "ngpt"}, "has length 1"),
        ({}, {"placement": "deepnorm"}, "normlab's own runs trained without"),
        # 0.7071 / sqrt(fan_in) over sqrt(2 / (fan_in + fan_out)), for 16 to 16, 16 to 64 and 64 to 16.
        (
            {},
            {"placement": "deepnorm"},
            "0.71 (attn.q), 1.12 (ffn.in), 0.56 (ffn.out) times the published ones; preset=deep",
        ),
        ({}, {"placement": "tfixup"}, "published ones; init=xavier_normal init.gain=1 has them"),
        ({"train.steps": 300}, {"placement": "branchnorm"}, "branch_scale in block 2 is 0.299 at the last"),
        (
            {"train.steps": 300},
            {"placement": "prores"},
            "would be 1 at step 2000; placement.parameters.ramp=75 ",
        ),
        ({"model.tie": True}, {}, "drawn and counted once"),
    ],
)
def test_what_is_easily_overlooked_is_noted(changes, rows, note, small):
    assert any(note in line for line in describe(small(changes, **rows), VOCAB).notes)


def test_there_are_no_notes_where_there_is_nothing_to_note(small):
    assert describe(small({}, placement="pre"), VOCAB).notes == []
    warm = describe(small({"warmup": 2}, placement="post"), VOCAB)
    assert warm.notes == []
    assert warm.placement.facts["needs warm-up"] == "yes as published, yes as measured"


@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        ({"init.gain": 1.0}, {"placement": "deepnorm", "init": "xavier"}),
        ({"train.steps": 1001, "warmup": 1}, {"placement": "branchnorm"}),
        ({"train.steps": 1001}, {"placement": "prores", "depth": 1}),
    ],
)
def test_published_weights_and_a_ramp_that_ends_are_not_noted(changes, rows, small):
    changes = changes | ({"depth": rows.pop("depth")} if "depth" in rows else {})
    said = " ".join(describe(small(changes, **rows), VOCAB).notes)
    assert "published ones" not in said and "at the last step" not in said


@pytest.mark.parametrize(("depth", "ratio"), [(6, 1), (18, 1), (12, 0.5)])
def test_deepnorm_s_constants_are_told_for_each_architecture(depth, ratio, small):
    """DeepNet's table for N encoder and M decoder blocks, 2203.00555; the config's own is marked."""
    changes = {"depth": depth, "placement.parameters": {"ratio": ratio}}
    found = describe(small(changes, placement="deepnorm_ed_encoder"), VOCAB).architectures
    encoder, decoder = depth, ratio * depth
    wanted = {
        "deepnorm": ((2 * depth) ** 0.25, (8 * depth) ** -0.25),
        "deepnorm_ed_encoder": (
            0.81 * (encoder**4 * decoder) ** (1 / 16),
            0.87 * (encoder**4 * decoder) ** (-1 / 16),
        ),
        "deepnorm_ed_decoder": ((3 * depth) ** 0.25, (12 * depth) ** -0.25),
    }
    told = {each.name: (float(each.skip), float(each.gain)) for each in found}
    assert [each.name for each in found if each.here] == ["deepnorm_ed_encoder"]
    assert told.keys() == wanted.keys()
    for name, pair in wanted.items():
        assert told[name] == pytest.approx(pair, rel=1e-3)
    assert describe(small({}, placement="pre"), VOCAB).architectures == []


def test_a_leaky_norm_made_causal_is_not_called_leaky(small):
    found = describe(small({"norm.batch_steps": 0}, norm="powernorm"), VOCAB)
    assert found.norm.facts["causal in training"] == "yes" and found.notes == []


def test_constants_are_laws_with_their_values(small):
    found = describe(small({"depth": 24}, placement="deepnorm"), VOCAB)
    said = {each.name: (each.law, each.value) for each in found.constants}
    assert said["a (skip)"] == ("(2*depth)**(1/4)", "2.632")
    assert said["std of attn.v, attn.out, ffn.in, ffn.out *="] == ("(8*depth)**(-1/4)", "0.2686")
    assert said["std of matrices"] == ("gain / sqrt(fan_in)", "gain 0.7071")
    assert said["std of the ends"] == ("width**(-1/2)", "0.25")


def test_constants_that_differ_by_block_have_the_first_and_the_last(small):
    found = describe(small({"depth": 4}, placement="lns"), VOCAB)
    assert (found.constants[0].name, found.constants[0].value) == ("c (input)", "1 ... 0.5")
    mixed = describe(small({"depth": 4, "init.gains": "mitchell"}, placement="mix_ln"), VOCAB)
    said = {each.name: each.value for each in mixed.constants}
    assert said["fraction"] == "0.25"
    assert said["std of attn.out ="] == f"{32**-0.5:.4g} ... {128**-0.5:.4g}"


def test_the_record_is_plain_and_has_all_of_it(small):
    record = json.loads(json.dumps(describe(small({"depth": 3}, placement="lns"), VOCAB).record()))
    assert [row["blocks"] for row in record["scales"]] == ["1", "2", "3"]
    assert record["scales"][1]["attn.in_scale"] == {"first": 2**-0.5, "last": 2**-0.5, "kind": "fixed"}
    assert record["starts"][0]["attn.q"]["gain"] == 1 and record["starts_outside"].keys() >= {
        "embedding",
        "head",
    }
    assert record["total"] == sum(record["parameters"].values())
    assert record["structures"][0]["drawing"][0].strip() == "x"
    assert {"flops", "memory"} <= record["conventions"].keys()

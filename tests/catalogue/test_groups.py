import dataclasses

import pytest
import yaml

from normlab import config as settings
from normlab.catalogue import groups


def test_every_group_field_of_a_run_is_a_group():
    fields = [
        field for field in dataclasses.fields(settings.RunConfig) if field.name not in ("fault", "sweep")
    ]
    nested = [field.name for field in fields if dataclasses.is_dataclass(field.type)]
    assert nested == list(groups.GROUPS)


def test_the_default_run_is_the_one_that_is_promised():
    plain = groups.defaults()
    assert list(plain) == [field.name for field in dataclasses.fields(settings.RunConfig)]
    knobs = {key: groups.default_options().get(key, plain[key]) for key in list(plain)[:6]}
    assert knobs == {
        "norm": "layernorm",
        "placement": "pre",
        "activation": "gelu",
        "depth": 12,
        "warmup": 0,
        "seed": 0,
    }
    assert plain["optimizer"] == {
        "name": "adamw",
        "lr": 2.5e-3,
        "weight_decay": 0.0,
        "decay": "matrices",
        "betas": [0.9, 0.95],
        "eps": 1e-8,
    }


def test_known_keys_say_which_options_have_them():
    keys = groups.known_keys()
    assert keys["depth"].type is int
    assert keys["norm.momentum"].options == ("batchnorm",)
    assert keys["norm.eps"].options == tuple(groups.GROUPS["norm"].rows)
    assert keys["sweep.name"].options == ()
    assert set(groups.CHOICES) <= set(keys)
    assert set(groups.ALIASES.values()) <= set(keys) | set(groups.GROUPS)


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("sed", "seed"),
        ("lr", "optimizer.lr"),
        ("train.lr", "optimizer.lr"),
        ("optimzer.lr", "optimizer.lr"),
        ("norm.epsilon", "norm.eps"),
        ("learning_rate", "optimizer.lr"),
        ("train.batchsize", "train.batch_size"),
        ("placemnt", "placement"),
        ("model.n_head", "model.heads"),
    ],
)
def test_a_mistyped_key_gets_the_nearest(word, nearest):
    assert groups.suggest(word).startswith(f" Did you mean '{nearest}'")


def test_nothing_is_suggested_for_a_word_like_no_other():
    assert groups.suggest("zzzzqqq") == ""


def test_an_error_names_the_options_that_have_a_key():
    error = groups.unknown_key("activation.beta", "gelu")
    assert str(error) == "activation.beta: activation=gelu has no such setting; activation=swish has"


def test_files_lie_over_the_row_they_name(tmp_path, monkeypatch):
    (tmp_path / "placement").mkdir()
    (tmp_path / "config.yaml").write_text((groups.conf_dir() / "config.yaml").read_text())
    mine = {"defaults": ["pre", "_self_"], "name": "mine", "embedding_norm": True}
    (tmp_path / "placement" / "mine.yaml").write_text(yaml.safe_dump(mine))
    monkeypatch.setattr(groups, "conf_dir", lambda: tmp_path)
    groups.values.cache_clear()
    try:
        values = groups.values("placement")
        assert values["mine"] == values["pre"] | {"name": "mine", "embedding_norm": True}
        assert groups.options("placement")[-1] == "mine"
    finally:
        groups.values.cache_clear()


def test_config_class_goes_by_name_source_or_fields():
    from normlab.catalogue.datasets import HubData
    from normlab.catalogue.norms import BatchNormConfig

    batch = groups.values("norm")["batchnorm"]
    assert groups.config_class("norm", batch) is BatchNormConfig
    assert groups.config_class("norm", batch | {"name": "mine"}) is BatchNormConfig
    assert (
        groups.config_class("norm", {"name": "mine", "eps": 1.0, "allow_leaky": False}) is settings.NormConfig
    )
    assert groups.config_class("data", {"name": "a/b", "source": "hub"}) is HubData

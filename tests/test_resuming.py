"""Whether a run is the one that a config describes, where normlab has changed since it was started."""

import dataclasses

import pytest

from normlab.naming import flat
from normlab.resuming import differences


def recorded(config):
    """The settings of a run by dotted key, as its directory holds them."""
    return dict(flat(dataclasses.asdict(config)))


@pytest.mark.parametrize("placement", ["pre", "b2t", "siamese", "prores"])
def test_a_run_is_the_one_that_its_own_config_describes(placement, small):
    config = small(placement=placement)
    assert differences(config, recorded(config)) == []


def test_a_setting_that_came_later_was_at_its_default(small):
    """`pre` has the default in both, and `admin` now has another: the run of before was another model."""
    for placement, different in (("pre", []), ("admin", [("placement.unit_embedding", False, True)])):
        config = small(placement=placement)
        before = {key: value for key, value in recorded(config).items() if "unit_embedding" not in key}
        assert differences(config, before) == different


def test_gains_and_constants_that_a_placement_got_or_lost_are_differences(small):
    bare, scaled = small(placement="post"), small({"placement.gains": {"attn.v": "0.5"}}, placement="post")
    key = "placement.gains.attn.v"
    assert differences(scaled, recorded(bare)) == [(key, "not there", "0.5")]
    assert differences(bare, recorded(scaled)) == [(key, "0.5", "not there")]

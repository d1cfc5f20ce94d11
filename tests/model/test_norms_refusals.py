"""Norms that cannot be: what is refused, why, and the nearest that can."""

import dataclasses
import math
import re

import pytest

from normlab.catalogue.norms import NORMS
from normlab.errors import ConfigError
from normlab.model.norms import build_norm, check_norm


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("groupnorm_token", {"groups": 0}, "norm.groups: must be 1 or more, got 0; the nearest is 1"),
        ("prmsnorm", {"p": 0.0}, "norm.p: must be above 0 and at most 1 (1 for all channels"),
        ("prmsnorm", {"p": 1.5}, "norm.p: must be above 0 and at most 1 (1 for all channels"),
        ("batchnorm", {"momentum": 0.0}, "norm.momentum: must be above 0 and at most 1"),
        ("powernorm", {"decay_forward": 1.0}, "norm.decay_forward: must be 0 or more and below 1"),
        ("powernorm", {"decay_backward": -0.1}, "norm.decay_backward: must be 0 or more and below 1"),
        ("powernorm", {"batch_steps": -1}, "norm.batch_steps: must be 0 or more, got -1"),
        ("cum_instancenorm", {"prior": -1.0}, "norm.prior: must be a finite number, 0 or more, got -1.0"),
        ("dyt", {"alpha": math.inf}, "norm.alpha: must be a finite number, got inf"),
        ("isru", {"alpha_ffn": math.nan}, "norm.alpha_ffn: must be a finite number, got nan"),
        ("derf", {"shift": math.nan}, "norm.shift: must be a finite number, got nan"),
        ("adanorm", {"k": -0.1}, "norm.k: must be a finite number, 0 or more"),
        ("adanorm", {"scale": 0.0}, "norm.scale: must be a finite number above 0"),
        ("dyt", {"eps": 1e-6}, "norm.eps: dyt divides by nothing and has no eps; leave it at 0"),
        ("rmsnorm", {"eps": -1e-6}, "norm.eps: must be a finite number, 0 or more"),
        ("group_whitening", {"iterations": 0}, "norm.iterations: must be 1 to 100, got 0"),
        ("batchnorm", {"eps": 0.0}, "norm.eps: must be above 0"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_what_is_in_it(name, changes, message):
    with pytest.raises(ConfigError, match="^" + re.escape(message)):
        dataclasses.replace(NORMS[name].config, **changes)


@pytest.mark.parametrize("make", [build_norm, check_norm])
@pytest.mark.parametrize(
    ("config", "width", "context", "message"),
    [
        (
            {"name": "groupnorm_token", "groups": 5},
            64,
            16,
            "norm.groups: 5 does not divide the norm's 64 .* is 4$",
        ),
        (
            {"name": "groupnorm_time", "groups": 24},
            36,
            16,
            "norm.groups: 24 does not divide .* that does is 18$",
        ),
        ({"name": "powernorm", "groups": 99}, 64, 16, "norm.groups: 99 does not divide .* that does is 64$"),
        (
            {"name": "layernorm_TC"},
            64,
            None,
            "norm: layernorm_TC has a gain for each place and needs the context",
        ),
        (
            {"name": "layernorm_annotated"},
            1,
            16,
            "norm: layernorm_annotated divides by width - 1: it needs 2",
        ),
        ({"name": "adanorm"}, 1, 16, "norm: adanorm divides by width - 1: it needs 2"),
        ({"name": "layrnorm"}, 64, 16, r"norm: 'layrnorm' is not one of .*Did you mean 'layernorm'"),
    ],
)
def test_a_norm_that_does_not_fit_is_refused_with_what_does(make, config, width, context, message):
    row = NORMS.get(config["name"], NORMS["layernorm"])
    with pytest.raises(ConfigError, match=message):
        make(dataclasses.replace(row.config, **config), width, context)


def test_checking_a_norm_takes_no_memory():
    check_norm(NORMS["layernorm_TC"].config, 10**9, 10**9)

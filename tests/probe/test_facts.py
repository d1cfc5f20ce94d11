"""What papers say of placements at initialization, small enough for every test run.

`scripts/probe_table.py` measures the whole table at full size.
"""

import dataclasses

import pytest

from normlab.probe import session
from normlab.probe.settings import Plan, PlannedModel, ProbeConfig

DEPTHS = (4, 16)


def slopes_of(probe_config, placements, changes=None, seeds=(0, 1), **rows):
    """(placement, quantity) -> mean slope, of the whole plan measured as the command does."""
    cells = [
        PlannedModel(
            group={"placement": placement},
            config=probe_config(
                {"depth": depth, "model.context": 32, "train.batch_size": 4} | (changes or {}),
                placement=placement,
                **rows,
            ),
        )
        for placement in placements
        for depth in DEPTHS
    ]
    plan = Plan(settings=ProbeConfig(), cells=cells, seeds=seeds)
    measured = [
        {**cell.group, "depth": config.depth, "seed": config.seed}
        | session.measure_model(config, plan.settings)
        for cell, config in plan.models()
    ]
    return {(each.group["placement"], each.quantity): each.mean for each in session.fit(plan, measured)}


def test_four_placements_against_depth(probe_config):
    found = slopes_of(probe_config, ("deepnorm", "keel"))
    found |= slopes_of(probe_config, ("post", "pre"), seeds=range(5))  # which spread far more
    # Xiong et al. 2020: the last feed-forward layer's gradient falls as depth^-1/2 in Pre-LN, not in Post-LN.
    assert -0.65 < found["pre", "grad_last_ffn"] < -0.3
    assert found["post", "grad_last_ffn"] - found["pre", "grad_last_ffn"] > 0.35
    assert abs(found["pre", "grad_first_ffn"]) < 0.2
    # The stream of Pre-LN grows linearly; a norm after the sum holds it at 1.
    assert found["pre", "stream_variance"] == pytest.approx(1, abs=0.25)
    for placement in ("post", "deepnorm", "keel"):
        assert found[placement, "stream_variance"] == pytest.approx(0, abs=1e-3)
    # By the ratio of branch to skip, 2L beta^4 / alpha^2 = (8L)^-1/2 * const and 2L / alpha^2 = 1 / (2L).
    assert found["deepnorm", "noise_amplification"] == pytest.approx(-0.5, abs=0.15)
    assert found["keel", "noise_amplification"] == pytest.approx(-1, abs=0.15)
    assert found["post", "noise_amplification"] > found["pre", "noise_amplification"] > 0
    # DeepNet's bound is one on SGD; by the sign of the gradient the output moves with sqrt(depth).
    assert abs(found["deepnorm", "update_sgd"]) < 0.15 and found["post", "update_sgd"] > 0.8
    assert found["keel", "update_sgd"] == pytest.approx(-1, abs=0.1)
    assert 0.35 < found["deepnorm", "update_sign"] < 0.65
    assert abs(found["keel", "update_sign"]) < 0.15


def test_small_weights_hide_all_of_it(probe_config):
    """GPT-2's std of 0.02 at width 64: the negative control."""
    found = slopes_of(probe_config, ("post", "pre"), {"init.std": 0.02}, init="normal")
    for placement in ("post", "pre"):
        assert abs(found[placement, "grad_last_ffn"]) < 0.05
        assert abs(found[placement, "stream_variance"]) < 0.05


def test_a_norm_on_the_branchs_output_needs_one_of_queries_and_keys(probe_config):
    """Where branches read a stream that grows, attention logits grow with its square."""
    ratios = {}
    for kind in ("none", "head"):
        changes = {"depth": 12, "model.context": 32, "placement.qk_norm": kind}
        rows = {"placement": "res_post", "activation": "relu", "init": "xavier_normal"}
        config = probe_config(changes, **rows)
        measured = [
            session.measure_model(dataclasses.replace(config, seed=seed), ProbeConfig()) for seed in (0, 1)
        ]
        ratios[kind] = min(row["grad_stream_first_to_last"] for row in measured)
    assert ratios["none"] > 4 * ratios["head"] and ratios["head"] < 4

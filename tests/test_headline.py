"""The finding that normlab is for, on the default text at the default size, in half the default steps."""

import pytest

from normlab.run import run


@pytest.mark.parametrize(("placement", "stuck"), [("post", True), ("pre", False)])
def test_post_without_warmup_is_stuck_at_the_unigram_entropy_where_pre_learns(
    placement, stuck, config_of, tmp_path
):
    changes = {"train.steps": 150, "train.eval_every": 150, "tracker.mode": "disabled", "train.threads": 1}
    summary = run(config_of(changes, placement=placement, data="stdlib"), tmp_path / "run", plain=True)
    below = summary["floors"]["unigram"] - summary["loss/final"]
    assert summary["outcome"] == ("stuck" if stuck else "stable")
    assert ("plateau" in summary["events"]) == stuck
    assert abs(below) < 0.15 if stuck else below > 0.4

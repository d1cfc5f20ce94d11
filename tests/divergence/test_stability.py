import pytest

from normlab.divergence.outcome import trained


@pytest.mark.parametrize(
    ("outcome", "yes"),
    [
        ("stable", True),
        ("spiked", True),
        ("stuck", False),
        ("nonfinite", False),
        ("exploded", False),
        ("untrained", False),
    ],
)
def test_a_run_trained_unless_it_broke_or_learnt_nothing(outcome, yes):
    assert trained(outcome) is yes

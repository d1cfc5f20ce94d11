"""Sentences on a run that no detector speaks of."""

from types import SimpleNamespace

from normlab.explain.case import Point
from normlab.explain.story import _unjudged


def case(losses, events=()):
    points = [Point(step, loss, "", "loss") for step, loss in enumerate(losses)]
    return SimpleNamespace(series=lambda key: points, events=events)


def test_a_jump_among_the_first_steps_is_told_of_since_no_detector_judges_them():
    falling = [6.0 - step / 10 for step in range(40)]
    jump = [*falling[:14], 9.0, *falling[15:]]
    [told] = _unjudged(case(jump))
    assert "4.300 nat at step 14" in told and "first 16 steps" in told
    assert _unjudged(case(falling)) == []
    assert _unjudged(case([*falling[:30], 9.0])) == []  # a detector judges that
    assert _unjudged(case(jump, [{"step": 14}])) == []  # or has

import pytest

from normlab.stability import border, is_stable


@pytest.mark.parametrize(
    ("outcomes", "stable"),
    [
        (["stable"] * 4 + ["stuck"], True),
        (["stable"] * 3 + ["nonfinite"], False),
        (["stable", "exploded"], False),
        (["spiked", "stable"], True),
        (["untrained"], False),
    ],
)
def test_four_of_five_seeds_must_train(outcomes, stable):
    assert is_stable(outcomes) is stable


def test_a_border_is_below_the_first_that_fails():
    found = border({8.0: True, 1.0: True, 4.0: False, 2.0: True, 16.0: False})
    assert (found.bound, found.at, found.fails, found.above) == ("=", 2.0, 4.0, (8.0,))
    found = border({1.0: True, 2.0: True})
    assert (found.bound, found.at, found.fails, found.above) == (">=", 2.0, None, ())
    found = border({1.0: False, 2.0: True})
    assert (found.bound, found.at, found.fails, found.above) == ("<", 1.0, 1.0, (2.0,))

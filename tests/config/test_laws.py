import pytest

from normlab.config import laws

AT = laws.variables(depth=12, width=64, layer=3, place=1)


@pytest.mark.parametrize(
    ("law", "expected"),
    [
        ("1", 1.0),
        ("-0.5", -0.5),
        ("(2*depth)**(1/4)", 24**0.25),
        ("layer**-0.5", 3**-0.5),
        ("sublayer / sublayers", 6 / 24),
        ("sqrt(log(2*depth)) + min(width, 2) - max(1, floor(2.9))", 1.78271),
        ("1e-3", 1e-3),
        ("exp(1) - exp(0)", 1.718281828),
        ("layer <= 3", 1.0),
        ("layer < 3", 0.0),
        ("layer > 3", 0.0),
        ("layer >= 3", 1.0),
        ("(layer == 3) * (sublayer == 5)", 0.0),
        ("layer <= floor(0.25 * depth)", 1.0),
    ],
)
def test_value(law, expected):
    assert laws.value(law, AT) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("law", "says"),
    [
        ("dept", "Did you mean 'depth'"),
        ("", "not an arithmetic expression"),
        ("2 +", "not an arithmetic expression"),
        ("1/(layer-3)", "no value"),
        ("(-1)**0.5", "no value"),
        ("1e308*10", "not finite"),
        ("9**9**9**9", "no value"),
        ("__import__('os')", "are allowed"),
        ("depth.real", "are allowed"),
        ("[1][0]", "are allowed"),
        ("'a'", "are allowed"),
        ("True", "are allowed"),
        ("1 if depth else 2", "are allowed"),
        ("sqrt(1, 2)", "no value"),
        ("1 < layer < 9", "are allowed"),
        ("layer != 3", "are allowed"),
        ("step", "unknown name 'step'"),
    ],
)
def test_what_is_no_law_is_refused(law, says):
    with pytest.raises(laws.LawError, match=says):
        laws.value(law, AT)


def test_constants_are_variables_and_names_lists_what_a_law_speaks_of():
    assert laws.value("min(step / (ramp*layer), 1)", {**AT, "ramp": 100.0, "step": 30}) == pytest.approx(0.1)
    assert laws.names("min(step / (ramp*layer), 1)") == {"step", "ramp", "layer"}
    assert laws.is_name("ramp")
    assert not any(map(laws.is_name, ("depth", "step", "sqrt", "2x", "a b")))

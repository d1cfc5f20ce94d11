import math
import zlib

import numpy as np
import pytest

from normlab.report.pack import Pack, packed


def unpacked(parsed, text):
    return parsed(f'<script id="b0">{text}</script>').numbers(0)


def test_numbers_come_back_as_float32(parsed):
    values = [0.0, -1.5, 1 / 3, 1e-30, math.inf, -math.inf, 16_777_216]
    assert unpacked(parsed, packed(values)).tolist() == np.float32(values).tolist()
    assert math.isnan(unpacked(parsed, packed([math.nan]))[0])


def test_a_number_that_float32_does_not_hold_is_infinite(parsed):
    assert unpacked(parsed, packed([1e300, -1e300])).tolist() == [math.inf, -math.inf]


def test_a_table_is_packed_line_by_line(parsed):
    assert unpacked(parsed, packed([[1, 2, 3], [4, 5, 6]])).tolist() == [1, 2, 3, 4, 5, 6]


def test_nothing_is_nothing(parsed):
    assert unpacked(parsed, packed([])).size == 0


def test_it_is_smaller_than_what_is_squeezed_value_by_value():
    losses = 2.3 + np.random.default_rng(0).normal(0, 0.05, 1000)
    plain = len(zlib.compress(np.float32(losses).tobytes(), 6)) * 4 / 3
    assert len(packed(losses)) < 0.95 * plain


@pytest.mark.parametrize("times", [1, 2])
def test_equal_texts_are_kept_once(times):
    pack = Pack()
    assert [pack.add(text) for text in ["a", "b"] * times] == [0, 1] * times
    assert list(pack.texts) == ["a", "b"]
    assert "a" in pack and "c" not in pack

import random

import pytest

from normlab.config import DataConfig
from normlab.data.documents import Documents, pieces
from normlab.data.split import Split, split
from normlab.errors import ConfigError


def settings(rule: str = "auto", fraction: float = 0.1) -> DataConfig:
    return DataConfig(name="x", source="text", val_split=rule, val_fraction=fraction)


def sides(found: Split) -> tuple[list[str], list[str]]:
    return list(found.train()), list(found.validation())


TEXTS = [f"document {number} " * (1 + number % 7) for number in range(200)]


def test_by_document_nothing_is_lost_or_cut() -> None:
    train, validation = sides(split(Documents(TEXTS), settings(), None))
    assert sorted(train + validation) == sorted(TEXTS)
    assert [text for text in TEXTS if text in train] == train
    assert [text for text in TEXTS if text in validation] == validation
    share = sum(map(len, validation)) / sum(map(len, TEXTS))
    assert 0.1 <= share < 0.12


def test_by_document_the_order_of_the_documents_has_no_part() -> None:
    shuffled = random.Random(0).sample(TEXTS, len(TEXTS))
    one, other = (set(sides(split(Documents(texts), settings(), None))[1]) for texts in (TEXTS, shuffled))
    assert one == other


def test_more_validation_holds_the_smaller_one() -> None:
    small, large = (set(sides(split(Documents(TEXTS), settings(fraction=f), None))[1]) for f in (0.1, 0.3))
    assert small < large


def test_equal_documents_stay_on_one_side() -> None:
    train, validation = sides(split(Documents(TEXTS * 3), settings(), None))
    assert not set(train) & set(validation)
    assert all(validation.count(text) == 3 for text in validation)


def test_a_document_larger_than_the_share_stays_in_training() -> None:
    for number in range(20):  # whatever the rank of its hash
        large = f"{number} " * 20_000
        train, validation = sides(split(Documents([*TEXTS, large]), settings(fraction=0.01), None))
        assert large in train
        assert validation


@pytest.mark.parametrize(("count", "by_document"), [(19, False), (20, True)])
def test_auto_takes_documents_where_there_are_enough(count: int, by_document: bool) -> None:
    assert (split(Documents(TEXTS[:count]), settings(), None).chosen is not None) == by_document


def test_auto_does_not_count_copies() -> None:
    assert split(Documents(["same"] * 50), settings(), None).chosen is None
    assert split(Documents(TEXTS[:19] * 3), settings(), None).chosen is None


@pytest.mark.parametrize(
    "documents", [Documents(["one"]), Documents(["a", "a"]), Documents(["a", "b"], joined=True)]
)
def test_by_document_needs_two(documents: Documents) -> None:
    with pytest.raises(ConfigError, match=r"data\.val_split: document needs two different documents"):
        split(documents, settings("document"), None)


def test_two_documents_are_enough() -> None:
    train, validation = sides(split(Documents(["long " * 50, "short"]), settings("document"), None))
    assert (train, validation) == (["long " * 50], ["short"])


@pytest.mark.parametrize(
    "texts", [["0123456789" * 10], TEXTS[:7], ["a" * 90, "b" * 10], ["a" * 89, "b" * 11]]
)
def test_a_tail_is_the_end_of_the_text(texts: list[str]) -> None:
    train, validation = ("".join(side) for side in sides(split(Documents(texts), settings("tail"), None)))
    whole = "".join(texts)
    assert train + validation == whole
    assert len(validation) == round(len(whole) * 0.1)


@pytest.mark.parametrize(
    ("text", "expected"), [("a", ("a", "")), ("ab", ("ab", "")), ("abcdefghij", ("abcdefghi", "j"))]
)
def test_a_tail_of_very_short_texts(text: str, expected: tuple[str, str]) -> None:
    assert (
        tuple("".join(side) for side in sides(split(Documents([text]), settings("tail"), None))) == expected
    )


def test_the_limit_ends_after_the_row_that_reaches_it() -> None:
    found = split(Documents(["12345"] * 10), settings("tail"), 11)
    assert "".join(found.all()) == "12345" * 3
    assert found.rows == 3


@pytest.mark.parametrize("text", ["", "short", "a line\n" * 90_000, "x" * 600_000, "\n" * 600_000])
def test_pieces_are_whole_lines_and_the_whole_text(text: str) -> None:
    found = list(pieces(text))
    assert "".join(found) == text
    assert all(piece.endswith("\n") for piece in found[:-1])
    assert len(found) <= 1 + len(text) // (1 << 18)

"""The language of filters: what it says of an entry, and what it says of itself when it is wrong."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import UsageError
from penstock.repo.query.conditions import conditions
from penstock.repo.query.expression import MOST_TEXT, matching, parse_expression
from penstock.repo.query.query_record import Record

CAT: dict[str, Any] = {
    "label": "cat", "score": 0.5, "ok": True, "none": None, "one": 1, "camera": {"iso": 400, "a b": "x"}, "size": "L",
    "tags": ["a", "b"], "boxes": [[1, 2], {"w": 3}], "été": "ü",
}  # fmt: skip
RECORD = Record("train/images/cat 1.jpg", 2_000_000, "ab" * 32, CAT)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('label == "cat" and size > 1MB', True),
        ("label == 'cat' and size > 2MB", False),
        ("size >= 2MB", True), ("size < 2MiB", True), ("size == 2000000", True), ("size == 2 MB", True),
        ('meta.size == "L"', True), ('size == "L"', False),
        ('path like "train/*.jpg"', True), ('name like "cat ?.jpg"', True), ('name like "CAT*"', False),
        ('path not like "val/*"', True), ('hash like "abab*"', True), ('name == "cat 1.jpg"', True),
        ('label in ["dog", "cat"]', True), ('label not in ["dog"]', True), ('"a" in tags', True),
        ('"c" in tags', False),
        ('"at" in label', True), ("1 in [true, 1.0]", True), ("1 in [true]", False), ("tags == ['a', 'b']", True),
        ("exists none", True), ("exists nothing", False), ("none == null", True), ("camera.iso >= 400", True),
        ('camera."a b" == "x"', True), ("boxes.0.1 == 2", True), ("boxes.1.w == 3", True), ("été == 'ü'", True),
        ("ok", True), ("not ok", False), ("ok == true", True), ("ok == 1", False), ("one == true", False),
        ("one == 1.0", True),
        ("true", True), ("false or not false", True), ("score > 4e-1 and score < 1e0", True),
        ("label > 3", False), ("label < 3", False), ("label != 3", True), ("score != 0.5", False), ("-1 < score", True),
        ("ok or size > 1TB and false", True), ("(ok or size > 1TB) and false", False),
        ("NOT ok OR label == 'cat'", True),
        ("camera.iso.x == 1", False), ("label == 'c\\'at'", False), ("one<2 and one>0", True),
    ],
)  # fmt: skip
def test_an_expression_says_so_of_an_entry(text: str, wanted: bool) -> None:
    assert parse_expression(text)(RECORD) is wanted


@pytest.mark.parametrize(
    ("text", "place", "could"),
    [
        ("", 1, "a field"), ("label ==", 9, "a text in quotes"), ("label = 'cat'", 7, "a comparison"),
        ("label == 'cat", 10, "a text in quotes"), ("(ok", 4, ")"), ("ok)", 3, "the end"), ("ok and", 7, "a field"),
        ("a in [1,", 9, "a number"), ("__import__('os')", 11, "the end"), ("a; b", 2, "."), ("exists 1", 8, "a field"),
        ("lambda: 1", 7, "a comparison"), ("a == 1 == 2", 8, "the end"),
    ],
)  # fmt: skip
def test_what_does_not_parse_says_where_and_what_could_stand_there(text: str, place: int, could: str) -> None:
    error = _error(text)
    assert error.what.endswith(f"at character {place}")
    assert could in error.fix


def _error(text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse_expression(text)
    return caught.value


def test_a_field_that_no_entry_has_is_named_with_those_that_are_near() -> None:
    with pytest.raises(UsageError, match=r"'lable'.*'label'"):
        list(matching([RECORD], parse_expression("lable == 'cat'")))
    with pytest.raises(UsageError, match=r"'sise'.*'size'"):
        parse_expression("sise > 1", known=CAT)
    assert list(matching([RECORD, RECORD._replace(metadata={})], parse_expression("label == 'cat'"))) == [RECORD]
    assert not list(matching([RECORD], parse_expression("exists lable")))
    assert not list(matching([], parse_expression("lable == 1")))


def test_what_is_too_large_or_too_deep_is_refused() -> None:
    for text in ("a" * (MOST_TEXT + 1), "not " * 2000 + "a", "[" * 3000):
        with pytest.raises(UsageError):
            parse_expression(text)
    assert parse_expression("(" * 4000 + "ok" + ")" * 4000)(RECORD)
    assert parse_expression(" or ".join(["label == 'cat'"] * 500))(RECORD)


@given(st.text(max_size=60))
def test_any_text_parses_or_says_what_is_wrong(text: str) -> None:
    try:
        parse_expression(text)(RECORD)
    except UsageError as error:
        assert error.what


_values = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(st.characters(codec="utf-8"), max_size=5)


@given(_values, _values)
def test_equality_is_that_of_json(one: object, other: object) -> None:
    record = Record("x", 0, "", {"a": one, "b": other})
    equal = json.dumps(one) == json.dumps(other)
    assert parse_expression("a == b")(record) is equal
    assert parse_expression("a != b")(record) is not equal
    assert parse_expression("a in [b]")(record) is equal


def test_conditions_by_keyword() -> None:
    assert conditions("train", label="cat", camera__iso=400)(RECORD)
    assert conditions("train/images/", label=["cat", "dog"])(RECORD)
    assert not conditions("trai")(RECORD)
    assert not conditions(label="dog")(RECORD)
    assert not conditions(one=True)(RECORD)
    assert conditions(size=lambda size: size > 10, tags=["a", "b"])(RECORD)
    assert not conditions(nothing=None)(RECORD)


def test_a_hundred_thousand_entries_take_no_time() -> None:
    expression = parse_expression('label == "cat" and size > 1MB and path like "train/*"')
    start = time.process_time()
    assert sum(map(expression, [RECORD] * 100_000)) == 100_000
    assert time.process_time() - start < 5

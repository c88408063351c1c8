"""Metadata: equal values give equal bytes, what is written is what is read, and the bounds hold on both sides."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees.strategies import json_objects, quick

from penstock.errors import IntegrityError, UsageError
from penstock.manifest.entry import MAX_METADATA
from penstock.manifest.metadata import MAX_METADATA_DEPTH, canonical_json, parse_metadata


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _reversed(value[key]) for key in reversed(list(value))}
    return [_reversed(item) for item in value] if isinstance(value, list) else value


@quick
@given(json_objects)
def test_equal_values_give_equal_bytes_and_come_back(value: dict[str, Any]) -> None:
    body = canonical_json(value)
    assert canonical_json(_reversed(value)) == body
    again = parse_metadata(body)
    assert again == value
    assert canonical_json(again) == body
    if value:
        assert json.loads(body) == value
        assert canonical_json(json.loads(json.dumps(value, indent=3))) == body
        assert body == body.strip()


@quick
@given(json_objects, json_objects)
def test_different_values_give_different_bytes(one: dict[str, Any], other: dict[str, Any]) -> None:
    # 1, 1.0 and True are equal to Python and different to JSON: compare as text.
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (canonical_json(one) == canonical_json(other)) == same


@pytest.mark.parametrize(
    ("value", "body"),
    [
        (None, b""),
        ({}, b""),
        ({"b": 1, "a": [1.0, True, None, "é"]}, '{"a":[1.0,true,null,"é"],"b":1}'.encode()),
        ({"n": [1e22, 1e16, 123456789012345.0, 1e-5, 0.1, -0.0, 5e-324]}, None),
        ({"\U0001f600": 1, "\uffff": 2}, '{"\uffff":2,"\U0001f600":1}'.encode()),
        ({"a": '"\\\n\x01\u2028/'}, b'{"a":"\\"\\\\\\n\\u0001\xe2\x80\xa8/"}'),
        ({"t": (1, 2)}, b'{"t":[1,2]}'),
    ],
)
def test_the_spelling_is_fixed(value: Any, body: bytes | None) -> None:
    wanted = b'{"n":[1e+22,1e+16,123456789012345.0,1e-05,0.1,-0.0,5e-324]}' if body is None else body
    assert canonical_json(value) == wanted


def _nested(depth: int) -> dict[str, Any]:
    value: Any = {"x": 1}
    for number in range(depth - 1):
        value = {"x": value} if number % 2 or number == depth - 2 else [value]
    assert isinstance(value, dict)
    return value


_CYCLE: list[Any] = []
_CYCLE.append(_CYCLE)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1], "is no JSON object"),
        ("text", "is no JSON object"),
        ({"a": float("nan")}, "not JSON"),
        ({"a": [float("-inf")]}, "not JSON"),
        ({"a": object()}, "not JSON"),
        ({"a": b"bytes"}, "not JSON"),
        ({"a": {1, 2}}, "not JSON"),
        ({"a": "\ud800"}, "not JSON"),
        ({"a": _CYCLE}, "not JSON"),
        ({1: "a", "b": 2}, "not JSON"),
        ({1: "a"}, "not text"),
        ({"a": [{"b": {None: 1}}]}, "not text"),
        ({"a": 1 << 64}, "64 bits"),
        ({"a": [-(1 << 63) - 1]}, "64 bits"),
        ({"a": 10**5000}, "not JSON"),
        (_nested(MAX_METADATA_DEPTH + 1), "deep"),
        (_nested(100_000), "not JSON"),
        ({"a": "x" * MAX_METADATA}, "bytes"),
    ],
)
def test_what_cannot_be_kept_is_refused(value: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        canonical_json(value)


def test_the_bounds_themselves_are_allowed() -> None:
    for value in (
        _nested(MAX_METADATA_DEPTH),
        {"a": "x" * (MAX_METADATA - 8)},
        {"a": [(1 << 64) - 1, -(1 << 63)]},
    ):
        body = canonical_json(value)
        assert len(body) <= MAX_METADATA
        assert parse_metadata(body) == value


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"1",
        b"{",
        b'{"a":}',
        b'{"a":1}x',
        b"\xff",
        b'{"\xff":1}',
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":18446744073709551616}',
        b'{"a":"\\ud800"}',
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    ],
)
def test_what_nobody_wrote_is_refused(body: bytes) -> None:
    with pytest.raises(IntegrityError, match="metadata is malformed"):
        parse_metadata(body)


@quick
@given(st.binary(max_size=30) | st.text(max_size=20).map(str.encode))
def test_any_bytes_are_metadata_or_an_error(body: bytes) -> None:
    try:
        value = parse_metadata(body)
    except IntegrityError:
        return
    assert canonical_json(value) == canonical_json(parse_metadata(canonical_json(value)))

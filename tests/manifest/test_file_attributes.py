"""Permission bits and attributes of users in metadata: what is kept, and what of it is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import UsageError
from penstock.manifest.entry import INLINE_METADATA, Kind
from penstock.manifest.file_attributes import (
    described,
    kept_mode,
    mode_of,
    own_attributes,
    shown_mode,
    with_attribute,
    with_mode,
)
from penstock.manifest.metadata import canonical_json


def test_only_bits_that_the_kind_does_not_say_are_kept() -> None:
    for mode in (0o644, 0o664, 0o666):
        assert kept_mode(Kind.FILE, mode) is None
    for mode in (0o755, 0o775, 0o777):
        assert kept_mode(Kind.EXECUTABLE, mode) is kept_mode(Kind.DIRECTORY, mode) is None
    for mode in (0o600, 0o640, 0o444, 0o2644, 0o654, 0):
        assert kept_mode(Kind.FILE, mode) == mode
    for mode in (0o700, 0o750, 0o1777, 0o2775, 0o4755, 0o555):
        assert kept_mode(Kind.DIRECTORY, mode) == kept_mode(Kind.EXECUTABLE, mode) == mode
    assert kept_mode(Kind.SYMLINK, 0o777) is None


@given(st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=4), st.integers(0, 0o7777))
def test_a_mode_stands_beside_other_metadata(value: dict[str, int], mode: int) -> None:
    plain = canonical_json(value)
    kept = with_mode(plain, mode)
    assert mode_of(kept) == mode
    assert described(kept) == value
    assert with_mode(kept, None) == plain
    assert with_mode(with_mode(kept, 0o600), mode) == kept


def test_a_mode_is_shown_less_what_a_mask_takes_beyond_the_usual() -> None:
    closed = with_mode(b"", 0o1777)
    assert shown_mode(Kind.DIRECTORY, closed) == 0o1777
    assert shown_mode(Kind.DIRECTORY, closed, 0o077) == 0o1722
    assert shown_mode(Kind.FILE, with_mode(b"", 0o600), 0o002) == 0o600
    assert shown_mode(Kind.FILE, b"") == 0o644
    assert shown_mode(Kind.EXECUTABLE, b'{"a":1}', 0o002) == 0o775
    assert shown_mode(Kind.SYMLINK, closed) == 0o777


@pytest.mark.parametrize(
    "metadata",
    [
        b'{"penstock.mode":"644"}',
        b'{"penstock.mode":"0648"}',
        b'{"penstock.mode":384}',
        b'{"penstock.mode":"00600"}',
        b'{"x":{"penstock.mode":"0600"}}',
        b'{"x":"\\"penstock.mode\\":\\"0600\\""}',
        b'{"penstock.mode":"0600","penstock.mode":["0600"]}',
        b"not json",
    ],
)
def test_what_is_no_mode_says_nothing(metadata: bytes) -> None:
    assert mode_of(metadata) is None


_names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(st.dictionaries(_names, st.binary(max_size=20), max_size=5))
def test_attributes_are_what_was_set(wanted: dict[str, bytes]) -> None:
    metadata = canonical_json({"label": "cat"})
    for name, value in wanted.items():
        metadata = with_attribute(metadata, b"user." + name.encode(), value)
    assert own_attributes(metadata) == {b"user." + name.encode(): value for name, value in wanted.items()}
    assert described(metadata) == {"label": "cat"}
    for name in wanted:
        metadata = with_attribute(metadata, b"user." + name.encode(), None)
    assert metadata == canonical_json({"label": "cat"})


def test_attributes_leave_room_for_a_mode() -> None:
    at = INLINE_METADATA
    metadata = b""
    while at:
        try:
            metadata = with_attribute(b"", b"user.x", b"v" * at)
            break
        except UsageError:
            at -= 1
    assert at > INLINE_METADATA - 100
    assert mode_of(with_mode(metadata, 0o600)) == 0o600


def test_what_is_no_attribute_says_nothing() -> None:
    value = {"penstock.xattr." + name: "x" for name in ("", "a\0b", "n" * 251)}
    value |= {"penstock.xattr.one": 1, "penstock.xattr.two": {"base64": "%"}, "penstock.xattr.three": {"base64": 3}}
    assert own_attributes(canonical_json(value)) == {}

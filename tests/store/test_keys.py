"""The rule for keys, against a plain statement of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import UsageError
from penstock.store.keys import check_key, check_prefix, check_start_after, is_key

pieces = st.lists(
    st.one_of(st.sampled_from(["", ".", "..", "...", "a", "a.b", ".a", "\n", "\x7f", "\ufffe"]), st.text(max_size=4)),
    max_size=5,
)
texts = st.one_of(pieces.map("/".join), st.text(max_size=12))


def good_text(text: str) -> bool:
    return not any(ord(c) < 32 or ord(c) in (0x7F, 0xFFFE, 0xFFFF) or 0xD800 <= ord(c) < 0xE000 for c in text)


def good_key(text: str) -> bool:
    components = text.split("/")
    return good_text(text) and all(component not in ("", ".", "..") for component in components)


@given(texts)
def test_keys_are_what_the_rule_says(text: str) -> None:
    assert is_key(text) == good_key(text)
    if good_key(text):
        assert check_key(text) == text
    else:
        with pytest.raises(UsageError) as caught:
            check_key(text)
        assert caught.value.why
        assert "\n" not in str(caught.value)


@given(texts, texts)
def test_every_beginning_of_a_key_is_a_prefix(text: str, more: str) -> None:
    if good_key(text + more):
        assert check_prefix(text) == text


@given(texts)
def test_a_prefix_is_the_beginning_of_some_key(text: str) -> None:
    try:
        check_prefix(text)
    except UsageError:
        assert not any(good_key(text + more) for more in ("", "a", "/a", "a/a"))
    else:
        assert good_key(text + "a")


def test_length_is_counted_in_bytes() -> None:
    assert is_key("k" * 1024)
    assert not is_key("k" * 1025)
    assert is_key("é" * 512)
    assert not is_key("é" * 513)


@pytest.mark.parametrize("text", ["nul\0", "\ud800", "\uffff"])
def test_a_listing_starts_after_text(text: str) -> None:
    assert check_start_after("any//thing/../") == "any//thing/../"
    with pytest.raises(UsageError):
        check_start_after(text)

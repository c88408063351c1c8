"""Sizes, read and written."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import UsageError
from penstock.repo.settings.sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("123", 123),
        ("123B", 123),
        ("50GB", 50_000_000_000),
        ("50gb", 50_000_000_000),
        ("512MiB", 512 * 1024**2),
        ("512Mi", 512 * 1024**2),
        ("1.5T", 1_500_000_000_000),
        ("1.5 TiB", 1_649_267_441_664),
        (" 2k ", 2000),
        ("0.1GiB", 107_374_182),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_sizes_that_people_write(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "GB", "-1", "1,5G", "1e3", "1.GB", ".5G", "50 G B", "50XB", "٣GB", "1\n2", "9223372036854775808", "99P9"],
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="size"):
        parse_size(text)


@given(st.text(max_size=30))
def test_any_text_is_a_size_or_a_usage_error(text: str) -> None:
    with suppress(UsageError):
        assert 0 <= parse_size(text) < 2**63


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1549, "1.5 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (50_000_000_000, "50 GB"),
        (2**63, "9223 PB"),
    ],
)
def test_sizes_that_people_read(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(0, 10**18))
def test_what_is_shown_is_near_what_is_meant(size: int) -> None:
    assert abs(parse_size(format_size(size)) - size) <= size * 0.05

"""Revisions as people write them."""

from __future__ import annotations

import datetime as dt

import pytest

from penstock.errors import UsageError
from penstock.repo.settings.handle import Handle, parse_handle
from penstock.repo.settings.revision import MoveNumber, MovesBack, Parent, SteppedRef, parse_revision

NOW = dt.datetime(2026, 11, 30, 14, 5, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "name", "steps"),
    [
        ("main", "main", ()),
        ("main~2^2", "main", (Parent(1), Parent(1), Parent(2))),
        ("v1.0^", "v1.0", (Parent(1),)),
        ("v1^0", "v1", ()),
        ("main#4~", "main", (MoveNumber(4), Parent(1))),
        ("@{3}", "", (MovesBack(3),)),
        ("main@{yesterday}", "main", (NOW - dt.timedelta(days=1),)),
        ("main@{2.hours.ago}", "main", (NOW - dt.timedelta(hours=2),)),
        ("@{2026-11-29T10:00Z}", "", (dt.datetime(2026, 11, 29, 10, tzinfo=dt.UTC),)),
    ],
)
def test_what_a_revision_says(text: str, name: str, steps: tuple[object, ...]) -> None:
    assert parse_revision(text, now=NOW) == SteppedRef(name, steps)
    assert str(parse_handle(f"demo/photos:{text}/2024")) == f"demo/photos:{text}/2024"
    assert parse_handle(f"file:///srv/photos:{text}/a") == Handle("file:///srv", "photos", text, "a")


@pytest.mark.parametrize(
    "text", ["", "~1", "^", "#4", "main~1#4", "-x", "a..b~1", "main@{}", "main@{a/b}", "main~1234567"]
)
def test_what_is_none(text: str) -> None:
    assert parse_revision(text) is None
    with pytest.raises(UsageError):
        Handle("demo", "photos", text)


@pytest.mark.parametrize("inner", ["gestern", "2026-13-01", "999999.years.ago"])
def test_a_time_that_is_none_is_told(inner: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        parse_revision(f"main@{{{inner}}}")

"""Policies: what they may say, and which versions each keeps."""

from __future__ import annotations

import datetime as dt

import pytest

from penstock.errors import UsageError
from penstock.repo.retention.policy_text import kept_versions, parse_policy

NOW = dt.datetime(2026, 11, 30, 12, tzinfo=dt.UTC)


def kept(text: str, *hours_ago: float) -> list[float]:
    versions = [(hours, NOW - dt.timedelta(hours=hours)) for hours in hours_ago]
    return sorted(kept_versions(parse_policy(text), versions, NOW))


def test_each_clause_keeps_what_it_says() -> None:
    days = [day * 24 + hour for day in range(40) for hour in (1, 5)]
    assert kept("keep last 3", *days) == [1, 5, 25]
    assert kept("keep last 3 daily", *days) == [1, 25, 49]
    assert kept("everything for 2 days", *days) == [1, 5, 25, 29]
    assert kept("last 1 and everything for 1 day", *days) == [1, 5]
    assert kept("everything for ever", *days) == sorted(days)
    assert kept("keep last 1000 hourly, tags forever", *days) == sorted(days)


def test_of_a_month_the_newest_version_stays() -> None:
    at = [0, 24, 29 * 24, 30 * 24, 59 * 24, 61 * 24]  # November, November, November, October, October, September
    assert kept("keep last 12 monthly", *at) == [0, 30 * 24, 61 * 24]
    assert kept("keep last 2 monthly, 1 yearly", *at) == [0, 30 * 24]
    assert kept("keep last 2 weekly", 0, 24, 8 * 24, 9 * 24) == [0, 24]


@pytest.mark.parametrize(
    "text",
    ["", "keep", "keep last", "keep last 0 daily", "keep last -1", "daily 3", "tags for ever", "keep 3 fortnightly"],
)
def test_what_is_no_policy_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="as a policy"):
        parse_policy(text)
    with pytest.raises(UsageError, match="no policy"):
        parse_policy("keep last 3, " * 100)

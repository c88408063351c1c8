"""What an answer to a ranged GET holds of what was asked: pure decisions on its status and headers.

Servers and proxies answer ranges in their own ways: with the whole object, with fewer bytes than were asked for, with
other bytes. What says of itself that it holds what was asked for is cut to that; what does not is refused
(`BentAnswer`), because the bytes alone do not tell. Source: RFC 9110, sections 14.4 and 15.3.7.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["MOST_SKIPPED", "BentAnswer", "BodyPlan", "plan_answer", "total_of"]

MOST_SKIPPED = 64 << 20
"""Bytes that are read and thrown away at most, to get at a range of what a server will only send whole."""

_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)")


class BentAnswer(Exception):  # noqa: N818 - it is no fault of ours, and never leaves this package
    """The answer is not one to what was asked: the server, or a proxy on the way, made another of it."""


@dataclass(frozen=True, slots=True)
class BodyPlan:
    """What to do with a body: skip so many bytes, then take so many.

    `expected`: bytes that the body has, None when nobody said. `total`: bytes of the object, if that was said. `more`:
    the object goes on where this answer ends, and more of it was asked for.
    """

    skip: int
    take: int
    expected: int | None
    total: int | None
    more: bool = False


def plan_answer(
    status: int, content_range: str | None, content_length: int | None, at: int, end: int, *, checked: bool
) -> BodyPlan:
    """Decide what an answer holds of the bytes from `at` to `end`. Raises BentAnswer when that is not what was asked.

    `checked`: whoever asked holds the bytes against a hash. Then a 206 need not say which bytes it brings.
    """
    if content_length is not None and content_length < 0:
        raise BentAnswer(f"it announced {content_length} bytes")
    if content_range is None:
        if status == 206:
            return _unsaid(content_length, at, end, checked=checked)
        return _whole(content_length, at, end)
    first, last, total = _parsed(content_range)
    if not first <= at <= last or (total is not None and last >= total):
        raise BentAnswer(f"it sent {content_range!r} where bytes {at}-{end - 1} were asked for")
    size = last - first + 1
    if content_length is not None and content_length != size:
        raise BentAnswer(f"it announced {content_length} bytes and called them {content_range!r}")
    if at - first > MOST_SKIPPED:
        raise BentAnswer(f"it sent {content_range!r} where bytes {at}-{end - 1} were asked for")
    take = min(last + 1, end) - at
    more = last + 1 < end and (total is None or last + 1 < total)
    return BodyPlan(at - first, take, size, total, more)


def total_of(content_range: str | None) -> int | None:
    """Return the object's size from a Content-Range, also that of a 416; None when it does not say."""
    found = _CONTENT_RANGE.fullmatch(content_range or "")
    return int(found[3]) if found is not None and found[3] != "*" else None


def _parsed(content_range: str) -> tuple[int, int, int | None]:
    found = _CONTENT_RANGE.fullmatch(content_range)
    if found is None or found[1] is None or int(found[1]) > int(found[2]):
        raise BentAnswer(f"its Content-Range is {content_range[:100]!r}")
    return int(found[1]), int(found[2]), None if found[3] == "*" else int(found[3])


def _unsaid(content_length: int | None, at: int, end: int, *, checked: bool) -> BodyPlan:
    if not checked or content_length is None or content_length > end - at:
        raise BentAnswer(
            f"it sent a part of the object without saying which, where bytes {at}-{end - 1} were asked for"
        )
    return BodyPlan(0, content_length, content_length, None)


def _whole(content_length: int | None, at: int, end: int) -> BodyPlan:
    if content_length is not None and content_length <= at:
        return BodyPlan(0, 0, content_length, content_length)
    if at > MOST_SKIPPED:
        raise BentAnswer(f"it sends the whole object where bytes {at}-{end - 1} were asked for")
    return BodyPlan(at, end - at, content_length, content_length)

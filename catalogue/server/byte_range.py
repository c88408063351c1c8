"""The part of a file that a request asks for by its ``Range`` header. Pure; RFC 9110, section 14.

One range is answered. Several at once, which no viewer asks for, are as if there were no header: allowed, and nobody
can have a file sent a thousandfold.
"""

from __future__ import annotations

import re

__all__ = ["asked_range"]

_FORM = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def asked_range(header: str | None, size: int) -> range | None:
    """Return the bytes that are asked for; None: all. An empty range: there are none such (416)."""
    found = _FORM.fullmatch(header.strip()) if header is not None else None
    if found is None:
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:
        return range(max(0, size - int(last)), size)
    begin, end = int(first), min(size, int(last) + 1) if last else size
    if last and int(last) < begin:
        return None  # not a valid range, and so no range
    return range(begin, end) if begin < size else range(0)

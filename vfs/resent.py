"""Requests that were carried out, but not answered before the process died: the kernel sends them again.

A change of names is not the same when it is made twice: the second `mkdir` finds the name taken. So the journal keeps,
with each change, who asked for what; the process after it looks there. A thread of a program has one request under way
at most, so only the last note of each thread can be one that is sent again, and only once.

Used by `writable`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

__all__ = ["Resent", "note"]

_WINDOW = 10.0
"""Seconds after the start in which requests may be those of before: the kernel sends them first of all."""


def note(operation: str, thread: int, *arguments: int | bytes) -> bytes:
    """Return what tells a request from others. `thread` is the id of the thread that waits for it."""
    return msgspec.msgpack.encode((thread, operation, arguments))


class Resent:
    """What the journal has of requests that may be sent again."""

    def __init__(self, notes: Sequence[bytes]) -> None:
        last: dict[int, bytes] = {}
        for each in notes:
            if each:
                thread: int = msgspec.msgpack.decode(each)[0]
                last[thread] = each
        self._left = set(last.values())
        self._until = time.monotonic() + _WINDOW

    def take(self, found: bytes) -> bool:
        """Whether a request was carried out before; asked once, it is answered."""
        if not self._left:
            return False
        if time.monotonic() > self._until:
            self._left.clear()
            return False
        if found not in self._left:
            return False
        self._left.remove(found)
        return True

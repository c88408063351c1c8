"""Requests that were carried out, but not answered before the process died: the kernel sends them again.

A change of names is not the same when it is made twice: the second `mkdir` finds the name taken. So the journal keeps,
with each change, who asked for what; the process after it looks there. A thread of a program has one request under way
at most, so only the last note of each thread can be one that is sent again, and only as the next that it asks for.
What it asks for later may be the same in words, and is another request.

The kernel marks what it sends again, but libfuse keeps that mark to itself. Whoever asks here looks besides at whether
the change is there. What is left: who has had his answer, and asks for the very same within a second of the crash, and
for nothing else between, is told that it is done, where it should be ENOENT or EEXIST. Threads of another PID namespace
are all 0: of those, every note counts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

__all__ = ["Resent", "note"]

_START = 10.0
_WINDOW = 1.0
"""Seconds after the start, and after the first change of names that is asked for, in which requests may be those of
before: the kernel sends them first of all, and all are read without waiting for anything."""


def note(operation: str, thread: int, *arguments: int | bytes) -> bytes:
    """Return what tells a request from others. `thread` is the id of the thread that waits for it."""
    return msgspec.msgpack.encode((thread, operation, arguments))


class Resent:
    """What the journal has of requests that may be sent again."""

    def __init__(self, notes: Sequence[bytes]) -> None:
        self._left: dict[int | bytes, bytes] = {}
        for each in notes:
            if each:
                self._left[_thread(each) or each] = each
        self._until = time.monotonic() + _START

    def take(self, found: bytes) -> bool:
        """Whether a request may have been carried out before; to be asked once of each."""
        if not self._left:
            return False
        now = time.monotonic()
        if now > self._until:
            self._left.clear()
            return False
        self._until = min(self._until, now + _WINDOW)
        # Whatever a thread asks for, its last one was answered when this one is another.
        return self._left.pop(_thread(found) or found, None) == found


def _thread(noted: bytes) -> int:
    thread: int = msgspec.msgpack.decode(noted)[0]
    return thread

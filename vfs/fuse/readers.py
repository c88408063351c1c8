"""Which processes have opened files of a mount, for stamps of what they make: told over the control socket.

The kernel says which thread opens. What process that is of, and which ones have started it, is looked up when a thread
is met for the first time in some seconds: a process that loads data for another has often ended when that one asks.

One thread: the event loop's. The look-up reads a few files of /proc, a tenth of a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.mountpoint.processes import ancestors

__all__ = ["Readers"]

_AGAIN = 5.0
"""Seconds after which a thread is looked up again: ids of threads come again."""
_MOST = 8192

Version = tuple[str, str | None]


class Readers:
    """Processes that have opened files, and which versions they were shown. `version` says which is shown now."""

    def __init__(self, version: Callable[[], Version]) -> None:
        self._version = version
        self._seen: set[int] = set()
        self._until = 0.0
        self._known: dict[tuple[int, int], set[Version]] = {}

    def note(self, thread: int, now: float) -> None:
        """Take note that a thread has opened a file; `now` in seconds on a monotonic clock."""
        if now > self._until:
            self._seen.clear()
            self._until = now + _AGAIN
        if thread in self._seen:
            return
        self._seen.add(thread)
        version = self._version()
        for process in ancestors(thread):
            self._known.setdefault(process, set()).add(version)
        while len(self._known) > _MOST:
            del self._known[next(iter(self._known))]

    def versions(self, process: int, started: int) -> list[Version]:
        """Return the versions of which a process, or one that it has started, has opened files."""
        return sorted(self._known.get((process, started), ()), key=str)

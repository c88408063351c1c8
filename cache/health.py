"""Whether the disk under the cache answers, and when to ask it again. One of these guards opening, one writing.

The cache is never a reason for a read to fail: what goes wrong is noted here, the call answers as an empty or a full
cache would, and after `retry_seconds` the next call tries for real. A full disk is looked at every second instead,
since somebody may make room.
"""

from __future__ import annotations

import errno
import os
import time

__all__ = ["Health"]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_ROOM = 16 << 20


class Health:
    """A fault and its retry time. Callers hold the cache's lock; reading `why` needs none."""

    def __init__(self, directory: str, retry_seconds: float) -> None:
        self.why = ""
        self._directory = directory
        self._retry_seconds = retry_seconds
        self._retry_at = 0.0
        self._look_at = 0.0
        self._full = False

    def usable(self) -> bool:
        """Whether to try now."""
        if not self.why:
            return True
        now = time.monotonic()
        if now >= self._retry_at:
            return True
        if self._full and now >= self._look_at:
            self._look_at = now + 1.0
            return self._has_room()
        return False

    def due(self) -> bool:
        """Whether `usable` may say yes now; asked of it in vain, nothing is lost."""
        now = time.monotonic()
        return not self.why or now >= self._retry_at or (self._full and now >= self._look_at)

    def fail(self, error: OSError) -> None:
        """Note that the disk refused: degraded until a try succeeds."""
        now = time.monotonic()
        self.why = error.strerror or str(error)
        self._retry_at = now + self._retry_seconds
        self._look_at = now + 1.0
        self._full = error.errno in _FULL

    def rest(self, why: str, seconds: float) -> None:
        """Leave the disk alone for so long, whatever becomes of it."""
        self.why = why
        self._retry_at = time.monotonic() + seconds
        self._full = False

    def recover(self) -> None:
        """Note that it works."""
        self.why = ""

    def _has_room(self) -> bool:
        try:
            volume = os.statvfs(self._directory)
        except OSError:
            return False
        return volume.f_bavail * volume.f_frsize >= _ROOM

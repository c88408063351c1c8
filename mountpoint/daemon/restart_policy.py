"""When a serving process that has died is followed by another, how, and when no more: pure, the time is told."""

from __future__ import annotations

from collections import deque

__all__ = ["Faults", "Restarts"]

_WINDOW = 60.0
MOST = 16
"""Restarts in a window: a mount whose processes die faster than this serves nobody, and hides that it is broken."""
_AT_ONCE = 4
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 0.5


class Restarts:
    """Counts restarts. `total` is how many there were; times are seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self.total = 0
        self._recent: deque[float] = deque()

    def next(self, now: float) -> float | None:
        """Note a death; return when the next process is to start, None when it is enough.

        The first ones in a minute are followed at once, since readers wait; later ones after a pause that doubles.
        """
        while self._recent and self._recent[0] <= now - _WINDOW:
            self._recent.popleft()
        count = len(self._recent)
        if count >= MOST:
            return None
        self._recent.append(now)
        self.total += 1
        if count < _AT_ONCE:
            return now
        return now + min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (count - _AT_ONCE))


_CLOSE = 60.0


class Faults:
    """Whether the next serving process is to leave the block cache alone.

    A process that meets damage in the cache's index can crash of it (`cache.crashes`): the next one makes that index
    anew. When that one ends through a fault as well, the cache is not worth a third try. Being killed is no fault.
    """

    def __init__(self) -> None:
        self._last: float | None = None

    def note(self, now: float, *, fault: bool) -> bool:
        """Note a death at a time; whether the process that follows it is to do without the cache."""
        if not fault:
            return False
        close = self._last is not None and now - self._last < _CLOSE
        self._last = now
        return close

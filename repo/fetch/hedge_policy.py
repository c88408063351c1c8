"""When to ask a second time for what is late: pure decisions, the seconds handed in. Thread-safe.

A GET that stalls (a server that went away, a lost packet, a full queue) would cost its reader a whole read timeout;
asked again on another connection it is there at once. See Dean and Barroso, "The Tail at Scale" (2013).

**Invariant:** of N requests at most BURST + SHARE * N are asked twice, however slow the answers are. A store that is
slow for all is not made slower by its clients: what is late there soon counts as usual, too, so that nothing is late.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TypeVar

__all__ = ["BURST", "SHARE", "HedgePolicy", "better"]

_T = TypeVar("_T")

SHARE = 0.03
"""Second requests that each request pays for."""
BURST = 3.0
"""Second requests saved up at the most, and there from the start."""
_FLOOR = 0.2
"""Seconds that any answer may take: below that a busy machine is the likelier cause."""
_UNKNOWN = 1.0
"""Seconds that an answer may take as long as there is nothing to compare it with."""
_LATE = 2.0
"""Times the usual slow answer (the 95th percentile) that an answer may take."""
_SLOW = 0.95
_REMEMBERED = 128
_ENOUGH = 8


class HedgePolicy:
    """Learns how long answers take, and says when one is late and whether it may be asked for again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: dict[int, deque[float]] = {}
        self._delays: dict[int, float] = {}
        self._tokens = BURST

    def asked(self) -> None:
        """Take note of a request (not of a second one)."""
        with self._lock:
            self._tokens = min(BURST, self._tokens + SHARE)

    def delay(self, length: int) -> float:
        """Return the seconds after which the answer to a request for `length` bytes is late."""
        with self._lock:
            return self._delays.get(_size_class(length), _UNKNOWN)

    def allow(self) -> bool:
        """Whether a request may be asked a second time now. True is to be followed by doing so."""
        with self._lock:
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True

    def answered(self, length: int, seconds: float) -> None:
        """Take note of how long a reader waited for `length` bytes, asked for once or twice."""
        at = _size_class(length)
        with self._lock:
            seen = self._seconds.setdefault(at, deque(maxlen=_REMEMBERED))
            seen.append(seconds)
            if len(seen) >= _ENOUGH:
                slow = sorted(seen)[int(_SLOW * (len(seen) - 1))]
                self._delays[at] = max(_FLOOR, _LATE * slow)


def _size_class(length: int) -> int:
    """Return a number for lengths that take about as long: up to 64 KiB, then each four times larger."""
    return (max(length - 1, 0) >> 16).bit_length() + 1 >> 1


def better(first: Future[_T], second: Future[_T], timeout: float | None) -> Future[_T]:
    """Wait for either of two requests for the same; return the one to take the answer of.

    That is the second only when it has an answer and the first has none: a failure of the first is final, so that a
    second request never makes a read that fails last longer. The one returned may not have ended: when `timeout`
    seconds have passed, and when the second has failed.
    """
    wait((first, second), timeout, FIRST_COMPLETED)
    if second.done() and second.exception() is None and (not first.done() or first.exception() is not None):
        return second
    return first

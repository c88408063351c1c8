"""How often a caller may try: a bucket of tokens for each name. Pure, but for a lock; the time is told."""

from __future__ import annotations

import threading
from collections import OrderedDict

__all__ = ["AttemptLimit"]

_MOST_NAMES = 10_000


class AttemptLimit:
    """Allows `most` at once and `rate` a second for each name. The names that are remembered are bounded."""

    def __init__(self, most: float, rate: float) -> None:
        self._most = most
        self._rate = rate
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, name: str, now: float) -> float:
        """Return the seconds that this name has to wait until it may try; 0: now."""
        with self._lock:
            return max(0.0, (1.0 - self._have(name, now)) / self._rate)

    def take(self, name: str, now: float) -> float:
        """Count a try, if it may be made; else return the seconds to wait."""
        with self._lock:
            have = self._have(name, now)
            if have < 1.0:
                return (1.0 - have) / self._rate
            self._left[name] = (have - 1.0, now)
            self._left.move_to_end(name)
            if len(self._left) > _MOST_NAMES:
                self._left.popitem(last=False)
            return 0.0

    def _have(self, name: str, now: float) -> float:
        have, since = self._left.get(name, (self._most, now))
        return min(self._most, have + (now - since) * self._rate)

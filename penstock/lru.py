"""What was used last, within a bound: the one small cache in memory that all others are made of. Thread-safe."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Lru"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lru(Generic[K, V]):
    """Values by key, up to a total weight of `most`; who goes is the one that was put or got longest ago.

    The last one stays, however heavy it is.
    """

    __slots__ = ("_lock", "_most", "_values", "_weight")

    def __init__(self, most: int) -> None:
        self._most = most
        self._weight = 0
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """Return a value, which counts as used; None when it is not here."""
        with self._lock:
            found = self._values.get(key)
            if found is None:
                return None
            self._values.move_to_end(key)
            return found[0]

    def peek(self, key: K) -> V | None:
        """Return a value without counting it as used."""
        found = self._values.get(key)
        return found[0] if found is not None else None

    def __contains__(self, key: object) -> bool:
        """Whether a value is here; it does not count as used."""
        return key in self._values

    def put(self, key: K, value: V, weight: int = 1) -> None:
        """Put a value, in place of the one that has this key."""
        with self._lock:
            old = self._values.pop(key, None)
            self._weight += weight - (old[1] if old is not None else 0)
            self._values[key] = (value, weight)
            while self._weight > self._most and len(self._values) > 1:
                self._weight -= self._values.popitem(last=False)[1][1]

    def drop(self, key: K) -> None:
        """Let go of a value, if it is here."""
        with self._lock:
            found = self._values.pop(key, None)
            if found is not None:
                self._weight -= found[1]

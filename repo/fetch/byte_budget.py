"""The one bound on bytes that are on their way from a store, whoever fetches them. Blocking, thread-safe.

**Invariant:** the bytes held are at most the limit, or those of one holder that wants more than the limit alone.
**Invariant:** who waits for room is told so when nothing has come from the store for a deadline: a store that is gone
must not let each of a hundred readers wait for those before it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from penstock.errors import StoreUnreachableError

__all__ = ["ByteBudget"]


class ByteBudget:
    """`limit` is in bytes, `deadline` in seconds."""

    def __init__(self, limit: int, deadline: float) -> None:
        self.limit = limit
        self._deadline = deadline
        self._room = threading.Condition()
        self._held = 0
        self._last_answer = 0.0

    @property
    def held(self) -> int:
        """Bytes on their way."""
        return self._held

    @contextmanager
    def hold(self, length: int) -> Iterator[None]:
        """Hold so many bytes, as soon as there is room for them. StoreUnreachableError: see above."""
        begun = time.monotonic()
        with self._room:
            while not self._fits(length):
                left = max(begun, self._last_answer) + self._deadline - time.monotonic()
                if left <= 0:
                    raise StoreUnreachableError(
                        "a fetch was not begun", why=f"those before it have had no answer for {self._deadline:.0f} s"
                    )
                self._room.wait(left)
            self._held += length
        try:
            yield
        finally:
            self.give(length)

    def take(self, length: int) -> bool:
        """Hold so many bytes until `give`, if there is room for them now."""
        with self._room:
            if not self._fits(length):
                return False
            self._held += length
            return True

    def give(self, length: int) -> None:
        """Hold so many bytes no more."""
        with self._room:
            self._held -= length
            self._room.notify_all()

    def answered(self) -> None:
        """Take note that the store has answered."""
        self._last_answer = time.monotonic()

    def _fits(self, length: int) -> bool:
        return not self._held or self._held + length <= self.limit

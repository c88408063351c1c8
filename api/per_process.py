"""What a handle has open: made when it is first needed, once in each process, closed at the process's end.

Connections and locks of one process are of no use in another. A forked child finds nothing open, and opens its own;
what it has inherited stays untouched in memory, for to close it would take it from the parent. Pickled handles carry
nothing that is open.

**Invariants:** what `get` returns was made by this process. What a handle has left open when it went is closed by the
next call here, or at the process's end, and never by the collector of garbage itself: that runs anywhere, also under a
lock that closing would need.

Thread-safe: of several threads one opens, the others wait.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

__all__ = ["PerProcess"]


class _Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=_Closable)


class _Place(Generic[T]):
    """What is open, apart from the handle, so that it outlives it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.opened: T | None = None


_places: weakref.WeakSet[_Place[_Closable]] = weakref.WeakSet()
_abandoned: list[_Place[_Closable]] = []
_inherited: list[object] = []


class PerProcess(Generic[T]):
    """Something to open when it is needed; `make` opens it, and refers to nothing that refers to this."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._place: _Place[T] = _Place()
        _places.add(self._place)  # type: ignore[arg-type]  # of any kind: they are only ever closed
        weakref.finalize(self, _abandoned.append, self._place).atexit = False  # type: ignore[arg-type]

    def get(self) -> T:
        """Return what is open, opened now if need be. Raises what opening it raises, and can be called again then."""
        place = self._place
        opened = place.opened
        if opened is None:
            _close_abandoned()
            with place.lock:
                if place.opened is None:
                    place.opened = self._make()
                opened = place.opened
        return opened

    @property
    def is_open(self) -> bool:
        """Whether this process has it open."""
        return self._place.opened is not None

    def close(self) -> None:
        """Close what is open; the next `get` opens it again."""
        _close(self._place)
        _close_abandoned()


def _close(place: _Place[T]) -> None:
    with place.lock:
        opened, place.opened = place.opened, None
    if opened is not None:
        opened.close()


def _close_abandoned() -> None:
    while _abandoned:
        try:
            place = _abandoned.pop()
        except IndexError:  # another thread was quicker
            return
        _close(place)


def _close_all() -> None:
    _close_abandoned()
    for place in list(_places):
        _close(place)


def _after_fork_in_child() -> None:
    for place in list(_places):
        place.lock = threading.Lock()  # another thread of the parent may have held it
        if place.opened is not None:
            _inherited.append(place.opened)
            place.opened = None


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork_in_child)
